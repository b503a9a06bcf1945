"""The evidence for the claims: the records of one scale, the kinds of their cells, and the controls of each cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from analysis.records.builds import pool_builds
from analysis.records.ceiling import EXACT_JUDGES
from analysis.records.read import Records
from analysis.stats.intervals import UNDEFINED, Floats, influence, standard_error, t_interval
from analysis.tables.cells import Cell, build_cells, same_setting
from cme.records import RunRecord, SeparationRecord, scores

KNOWLEDGE = ("random", "pretrained", "50", "sft", "70", "instruct", "85")
"""How the names of verifiers end, from least to most knowledge; any other name stands above these.

A number is the share of facts that the verifier's training text states truthfully, in percent.
"""
TRUTH, TRUTH_ANSWER, RANDOM = "ground_truth", "ground_truth_answer", "random"
CONTROLS = (TRUTH, TRUTH_ANSWER, RANDOM)
"""The rewards that serve as controls: of what can be gained at all, and of what any training does."""


@dataclass(frozen=True)
class Evidence:
    """The records of one scale that test a claim.

    `runs` are of the claim's experiments; `controls` are all runs of the scale with a reward that serves as a control.
    The builds of one recipe are pooled in one cell; their seeds tell them apart (`records.builds`). `recorded` has the
    runs as they were recorded.
    """

    scale: str
    runs: Sequence[RunRecord]
    separation: Sequence[SeparationRecord] = ()
    controls: Sequence[RunRecord] = ()
    recorded: Sequence[RunRecord] = ()

    @classmethod
    def collect(cls, records: Records, scale: str, experiments: Sequence[str]) -> "Evidence":
        """The runs of any of the experiments, by plan or by their own record, and the separations if one is of them.

        Imported evaluations belong to every claim about the released evaluation: to the experiment `imported`.
        """
        plans = [plan for plan in records.experiments if plan.scale == scale and plan.name in experiments]
        planned = {run_id for plan in plans for run_id in plan.runs}
        own = [pool_builds(run) for run in records.runs if run.scale == scale]
        runs = [
            replace(run, experiment=None)  # runs are pooled, whichever experiment made them
            for run in own
            if run.run_id in planned or run.experiment in experiments or run.scale in experiments
        ]
        controls = [replace(run, experiment=None) for run in own if run.reward in CONTROLS]
        separation = [record for record in records.separation if record.scale == scale]
        chosen = {run.run_id for run in runs}
        return cls(
            scale,
            runs,
            separation if "separation" in experiments else [],
            controls,
            [run for run in records.runs if run.run_id in chosen],
        )

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells of the runs."""
        return build_cells(self.runs)

    @cached_property
    def control_cells(self) -> list[Cell]:
        """The cells of the controls, those with most runs first."""
        return sorted(build_cells(self.controls), key=lambda cell: -len(cell.runs)) if self.controls else []

    @cached_property
    def by_id(self) -> dict[str, RunRecord]:
        """The runs by id."""
        return {run.run_id: run for run in (*self.controls, *self.runs)}

    def runs_of(self, cell: Cell) -> list[RunRecord]:
        """The runs of a cell."""
        return [self.by_id[run_id] for run_id in cell.runs]

    def control(self, cell: Cell, reward: str) -> Cell | None:
        """The cell of a control in the same place (scale, judge, family, regime); None without one.

        A control among the claim's own runs goes before others of the scale.
        """

        def first(cells: Sequence[Cell]) -> Cell | None:
            return next((c for c in cells if c.reward == reward and same_setting(c, cell)), None)

        return first(self.cells) or first(self.control_cells)

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


APPARENT = Kind("CME", lambda evidence, cell: _is_scalar(evidence, cell) or cell.scale == "imported")
"""What an evaluation without intervals would report: the main method, and the policies of imported evaluations."""


def greedy_qualities(run: RunRecord) -> dict[str, tuple[float, float]]:
    """True quality of the untrained model's and of the policy's greedy response by prompt; empty without the truth."""
    if run.grades is not None:
        graded = zip(run.pairs, run.grades.start, run.grades.policy, strict=True)
        return {pair.prompt_id: (start.quality, policy.quality) for pair, start, policy in graded}
    if run.judge not in EXACT_JUDGES:
        return {}
    return {verdict.prompt_id: scores(verdict) for verdict in run.verdicts if verdict.scores is not None}


def clustered_mean(groups: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean of the values of all groups with its 95 % interval over groups; NaN bounds for a single group."""
    sums: Floats = np.array([sum(group) for group in groups], dtype=float)
    counts: Floats = np.array([len(group) for group in groups], dtype=float)
    mean = float(sums.sum() / counts.sum())
    if len(groups) < 2:
        return mean, *UNDEFINED
    return mean, *t_interval(mean, standard_error(influence(sums, counts)), len(groups))
