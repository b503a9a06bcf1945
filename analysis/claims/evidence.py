"""The evidence for the claims: the records of one scale, the kinds of their cells, and comparisons of cells.

With MIN_SEEDS seeds an interval is over other prompts and other trainings, because claims are about a way to train and
not about the models at hand. With fewer seeds it is over other prompts alone, and the part says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from math import isnan
from typing import Any

import numpy as np

from analysis.claims.rules import Part
from analysis.records.read import Records
from analysis.stats.contrasts import contrast
from analysis.stats.intervals import UNDEFINED, Floats, influence, standard_error, t_interval
from analysis.tables.cells import Cell, build_cells
from cme.records import RunRecord, SeparationRecord


@dataclass(frozen=True)
class Evidence:
    """The records of one scale that test a claim."""

    scale: str
    runs: Sequence[RunRecord]
    separation: Sequence[SeparationRecord] = ()

    @classmethod
    def collect(cls, records: Records, scale: str, experiments: Sequence[str]) -> "Evidence":
        """The runs of any of the experiments, by plan or by their own record, and the separations if one is of them."""
        plans = [plan for plan in records.experiments if plan.scale == scale and plan.name in experiments]
        listed = {run_id for plan in plans for run_id in plan.runs}
        runs = [
            replace(run, experiment=None)  # runs are pooled, whichever experiment made them
            for run in records.runs
            if run.scale == scale and (run.run_id in listed or run.experiment in experiments)
        ]
        separation = [record for record in records.separation if record.scale == scale]
        return cls(scale, runs, separation if "separation" in experiments else [])

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells of the runs."""
        return build_cells(self.runs)

    @cached_property
    def by_id(self) -> dict[str, RunRecord]:
        """The runs by id."""
        return {run.run_id: run for run in self.runs}

    def setting(self, cell: Cell, path: str) -> Any:
        """A field of a cell's configuration by its dotted path, None if it is missing."""
        config: Any = self.by_id[cell.runs[0]].config
        return reduce(
            lambda node, key: node.get(key) if isinstance(node, dict) else None, path.split("."), config
        )

    def select(self, which: "Which") -> list[Cell]:
        """The cells of a kind."""
        return [cell for cell in self.cells if which(self, cell)]


@dataclass(frozen=True)
class Measured:
    """The comparisons of a measure; `missing` is the reason if there are none, `note` is added to the reason."""

    parts: Sequence[Part]
    missing: str
    note: str = ""


Which = Callable[[Evidence, Cell], bool]
Measure = Callable[[Evidence], Measured]


def dense_cme(evidence: Evidence, cell: Cell) -> bool:
    """CME with one value per token."""
    return cell.reward == "cme" and evidence.setting(cell, "reward.granularity") == "token"


def scalar_cme(evidence: Evidence, cell: Cell) -> bool:
    """CME with one value per response, the main method."""
    return cell.reward == "cme" and not dense_cme(evidence, cell)


def pretrained_cme(evidence: Evidence, cell: Cell) -> bool:
    """Scalar CME on a pretrained model."""
    return scalar_cme(evidence, cell) and cell.regime == "pretrained"


def random_verifier(_: Evidence, cell: Cell) -> bool:
    """CME with a verifier of random weights."""
    return cell.reward == "cme" and cell.verifier == "random"


def reward(*names: str) -> Which:
    """Cells trained with any of the rewards."""
    return lambda _, cell: cell.reward in names


def place(cell: Cell) -> str:
    """A cell's family and regime."""
    return f"{cell.family} {cell.regime}"


def over(across_seeds: bool) -> str:
    """What an interval generalises over."""
    return "prompts, seeds" if across_seeds else "prompts"


def win_part(cell: Cell) -> Part:
    """A cell's win rate against the untrained model, in percent."""
    win, seeds = cell.win, cell.seeds
    wide = not isnan(seeds.wide_lo)
    bounds = (seeds.wide_lo, seeds.wide_hi) if wide else (win.lo, win.hi)
    return Part(place(cell), win.rate, *bounds, win.scored, len(seeds.rates), over(wide))


def difference(one: Cell, other: Cell, names: tuple[str, str] | None = None) -> Part:
    """One cell's win rate minus another's on the prompts of both, in points."""
    found = contrast(one.tally, other.tally)
    wide = not isnan(found.wide_lo)
    bounds = (found.wide_lo, found.wide_hi) if wide else (found.lo, found.hi)
    seeds = min(len(one.seeds.rates), len(other.seeds.rates))
    first, second = names or (one.method, other.method)
    return Part(
        f"{place(one)}: {first} minus {second}", found.difference, *bounds, found.prompts, seeds, over(wide)
    )


def clustered(groups: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean of the values of all groups with its 95 % interval over groups; NaN bounds for a single group."""
    sums: Floats = np.array([sum(group) for group in groups], dtype=float)
    counts: Floats = np.array([len(group) for group in groups], dtype=float)
    mean = float(sums.sum() / counts.sum())
    if len(groups) < 2:
        return mean, *UNDEFINED
    return mean, *t_interval(mean, standard_error(influence(sums, counts)), len(groups))
