"""Columns, tables and figures from which an experiment on methods chooses; `ablations` has the shortest examples."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.experiments.base import Experiment, file_name
from analysis.experiments.judged_methods import JudgedMethods, MethodRow, Methods
from analysis.figures.curves import CURVES, styles_by_method, training_plot
from analysis.figures.style import Plot
from analysis.figures.win_rates import controls_of, win_rate_plot
from analysis.records.frames import WINDOW
from analysis.records.names import REGIMES, family_name, generator_name, order_key, regime_name
from analysis.sections.base import Part
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.win_rates import quality_change
from analysis.tables.cell_tables import (
    CONTROL_COLUMNS,
    mark_stopped,
    quality_entry,
    seed_range,
    stop_notes,
    win_rate_entry,
    without_absent_controls,
)
from analysis.tables.cells import cells_frame
from analysis.tables.render import (
    Column,
    Table,
    build_table,
    format_estimate,
    format_interval,
    format_p_value,
)
from analysis.tables.win_rates import contrast_table, evidence_table, seed_table

PANELS = 4  # side by side


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
    "p (Holm): test of a true rate of 50 % over prompts, for these models, corrected over this table.",
)
SCORE = MethodColumn(
    "score: start → policy",
    lambda row: quality_entry(row.cell),
    "Score: mean of the judge's scores of the responses of the untrained model (start) and of the policy; the oracle's "
    "is true quality (0 to 1). In parentheses: the paired difference with its 95 % interval over prompts.",
)
WIN_RATE_COLUMNS = (WIN_RATE, ACROSS_SEEDS, SINGLE_SEEDS, P_VALUE, SCORE, *CONTROL_COLUMNS)
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
        method = MethodColumn(view.methods.setting, lambda row: row.cell.method)
        yield build_table(
            name=file_name("summary", view.scale, view.judge),
            title=f"{view.methods.subject}, {view.where}",
            columns=[FAMILY, REGIME, method, *without_absent_controls(columns, view.rows)],
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


def evidence(view: JudgedMethods) -> list[Table]:
    """The counts and tests behind the win rates."""
    return [evidence_table(view.cells)] if view.cells else []


def seeds(view: JudgedMethods) -> list[Table]:
    """The win rates of single seeds."""
    return [seed_table(view.cells)] if view.cells else []


def win_rates(view: JudgedMethods) -> list[Plot]:
    """The win rates with intervals, a panel per family."""
    title = f"{view.methods.subject}: win rates"
    return [win_rate_plot(view.cells, title, controls_of(view.cells))] if view.cells else []


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
    tables: Sequence[Callable[[JudgedMethods], Iterable[Table]]] = (baseline_table, evidence),
    figures: Sequence[Callable[[JudgedMethods], Iterable[Plot]]] = (win_rates, training),
    appendices: Sequence[Callable[[Sequence[JudgedMethods], Path], Part]] = (),
) -> Experiment[JudgedMethods]:
    """An experiment that compares methods: the win rates with these further columns, then `tables`."""
    summary = summary_table(*WIN_RATE_COLUMNS, *columns)
    return Experiment(name, title, question, methods, (summary, *tables), figures, methods_frame, appendices)
