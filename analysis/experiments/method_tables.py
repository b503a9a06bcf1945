"""Tables and figures of methods: the columns of win rates, lengths and end values that an experiment chooses from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isnan, nan

import numpy as np
import pandas as pd

from analysis.experiments.base import Column, build_table, file_name
from analysis.experiments.methods import JudgedMethods, MethodRow
from analysis.figures.curves import CURVES, training_plot
from analysis.figures.style import Plot
from analysis.figures.win_rates import controls_of, win_rate_plot
from analysis.records.frames import WINDOW
from analysis.records.names import (
    REGIMES,
    family_name,
    generator_name,
    judge_label,
    order_key,
    regime_name,
)
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.metrics import WinRate, quality_change
from analysis.tables.cells import cells_frame
from analysis.tables.render import Entry, Table, format_interval, format_p_value, format_percent
from analysis.tables.win_rates import (
    NOT_RUN,
    ceiling_entry,
    contrast_table,
    evidence_table,
    mark_stopped,
    quality_entry,
    rate_entry,
    seed_table,
    stop_notes,
    win_rate_entry,
)
from cme.records import RunRecord

PANELS = 4  # side by side
MethodColumn = Column[MethodRow]


def summary_table(
    *columns: MethodColumn, note: Callable[[Sequence[RunRecord]], str] | None = None
) -> Callable[[JudgedMethods], Iterator[Table]]:
    """The table with one row per cell and these columns; `note` returns a remark on the runs, shown first."""

    def tables(view: JudgedMethods) -> Iterator[Table]:
        if not view.cells:
            return
        absent = [c for c in CONTROLS if all(c.text(row) == NOT_RUN for row in view.rows)]
        yield build_table(
            name=file_name("summary", view.scale, view.judge),
            title=f"{view.methods.subject}, scale: {view.scale}, judge: {judge_label(view.judge)}",
            columns=[
                MethodColumn("family", lambda row: family_name(row.cell.family), once=True),
                MethodColumn("regime", lambda row: regime_name(row.cell.regime), once=True),
                MethodColumn(view.methods.setting, lambda row: row.cell.method),
                *(column for column in columns if column not in absent),
            ],
            groups=view.groups,
            notes=[*([note(view.named.runs)] if note else []), *stop_notes(view.cells)],
        )

    return tables


def baseline_table(view: JudgedMethods) -> Iterator[Table]:
    """The differences of the methods from the baseline."""
    if view.contrasts:
        table, methods = contrast_table(view.contrasts), view.methods
        header = [methods.setting if name == "reward" else name for name in table.header]
        against = f"{methods.subject}: against {methods.baseline or 'CME'}"
        yield replace(
            table, title=f"{against}, scale: {view.scale}, judge: {judge_label(view.judge)}", header=header
        )


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
        name = file_name("training", view.scale, *suffix)
        panels = {
            generator_name(*place): history.get_group(place) for place in places[first : first + PANELS]
        }
        yield training_plot(name, f"Training by {setting} (scale: {view.scale})", panels, named.styles())


def methods_frame(views: Sequence[JudgedMethods]) -> pd.DataFrame:
    """One row per cell of every judge, unrounded."""
    return cells_frame(views[0].named.cells)


def single_seeds(row: MethodRow) -> str:
    """The range of the win rates of single seeds, and their number."""
    seeds = row.cell.seeds
    several = f"{format_percent(seeds.low)} to {format_percent(seeds.high)}" if len(seeds.rates) > 1 else "-"
    return f"{several} ({len(seeds.rates)})"


def rate_text(cut_start: WinRate | None) -> Entry:
    """A control's win rate without its interval."""
    return NOT_RUN if cut_start is None else Entry(format_percent(cut_start.rate))


def length_change(row: MethodRow) -> str:
    """Mean response length before and after training, in tokens, with the paired change and its interval."""
    pairs = [pair for run in row.runs for pair in run.pairs]
    start, policy = (
        np.array([nan if response.tokens is None else response.tokens for response in side], dtype=float)
        for side in ([pair.start for pair in pairs], [pair.policy for pair in pairs])
    )
    length = quality_change(start, policy, np.array([pair.prompt_id for pair in pairs], dtype=object))
    if length is None:
        return "n/a"
    interval = format_interval(length.lo, length.hi)
    return f"{length.start:.1f} → {length.policy:.1f} ({length.difference:+.1f} {interval})"


def end_value(run: RunRecord, column: str) -> float:
    """Mean of a history column over the WINDOW steps up to its last known value, NaN if it has none."""
    steps = run.history.get("step", [])
    known = [(s, v) for s, v in zip(steps, run.history.get(column, []), strict=False) if s and v is not None]
    return float(np.mean([value for step, value in known if step > known[-1][0] - WINDOW])) if known else nan


def end_values(runs: Sequence[RunRecord], column: str) -> list[float]:
    """The known end values of a history column, one per run."""
    return [value for run in runs if not isnan(value := end_value(run, column))]


def end_column(header: str, name: str, what: str, decimals: int = 2) -> MethodColumn:
    """A column of the end values of a history column; `what` explains it in the note."""

    def text(row: MethodRow) -> str:
        values = end_values(row.runs, name)
        if not values:
            return "n/a"
        spread = f" ({min(values):.{decimals}f} to {max(values):.{decimals}f})" if len(values) > 1 else ""
        return f"{np.mean(values):.{decimals}f}{spread}"

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
    "single seeds", single_seeds, "Single seeds: the range (and number) of the win rates of single seeds."
)
CONTROLS = (
    MethodColumn(
        "cut start (%)",
        lambda row: rate_text(row.cell.controls.cut_start),
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
WIN_RATE_COLUMNS = (WIN_RATE, ACROSS_SEEDS, SINGLE_SEEDS, P_VALUE, SCORE, *CONTROLS)
"""The first columns of a table that compares the values of a setting."""
