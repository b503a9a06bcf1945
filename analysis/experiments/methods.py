"""Methods to compare: runs named by what an experiment varies, pooled into cells and compared with a baseline.

An experiment chooses from the columns, tables and figures below; `ablations` has the shortest examples.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.experiments.base import Experiment, file_name
from analysis.figures.curves import CURVES, add_derived_columns, styles_by_method, training_plot
from analysis.figures.style import Plot
from analysis.figures.win_rates import controls_of, win_rate_plot
from analysis.records.frames import WINDOW, history_frame
from analysis.records.names import (
    REGIMES,
    display_name,
    family_name,
    generator_name,
    judge_label,
    method_names,
    order_key,
    regime_name,
    sort_names,
)
from analysis.sections.base import Part
from analysis.stats.contrasts import Contrast
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.metrics import quality_change
from analysis.tables.cells import Cell, build_cells, build_contrasts, cells_frame
from analysis.tables.render import (
    Column,
    Entry,
    Table,
    build_table,
    format_estimate,
    format_interval,
    format_p_value,
    format_percent,
)
from analysis.tables.win_rates import (
    NOT_RUN,
    ceiling_entry,
    contrast_table,
    evidence_table,
    mark_stopped,
    method_key,
    quality_entry,
    rate_entry,
    seed_range,
    seed_table,
    stop_notes,
    win_rate_entry,
)
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

    @property
    def scale(self) -> str:
        """The scale of all runs."""
        return self.runs[0].scale

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
        judges = sort_names(cell.judge for cell in named.cells)
        return [
            JudgedMethods(self, named, judge, [cell for cell in named.cells if cell.judge == judge])
            for judge in judges or [""]
        ]


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
        return self.named.scale

    @property
    def where(self) -> str:
        """Scale and judge, for titles."""
        return f"scale: {self.scale}, judge: {judge_label(self.judge)}"

    @cached_property
    def contrasts(self) -> list[tuple[Cell, Cell, Contrast, float]]:
        """Every cell with the baseline's cell in its place, their difference, and its p-value corrected by Holm."""
        methods = self.methods
        if (baseline := methods.baseline) is None:
            return build_contrasts(self.cells)
        return build_contrasts(self.cells, baseline=lambda cell: methods.name(baseline, cell.reward))

    @cached_property
    def rows(self) -> "list[MethodRow]":
        """One row per cell."""
        contrasts = {id(cell): (difference, p) for cell, _, difference, p in self.contrasts}
        return [MethodRow(self, cell, contrasts.get(id(cell))) for cell in self.cells]

    @property
    def groups(self) -> "list[list[MethodRow]]":
        """The rows of each family and regime, in their order."""
        groups: dict[tuple[str, str], list[MethodRow]] = {}
        for row in self.rows:
            groups.setdefault((row.cell.family, row.cell.regime), []).append(row)
        return list(groups.values())


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


def end_values(history: pd.DataFrame, column: str) -> "pd.Series[float]":
    """By run, the mean of a column over the WINDOW steps up to its last known value."""
    known = history.dropna(subset=[column])
    last = known.groupby("run_id")["step"].transform("max")
    return known[known["step"] > last - WINDOW].groupby("run_id")[column].mean()


MethodColumn = Column[MethodRow]
FAMILY = Column[Any]("family", lambda row: family_name(row.cell.family), once=True)
REGIME = Column[Any]("regime", lambda row: regime_name(row.cell.regime), once=True)


def length_change(row: MethodRow) -> str:
    """Mean response length before and after training, in tokens, with the paired change and its interval."""
    pairs = [pair for run in row.runs for pair in run.pairs]
    start = np.array([pair.start.tokens for pair in pairs], dtype=float)  # None as NaN
    policy = np.array([pair.policy.tokens for pair in pairs], dtype=float)
    length = quality_change(start, policy, np.array([pair.prompt_id for pair in pairs], dtype=object))
    if length is None:
        return "n/a"
    change = format_estimate(length.difference, length.lo, length.hi, sign="+")
    return f"{length.start:.1f} → {length.policy:.1f} ({change})"


def cut_start(row: MethodRow) -> Entry:
    """The win rate of the cut start, without its interval."""
    win = row.cell.controls.cut_start
    return NOT_RUN if win is None else Entry(format_percent(win.rate))


def end_column(header: str, name: str, what: str, decimals: int = 2) -> MethodColumn:
    """A column of the end values of a history column; `what` explains it in the note."""

    def text(row: MethodRow) -> str:
        values = end_values(row.history, name)
        if values.empty:
            return "n/a"
        spread = f" ({values.min():.{decimals}f} to {values.max():.{decimals}f})" if len(values) > 1 else ""
        return f"{values.mean():.{decimals}f}{spread}"

    note = "on training prompts at the end of training: mean over seeds, in parentheses the lowest and highest seed."
    return MethodColumn(header, text, f"{what}, {note}")


