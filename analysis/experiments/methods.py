"""Experiments that compare methods: runs named by what an experiment varies, pooled into cells, with their tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments.base import Experiment
from analysis.figures.curves import CURVES, add_derived_columns, styles_by_method, training_plot
from analysis.figures.style import Plot
from analysis.figures.win_rates import controls_of, win_rate_plot
from analysis.records.frames import history_frame
from analysis.records.grouping import group_by
from analysis.records.names import (
    REGIMES,
    display_name,
    family_name,
    generator_name,
    judge_label,
    method_names,
    order_key,
    regime_name,
)
from analysis.sections.base import Part
from analysis.stats.contrasts import Contrast
from analysis.stats.intervals import FEW_PROMPTS
from analysis.tables.cell_tables import (
    CONTROL_COLUMNS,
    mark_stopped,
    method_key,
    quality_entry,
    seed_range,
    stop_notes,
    win_rate_entry,
    without_absent_controls,
)
from analysis.tables.cells import Cell, build_cells, build_contrasts, cells_frame, group_by_judge
from analysis.tables.render import Column, Table, build_table, format_interval, format_p_value
from analysis.tables.win_rates import contrast_table, evidence_table, seed_table
from cme.records import RunRecord

PANELS = 4  # side by side


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
    def groups(self) -> "list[list[MethodRow]]":
        """A row per cell in their order, by family and regime."""
        contrasts = {id(cell): (difference, p) for cell, _, difference, p in self.contrasts}
        rows = [MethodRow(self, cell, contrasts.get(id(cell))) for cell in self.cells]
        return list(group_by(rows, lambda row: (row.cell.family, row.cell.regime)).values())


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


MethodColumn = Column[MethodRow]
FAMILY = Column[Any]("family", lambda row: family_name(row.cell.family), once=True)
REGIME = Column[Any]("regime", lambda row: regime_name(row.cell.regime), once=True)
WIN_RATE = MethodColumn(
    "win rate (%)",
    lambda row: mark_stopped(win_rate_entry(row.cell), row.cell),
    "Win rate: against the untrained model; ties count half and all seeds are pooled. In brackets: 95 % interval over "
    f"prompts, for these models. Bold: it excludes 50 %, on {FEW_PROMPTS} prompts or more, without correction for the "
    "number of cells.",
)
P_VALUE = MethodColumn(
    "p (Holm)",
    lambda row: format_p_value(row.cell.p_holm),
    "p (Holm): test of a true rate of 50 % over prompts, for these models, corrected over this table.",
)
SCORE = MethodColumn(
    "score: start → policy",
    lambda row: quality_entry(row.cell),
    "Score: mean of the judge's scores of the responses of the untrained model (start) and of the policy; the oracle's "
    "is true quality (0 to 1). In parentheses: the paired difference with its 95 % interval over prompts.",
)
WIN_RATE_COLUMNS = (
    WIN_RATE,
    MethodColumn(
        "across-seed 95 % CI",
        lambda row: format_interval(row.cell.seeds.across_seeds_lo, row.cell.seeds.across_seeds_hi),
        "Across-seed: the interval for other seeds and other prompts.",
    ),
    MethodColumn(
        "single seeds",
        lambda row: f"{seed_range(row.cell.seeds)} ({len(row.cell.seeds.rates)})",
        "Single seeds: the range (and number) of the win rates of single seeds.",
    ),
    P_VALUE,
    SCORE,
    *CONTROL_COLUMNS,
)
"""The first columns of a table that compares the values of a setting."""


def summary_table(*columns: MethodColumn) -> Callable[[JudgedMethods], Iterator[Table]]:
    """The table with one row per cell and these columns."""

    def tables(view: JudgedMethods) -> Iterator[Table]:
        if view.cells:
            rows = [row for group in view.groups for row in group]
            method = MethodColumn(view.methods.setting, lambda row: row.cell.method)
            yield build_table(
                name=f"summary {view.scale} {view.judge}",
                title=f"{view.methods.subject}, {view.where}",
                columns=[FAMILY, REGIME, method, *without_absent_controls(columns, rows)],
                groups=view.groups,
                notes=stop_notes(view.cells),
            )

    return tables


def baseline_table(view: JudgedMethods) -> Iterator[Table]:
    """The differences of the methods from the baseline."""
    if view.contrasts:
        table, methods = contrast_table(view.contrasts), view.methods
        header = [methods.setting if name == "reward" else name for name in table.header]
        title = f"{methods.subject}: against {methods.baseline or 'CME'}, {view.where}"
        yield replace(table, title=title, header=header)


def evidence_tables(view: JudgedMethods) -> list[Table]:
    """The counts and tests behind the win rates."""
    return [evidence_table(view.cells)] if view.cells else []


def seed_tables(view: JudgedMethods) -> list[Table]:
    """The win rates of single seeds."""
    return [seed_table(view.cells)] if view.cells else []


def win_rate_plots(view: JudgedMethods) -> list[Plot]:
    """The win rates with intervals, a panel per family."""
    title = f"{view.methods.subject}: win rates"
    return [win_rate_plot(view.cells, title, controls_of(view.cells))] if view.cells else []


def training_plots(view: JudgedMethods) -> Iterator[Plot]:
    """The training curves of the measured columns, at most PANELS families and regimes in one figure."""
    history = view.named.history
    if not history[list(CURVES)].notna().any(axis=None):
        return
    pairs = {(run.family, run.regime) for run in view.named.runs}
    places = sorted(pairs, key=lambda place: (place[0], order_key(place[1], REGIMES)))
    by_place = history.groupby(["family", "regime"])
    for first in range(0, len(places), PANELS):
        number = first // PANELS + 1 if len(places) > PANELS else ""
        panels = {
            generator_name(*place): by_place.get_group(place) for place in places[first : first + PANELS]
        }
        title = f"Training by {view.methods.setting} (scale: {view.scale})"
        yield training_plot(f"training {view.scale} {number}", title, panels, styles_by_method(history))


def methods_frame(views: Sequence[JudgedMethods]) -> pd.DataFrame:
    """One row per cell of every judge, unrounded."""
    return cells_frame(views[0].named.cells)


def compare_methods(
    name: str,
    title: str,
    question: str,
    methods: Methods,
    columns: Sequence[MethodColumn] = (),
    tables: Sequence[Callable[[JudgedMethods], Iterable[Table]]] = (baseline_table, evidence_tables),
    figures: Sequence[Callable[[JudgedMethods], Iterable[Plot]]] = (win_rate_plots, training_plots),
    appendices: Sequence[Callable[[Sequence[JudgedMethods], Path], Part]] = (),
) -> Experiment[JudgedMethods]:
    """An experiment that compares methods: the win rates with these further columns, then `tables`."""
    summary = summary_table(*WIN_RATE_COLUMNS, *columns)
    return Experiment(name, title, question, methods, (summary, *tables), figures, methods_frame, appendices)
