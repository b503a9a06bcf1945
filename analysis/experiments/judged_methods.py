"""Methods to compare: runs named by what an experiment varies, pooled into cells and compared with a baseline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from analysis.figures.curves import add_derived_columns
from analysis.records.frames import history_frame
from analysis.records.grouping import group_by
from analysis.records.names import REGIMES, display_name, judge_label, method_names, order_key
from analysis.stats.contrasts import Contrast
from analysis.tables.cell_tables import method_key
from analysis.tables.cells import Cell, build_cells, build_contrasts, group_by_judge
from cme.records import RunRecord


@dataclass(frozen=True)
class NamedRuns:
    """The runs of one experiment at one scale; `labels` names each run's method by run id.

    A method is named by what the experiment varies, such as `beta 0.01`. Runs with equal settings are pooled, whichever
    experiment made them.
    """

    runs: Sequence[RunRecord]
    labels: Mapping[str, str]

    @classmethod
    def by(cls, label: Callable[[RunRecord], str], runs: Sequence[RunRecord]) -> "NamedRuns":
        """Name the runs by `label`; runs that share a label but differ in another setting get the full method name."""
        runs = [replace(run, experiment=None) for run in runs]
        full = method_names(runs)
        methods: dict[tuple[str, str], set[str]] = {}
        for run in runs:
            methods.setdefault((run.reward, label(run)), set()).add(full[run.run_id])

        def name(run: RunRecord) -> str:
            short, whole = label(run), full[run.run_id]
            if len(methods[run.reward, short]) == 1:
                return short
            return whole if whole.startswith(short.removesuffix(")")) else f"{short}: {whole}"

        return cls(runs, {run.run_id: name(run) for run in runs})

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells in the order of the tables."""
        named = [replace(cell, method=self.labels[cell.runs[0]]) for cell in build_cells(self.runs)]
        return sorted(
            named, key=lambda cell: (cell.family, order_key(cell.regime, REGIMES), method_key(cell))
        )

    @cached_property
    def history(self) -> pd.DataFrame:
        """The training histories, one row per run and step."""
        frame = history_frame(self.runs)
        return add_derived_columns(frame.assign(method=frame["run_id"].map(dict(self.labels))))


@dataclass(frozen=True)
class Methods:
    """What an experiment compares; called with the runs of one scale, it returns their view under each judge.

    `subject` names the comparison in titles and `setting` its methods in headers; `label` names the method of a run.
    Every other method is compared with the method `baseline`, or else with CME. With `of_reward`, the methods are
    settings of a reward: they are named after the reward and the setting, and compared with the same reward's baseline.
    """

    subject: str
    setting: str
    label: Callable[[RunRecord], str]
    baseline: str | None = None
    of_reward: bool = False

    def name(self, setting: str, reward: str) -> str:
        """The name of a method, such as `CME, beta 0` for a setting of a reward."""
        return f"{display_name(reward)}, {setting}" if self.of_reward else setting

    def __call__(self, runs: Sequence[RunRecord]) -> "list[JudgedMethods]":
        """One view per judge; one without cells if there is no verdict."""
        named = NamedRuns.by(lambda run: self.name(self.label(run), run.reward), runs)
        by_judge = group_by_judge(named.cells) or {"": []}
        return [JudgedMethods(self, named, judge, cells) for judge, cells in by_judge.items()]


@dataclass(frozen=True)
class JudgedMethods:
    """The cells of an experiment under one judge; none if there is no verdict, and then `judge` is empty."""

    methods: Methods
    named: NamedRuns
    judge: str
    cells: Sequence[Cell]

    @property
    def scale(self) -> str:
        """The scale of all runs."""
        return self.named.runs[0].scale

    @property
    def where(self) -> str:
        """Scale and judge, for titles."""
        return f"scale: {self.scale}, judge: {judge_label(self.judge)}"

    @cached_property
    def contrasts(self) -> list[tuple[Cell, Cell, Contrast, float]]:
        """Every cell with the baseline's cell in its place, their difference, and its p-value corrected by Holm."""
        name, baseline = self.methods.name, self.methods.baseline
        return build_contrasts(
            self.cells, baseline=None if baseline is None else lambda cell: name(baseline, cell.reward)
        )

    @cached_property
    def rows(self) -> "list[MethodRow]":
        """One row per cell."""
        contrasts = {id(cell): (difference, p) for cell, _, difference, p in self.contrasts}
        return [MethodRow(self, cell, contrasts.get(id(cell))) for cell in self.cells]

    @property
    def groups(self) -> "list[list[MethodRow]]":
        """The rows of each family and regime, in their order."""
        return list(group_by(self.rows, lambda row: (row.cell.family, row.cell.regime)).values())


@dataclass(frozen=True, eq=False)
class MethodRow:
    """A cell as a row of a table; `contrast` is its difference from the baseline with the corrected p-value."""

    view: JudgedMethods
    cell: Cell
    contrast: tuple[Contrast, float] | None

    @property
    def runs(self) -> list[RunRecord]:
        """The runs of the cell, in the order of their seeds."""
        return sorted(self.cell.controls.runs, key=lambda run: run.seed)

    @property
    def history(self) -> pd.DataFrame:
        """The training histories of the runs."""
        history = self.view.named.history
        return history[history["run_id"].isin(self.cell.runs)]
