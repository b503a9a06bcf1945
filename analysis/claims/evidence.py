"""What claims rest on: the comparisons that one scale's records have, each an estimate with its interval.

An interval is about other prompts and other trainings where there are `MIN_SEEDS` seeds, since claims are about a way
to train and not about the models at hand; with fewer it is about other prompts alone, and the part says so.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Any

import numpy as np

from analysis.records.frames import prompt_names
from analysis.records.read import Records
from analysis.stats.auroc import Estimate
from analysis.stats.contrasts import contrast
from analysis.stats.intervals import FEW_PROMPTS, UNDEFINED, Floats, influence, standard_error, t_interval
from analysis.stats.metrics import MIN_SEEDS, WinRate
from analysis.tables.cells import Cell, build_cells, same_setting
from cme.records import Generation, RunRecord, SeparationRecord

Which = Callable[[Cell], bool]
Measure = Callable[[Generation], float | None]


@dataclass(frozen=True)
class Part:
    """One comparison: an estimate with its 95 % interval, over `prompts` prompts (0: over seeds alone) and `seeds`.

    `about` says what the interval is about.
    """

    name: str
    value: float
    lo: float
    hi: float
    prompts: int
    seeds: int
    about: str

    @property
    def enough(self) -> bool:
        """Whether prompts, or seeds where there are no prompts, are enough for the interval to mean something."""
        return self.prompts >= FEW_PROMPTS if self.prompts else self.seeds >= MIN_SEEDS


@dataclass(frozen=True)
class Evidence:
    """The records of one scale, as claims look at them."""

    scale: str
    records: Records
    known: dict[tuple[str, ...], list[Cell]] = field(default_factory=dict, repr=False, compare=False)

    def runs(self, *experiments: str) -> list[RunRecord]:
        """The runs of any of the experiments, by manifest or by their own record, their own names laid aside."""
        listed = {run for e in self.records.experiments if e.name in experiments for run in e.runs}
        return [
            replace(run, experiment=None)  # which of several experiments made a run says nothing of it
            for run in self.records.runs
            if run.run_id in listed or run.experiment in experiments
        ]

    def has(self, experiment: str) -> bool:
        """Whether there are records of an experiment."""
        return bool(self.separation if experiment == "separation" else self.runs(experiment))

    @property
    def separation(self) -> list[SeparationRecord]:
        """The records of separation."""
        return self.records.separation

    def cells(self, *experiments: str) -> list[Cell]:
        """The cells of the experiments' runs, computed once."""
        if experiments not in self.known:
            self.known[experiments] = build_cells(self.runs(*experiments))
        return self.known[experiments]

    def setting(self, cell: Cell, path: str) -> Any:
        """A field of a cell's configuration by its dotted path, None where there is none."""
        node: Any = next(run.config for run in self.records.runs if run.run_id == cell.runs[0])
        for name in path.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        return node

    def dense(self, cell: Cell) -> bool:
        """Whether a cell's reward gives one value a token."""
        return bool(self.setting(cell, "reward.granularity") == "token")

    def scalar_cme(self, cell: Cell) -> bool:
        """Whether a cell is CME with one value a response, the main method."""
        return cell.reward == "cme" and not self.dense(cell)


def by_scale(records: Records, scale: str) -> Evidence:
    """The evidence of one scale."""
    kept = {
        name: [each for each in getattr(records, name) if each.scale == scale]
        for name in ("runs", "stress", "sanity", "experiments", "separation")
    }
    return Evidence(scale, Records(**kept))


def place(cell: Cell) -> str:
    """A cell's family and regime."""
    return f"{cell.family} {cell.regime}"


def win_part(cell: Cell, name: str = "") -> Part:
    """A cell's win rate against its start, in percent."""
    wide = not isnan(cell.seeds.wide_lo)
    bounds = (cell.seeds.wide_lo, cell.seeds.wide_hi) if wide else (cell.win.lo, cell.win.hi)
    return Part(
        name or place(cell), cell.win.rate, *bounds, cell.win.scored, len(cell.seeds.rates), about(wide)
    )


def rate_part(name: str, win: WinRate, seeds: int) -> Part:
    """Any share of verdicts, in percent, with its interval over prompts."""
    return Part(name, win.rate, win.lo, win.hi, win.scored, seeds, about(False))


def differences(cells: Sequence[Cell], one: Which, other: Which) -> list[Part]:
    """Win rates of the cells that are `one` less those that are `other` in the same place, in points."""
    return [
        difference(mine, theirs)
        for mine in cells
        if one(mine)
        for theirs in cells
        if other(theirs) and theirs is not mine and same_setting(mine, theirs)
    ]


def difference(mine: Cell, theirs: Cell, name: str = "") -> Part:
    """One cell's win rate less another's on the prompts of both, in points."""
    of = contrast(mine.tally, theirs.tally)
    wide = not isnan(of.wide_lo)
    bounds = (of.wide_lo, of.wide_hi) if wide else (of.lo, of.hi)
    seeds = min(len(mine.seeds.rates), len(theirs.seeds.rates))
    name = name or f"{place(mine)}: {mine.method} less {theirs.method}"
    return Part(name, of.difference, *bounds, of.prompts, seeds, about(wide))


def auroc_part(name: str, of: Estimate) -> Part:
    """An AUROC or a difference of two."""
    return Part(name, of.value, of.lo, of.hi, of.prompts, 1, about(False))


def text_parts(runs: Sequence[RunRecord], cells: Sequence[Cell], measure: Measure) -> Iterator[Part]:
    """By cell, what a measure of the trained policy's responses is above that of its start's, prompt by prompt."""
    by_id = {run.run_id: run for run in runs}
    for cell in cells:
        changes: dict[str, list[float]] = {}
        for run in (by_id[run_id] for run_id in cell.runs):
            names = prompt_names(run)
            for pair in run.pairs:
                before, after = measure(pair.start), measure(pair.policy)
                if before is not None and after is not None:
                    changes.setdefault(names[pair.prompt_id], []).append(after - before)
        if changes:
            value, lo, hi = clustered(list(changes.values()))
            yield Part(place(cell), value, lo, hi, len(changes), len(cell.seeds.rates), about(False))


def clustered(groups: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean of the values of all groups with its 95 % interval over groups; nowhere for one group."""
    sums: Floats = np.array([sum(group) for group in groups], dtype=float)
    counts: Floats = np.array([len(group) for group in groups], dtype=float)
    mean = float(sums.sum() / counts.sum())
    if len(groups) < 2:
        return mean, *UNDEFINED
    return mean, *t_interval(mean, standard_error(influence(sums, counts)), len(groups))


def about(wide: bool) -> str:
    """What an interval is about, in words."""
    return "prompts, seeds" if wide else "prompts"
