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

KNOWLEDGE = ("random", "pretrained", "sft", "instruct")
"""The training of a verifier's checkpoint, from least to most knowledge; any other name stands above these."""


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
        planned = {run_id for plan in plans for run_id in plan.runs}
        runs = [
            replace(run, experiment=None)  # runs are pooled, whichever experiment made them
            for run in records.runs
            if run.scale == scale and (run.run_id in planned or run.experiment in experiments)
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

    def select(self, kind: "Kind") -> list[Cell]:
        """The cells of a kind."""
        return [cell for cell in self.cells if kind.includes(self, cell)]


@dataclass(frozen=True)
class Kind:
    """A kind of cells: its name in sentences, and whether it includes a cell."""

    name: str
    includes: Callable[[Evidence, Cell], bool]


def trained_with(name: str, *rewards: str) -> Kind:
    """Cells trained with any of the rewards."""
    return Kind(name, lambda _, cell: cell.reward in rewards)


def _is_dense(evidence: Evidence, cell: Cell) -> bool:
    return cell.reward == "cme" and evidence.setting(cell, "reward.granularity") == "token"


def _is_scalar(evidence: Evidence, cell: Cell) -> bool:
    return cell.reward == "cme" and not _is_dense(evidence, cell)


CME = Kind("CME", _is_scalar)
"""CME with one value per response, the main method."""
DENSE_CME = Kind("dense CME", _is_dense)
"""CME with one value per token."""
PRETRAINED_CME = Kind(
    "CME on a pretrained model",
    lambda evidence, cell: _is_scalar(evidence, cell) and cell.regime == "pretrained",
)
SELF_REFERENCE = trained_with(
    "a self-referential reward", "majority_vote", "token_entropy", "self_certainty", "semantic_entropy"
)
RANDOM_VERIFIER = Kind(
    "CME with a verifier of random weights",
    lambda _, cell: cell.reward == "cme" and cell.verifier == "random",
)


def knowledge_level(verifier: str) -> int | None:
    """How much a verifier knows, from random weights (0) upwards, by its name; None for start and ensembles."""
    if verifier == "start" or verifier.startswith("ensemble"):
        return None
    kind = verifier.rsplit("_", 1)[-1]
    return KNOWLEDGE.index(kind) if kind in KNOWLEDGE else len(KNOWLEDGE)


def verifier_ladders(evidence: Evidence) -> list[list[Cell]]:
    """The cells of scalar CME in one place with verifiers of one other family, weakest first, of two levels or more."""
    ladders: dict[tuple[str, ...], list[tuple[int, Cell]]] = {}
    for cell in evidence.select(CME):
        family, level = evidence.setting(cell, "verifier.family"), knowledge_level(cell.verifier)
        if family not in (None, cell.family) and level is not None:
            key = (cell.judge, cell.family, cell.regime, str(family))
            ladders.setdefault(key, []).append((level, cell))
    ordered = [sorted(ladder, key=lambda step: step[0]) for ladder in ladders.values()]
    return [[cell for _, cell in ladder] for ladder in ordered if ladder[0][0] != ladder[-1][0]]


def place(cell: Cell) -> str:
    """A cell's family and regime."""
    return f"{cell.family} {cell.regime}"


def interval_scope(across_seeds: bool) -> str:
    """What an interval generalises over."""
    return "prompts, seeds" if across_seeds else "prompts"


def win_part(cell: Cell) -> Part:
    """A cell's win rate against the untrained model, in percent."""
    win, seeds = cell.win, cell.seeds
    wide = not isnan(seeds.across_seeds_lo)
    bounds = (seeds.across_seeds_lo, seeds.across_seeds_hi) if wide else (win.lo, win.hi)
    return Part(place(cell), win.rate, *bounds, win.scored, len(seeds.rates), interval_scope(wide))


def difference(one: Cell, other: Cell, names: tuple[str, str] | None = None) -> Part:
    """One cell's win rate minus another's on the prompts of both, in points; `names` are by default the methods."""
    change = contrast(one.tally, other.tally)
    wide = not isnan(change.across_seeds_lo)
    bounds = (change.across_seeds_lo, change.across_seeds_hi) if wide else (change.lo, change.hi)
    seeds = min(len(one.seeds.rates), len(other.seeds.rates))
    first, second = names or (one.method, other.method)
    name = f"{place(one)}: {first} minus {second}"
    return Part(name, change.difference, *bounds, change.prompts, seeds, interval_scope(wide))


def clustered_mean(groups: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean of the values of all groups with its 95 % interval over groups; NaN bounds for a single group."""
    sums: Floats = np.array([sum(group) for group in groups], dtype=float)
    counts: Floats = np.array([len(group) for group in groups], dtype=float)
    mean = float(sums.sum() / counts.sum())
    if len(groups) < 2:
        return mean, *UNDEFINED
    return mean, *t_interval(mean, standard_error(influence(sums, counts)), len(groups))
