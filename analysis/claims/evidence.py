"""The evidence for the claims: the records of one scale, the kinds of their cells, and the controls of each cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

from analysis.records.builds import pool_builds
from analysis.records.read import Records
from analysis.records.relations import CONTROLS
from analysis.tables.cells import Cell, build_cells, same_setting
from cme.records import RunRecord, SeparationRecord

KNOWLEDGE_ENDINGS = ("random", "pretrained", "50", "sft", "70", "instruct", "85")
"""How the names of verifiers end, from least to most knowledge; any other name stands above these.

A number is the share of facts that the verifier's training text states truthfully, in percent.
"""
TRUTH, TRUTH_ANSWER, RANDOM = "ground_truth", "ground_truth_answer", "random"
"""Rewards that serve as controls: of what can be gained at all, and of what any training does."""


@dataclass(frozen=True)
class Evidence:
    """The records of one scale that test a claim.

    `runs` are of the claim's experiments; `controls` are all runs of the scale with a reward that serves as a control.
    The builds of one recipe are pooled in one cell; their seeds tell them apart (`records.builds`).
    """

    scale: str
    runs: Sequence[RunRecord]
    separation: Sequence[SeparationRecord] = ()
    controls: Sequence[RunRecord] = ()

    @classmethod
    def collect(
        cls, records: Records, scale: str, experiments: Sequence[str], mathematics: bool = False
    ) -> "Evidence":
        """The runs of any of the experiments, by plan or by their own record, and the separations if one is of them.

        They are the runs on problems with one right answer if `mathematics`, else all others. Each has its own judge
        alone, so no claim changes because a judge was added later. Imported evaluations belong to every claim about the
        released evaluation: to the experiment `imported`.
        """
        plans = [plan for plan in records.experiments if plan.scale == scale and plan.name in experiments]
        planned = {run_id for plan in plans for run_id in plan.runs}
        runs, controls = [], []
        for run in records.runs:
            if run.scale != scale or (run.accuracy is not None) != mathematics:
                continue
            # runs are pooled, whichever experiment made them
            pooled = replace(pool_builds(run), experiment=None, further_judges=None)
            if run.run_id in planned or run.experiment in experiments or scale in experiments:
                runs.append(pooled)
            if run.reward in CONTROLS:
                controls.append(pooled)
        separation = [record for record in records.separation if record.scale == scale]
        return cls(scale, runs, separation if "separation" in experiments else [], controls)

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells of the runs."""
        return build_cells(self.runs)

    @cached_property
    def control_cells(self) -> list[Cell]:
        """The cells of the controls, those with most runs first."""
        return sorted(build_cells(self.controls), key=lambda cell: -len(cell.runs)) if self.controls else []

    def control(self, cell: Cell, reward: str) -> Cell | None:
        """The cell of a control in the same place (scale, judge, family, regime); None without one.

        A control among the claim's own runs goes before others of the scale.
        """

        def first(cells: Sequence[Cell]) -> Cell | None:
            return next((c for c in cells if c.reward == reward and same_setting(c, cell)), None)

        return first(self.cells) or first(self.control_cells)

    def select(self, kind: "Kind") -> list[Cell]:
        """The cells of a kind."""
        return [cell for cell in self.cells if kind.includes(cell)]


@dataclass(frozen=True)
class Kind:
    """A kind of cells: its name in sentences, and whether it includes a cell."""

    name: str
    includes: Callable[[Cell], bool]


def setting(cell: Cell, path: str) -> Any:
    """A field of a cell's configuration by its dotted path, None if it is missing."""
    config: Any = cell.controls.runs[0].config
    return reduce(
        lambda node, key: node.get(key) if isinstance(node, dict) else None, path.split("."), config
    )


def trained_with(name: str, *rewards: str) -> Kind:
    """Cells trained with any of the rewards."""
    return Kind(name, lambda cell: cell.reward in rewards)


DENSE_CME = Kind(
    "dense CME", lambda cell: cell.reward == "cme" and setting(cell, "reward.granularity") == "token"
)
"""CME with one value per token."""
CME = Kind("CME", lambda cell: cell.reward == "cme" and not DENSE_CME.includes(cell))
"""CME with one value per response, the main method."""
PRETRAINED_CME = Kind(
    "CME on a pretrained model", lambda cell: CME.includes(cell) and cell.regime == "pretrained"
)
SELF_REFERENCE = trained_with(
    "a self-referential reward", "majority_vote", "token_entropy", "self_certainty", "semantic_entropy"
)
RANDOM_VERIFIER = Kind(
    "CME with a verifier of random weights", lambda cell: cell.reward == "cme" and cell.verifier == "random"
)
APPARENT = Kind("CME", lambda cell: CME.includes(cell) or cell.scale == "imported")
"""What an evaluation without intervals would report: the main method, and the policies of imported evaluations."""


def knowledge_level(verifier: str) -> int | None:
    """How much a verifier knows, from random weights (0) upwards, by its name; None for start and ensembles."""
    if verifier == "start" or verifier.startswith("ensemble"):
        return None
    kind = verifier.rsplit("_", 1)[-1]
    return KNOWLEDGE_ENDINGS.index(kind) if kind in KNOWLEDGE_ENDINGS else len(KNOWLEDGE_ENDINGS)


def verifier_ladders(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells in one place with verifiers of one other family, weakest first, of two levels of knowledge or more.

    Random weights are left out: they differ from a trained verifier in everything, not in knowledge alone.
    """
    ladders: dict[tuple[str, ...], list[tuple[int, Cell]]] = {}
    for cell in cells:
        family, level = setting(cell, "verifier.family"), knowledge_level(cell.verifier)
        if family not in (None, cell.family) and level:
            key = (cell.judge, cell.family, cell.regime, str(family))
            ladders.setdefault(key, []).append((level, cell))
    ordered = [sorted(ladder, key=lambda step: step[0]) for ladder in ladders.values()]
    return [[cell for _, cell in ladder] for ladder in ordered if ladder[0][0] != ladder[-1][0]]