WIN_RATE = MethodColumn(
    "win rate (%)",
    lambda row: mark_stopped(win_rate_entry(row.cell), row.cell),
    "Win rate: against the untrained model; ties count half and all seeds are pooled. In brackets: 95 % interval over "
    f"prompts, for these models. Bold: it excludes 50 %, on {FEW_PROMPTS} prompts or more, without correction for the "
    "number of cells.",
)
ACROSS_SEEDS = MethodColumn(
    "across-seed 95 % CI",
    lambda row: format_interval(row.cell.seeds.across_seeds_lo, row.cell.seeds.across_seeds_hi),
    "Across-seed: the interval for other seeds and other prompts.",
)
SINGLE_SEEDS = MethodColumn(
    "single seeds",
    lambda row: f"{seed_range(row.cell.seeds)} ({len(row.cell.seeds.rates)})",
    "Single seeds: the range (and number) of the win rates of single seeds.",
)
P_VALUE = MethodColumn(
    "p (Holm)",
    lambda row: format_p_value(row.cell.p_holm),
    "p (Holm): test of a true rate of 50 %, corrected over this table.",
)
SCORE = MethodColumn(
    "score: start → policy",
    lambda row: quality_entry(row.cell),
    "Score: mean of the judge's scores of the responses of the untrained model (start) and of the policy; the oracle's "
    "is true quality (0 to 1). In parentheses: the paired difference with its 95 % interval over prompts.",
)
CONTROLS = (
    MethodColumn(
        "cut start (%)",
        cut_start,
        "Cut start: what the untrained model's own responses, cut short, win against the uncut ones.",
    ),
    MethodColumn(
        "against the cut start (%)",
        lambda row: rate_entry(row.cell.controls.against_cut_start),
        "Against the cut start: above 50 %, a method gains more than by ending earlier.",
    ),
    MethodColumn(
        "ceiling (%)",
        lambda row: ceiling_entry(row.cell.controls),
        "Ceiling: the win rate of a perfect policy on the same prompts.",
    ),
)
"""The controls of a win rate; a table leaves out those that none of its rows has."""
WIN_RATE_COLUMNS = (WIN_RATE, ACROSS_SEEDS, SINGLE_SEEDS, P_VALUE, SCORE, *CONTROLS)
"""The first columns of a table that compares the values of a setting."""
LENGTH = MethodColumn(
    "length (tokens)",
    length_change,
    "Length: mean tokens of the responses to the evaluation prompts, untrained model → policy, with the paired "
    "difference and its 95 % interval over prompts.",
)
KL = end_column(
    "KL (nats)", "kl", "KL: divergence of the policy from the untrained model in nats per response", 1
)
ENTROPY = end_column("entropy (nats/token)", "entropy", "Entropy of the policy")


def summary_table(*columns: MethodColumn) -> Callable[[JudgedMethods], Iterator[Table]]:
    """The table with one row per cell and these columns."""

    def tables(view: JudgedMethods) -> Iterator[Table]:
        if not view.cells:
            return
        absent = [c for c in CONTROLS if all(c.text(row) == NOT_RUN for row in view.rows)]
        method = MethodColumn(view.methods.setting, lambda row: row.cell.method)
        yield build_table(
            name=file_name("summary", view.scale, view.judge),
            title=f"{view.methods.subject}, {view.where}",
            columns=[FAMILY, REGIME, method, *(column for column in columns if column not in absent)],
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


def evidence(view: JudgedMethods) -> Iterator[Table]:
    """The counts and tests behind the win rates."""
    if view.cells:
        yield evidence_table(view.cells)


def seeds(view: JudgedMethods) -> Iterator[Table]:
    """The win rates of single seeds."""
    if view.cells:
        yield seed_table(view.cells)


def win_rates(view: JudgedMethods) -> Iterator[Plot]:
    """The win rates with intervals, a panel per family."""
    if view.cells:
        yield win_rate_plot(view.cells, f"{view.methods.subject}: win rates", controls_of(view.cells))


def training(view: JudgedMethods) -> Iterator[Plot]:
    """The training curves of the measured columns, at most PANELS families and regimes in one figure."""
    named, setting = view.named, view.methods.setting
    pairs = {(run.family, run.regime) for run in named.runs}
    places = sorted(pairs, key=lambda place: (place[0], order_key(place[1], REGIMES)))
    history = named.history.groupby(["family", "regime"])
    for first in range(0, len(places) if named.history[list(CURVES)].notna().any(axis=None) else 0, PANELS):
        suffix = [str(first // PANELS + 1)] if len(places) > PANELS else []
        panels = {
            generator_name(*place): history.get_group(place) for place in places[first : first + PANELS]
        }
        title = f"Training by {setting} (scale: {view.scale})"
        yield training_plot(
            file_name("training", view.scale, *suffix), title, panels, styles_by_method(named.history)
        )


def methods_frame(views: Sequence[JudgedMethods]) -> pd.DataFrame:
    """One row per cell of every judge, unrounded."""
    return cells_frame(views[0].named.cells)


def compare_methods(
    name: str,
    title: str,
    question: str,
    methods: Methods,
    columns: Sequence[MethodColumn] = (),
    tables: Sequence[Callable[[JudgedMethods], Iterator[Table]]] = (baseline_table, evidence),
    figures: Sequence[Callable[[JudgedMethods], Iterator[Plot]]] = (win_rates, training),
    appendices: Sequence[Callable[[Sequence[JudgedMethods], Path], Part]] = (),
) -> Experiment[JudgedMethods]:
    """An experiment that compares methods: the win rates with these further columns, then `tables`."""
    summary = summary_table(*WIN_RATE_COLUMNS, *columns)
    return Experiment(name, title, question, methods, (summary, *tables), figures, methods_frame, appendices)
