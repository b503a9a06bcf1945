"""Experiments that vary one setting of the training: each is a declaration, from which tables and figures follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from analysis.experiments.base import NamedRuns, column_table, group_by_place
from analysis.figures.curves import BAND_NOTE, CURVES, SMOOTHING_NOTE, curve_grid, draw_curve
from analysis.figures.overview import win_rate_plot
from analysis.figures.style import Plot
from analysis.records.frames import WINDOW
from analysis.records.names import REGIMES, order_key
from analysis.sections.base import Part
from analysis.sections.topics import drift_part
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.metrics import quality_change
from analysis.tables.cells import Cell, build_contrasts
from analysis.tables.render import Table, format_interval, format_p_value, format_percent, slug
from analysis.tables.win_rates import (
    contrast_table,
    evidence_table,
    mark_stopped,
    quality_entry,
    score_name,
    side_names,
    stop_notes,
    win_rate_entry,
)
from cme.records import RunRecord

PANELS = 4  # side by side
LENGTH_NOTE = (
    "Length: mean tokens of the responses to the evaluation prompts, untrained model → policy, with the paired "
    "difference and its 95 % interval over prompts."
)
END_NOTE = "on training prompts at the end of training: mean over seeds, in parentheses the lowest and the highest seed"
KL_NOTE = f"KL: divergence of the policy from the untrained model in nats per response, {END_NOTE}."

Measure = Callable[[NamedRuns, Sequence[RunRecord]], str]
"""The text of a table cell, from all runs of the experiment and those of one table row."""


@dataclass(frozen=True)
class SettingComparison:
    """An experiment that varies one setting: what varies, how its values are called, and what is measured.

    `label` names a run by its value of the setting; every other value is compared with `baseline`. `columns` are added
    to the table of win rates and explained in `notes`. `check` returns a note on whether the runs are comparable.
    """

    name: str
    title: str
    question: str
    subject: str
    setting: str
    label: Callable[[RunRecord], str]
    baseline: str
    columns: Mapping[str, Measure]
    notes: Sequence[str]
    figure: Callable[[NamedRuns, Sequence[Cell]], Plot] | None = None
    check: Callable[[Sequence[RunRecord]], str] | None = None
    drift: bool = False

    def show(self, runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
        """Write the tables and figures of one scale."""
        named = NamedRuns.by(self.label, runs)
        tables: list[Table] = []
        plots: list[Plot] = []
        for judge, cells in named.by_judge():
            tables.append(self.summary_table(named, cells))
            if contrasts := build_contrasts(cells, baseline=self.baseline):
                against = contrast_table(contrasts)
                header = [self.setting if name == "reward" else name for name in against.header]
                title = f"{self.subject}: against {self.baseline}, scale: {scale}, judge: {judge}"
                tables.append(replace(against, title=title, header=header))
            tables.append(evidence_table(cells))
            plots.append(
                self.figure(named, cells)
                if self.figure
                else win_rate_plot(cells, f"{self.subject}: win rates")
            )
        plots += self.training_plots(named)
        part = named.write(self.name, tables, plots, out)
        if not self.drift:
            return part
        drift = drift_part(named.runs, self.name, out, named.labels)
        return Part([*part.tables, *drift.tables], [*part.images, *drift.images])

    def summary_table(self, named: NamedRuns, cells: Sequence[Cell]) -> Table:
        """One judge's cells: win rate, its range over seeds, p-value, the judge's score, and the extra columns."""
        scale, judge = named.scale, cells[0].judge
        scored = any(cell.quality is not None for cell in cells)
        score = {f"{score_name(judge)}: start → policy": quality_entry} if scored else {}
        extra = {
            name: lambda cell, measure=measure: measure(named, named.runs_of(cell))
            for name, measure in self.columns.items()
        }
        notes = [
            f"Win rate against the {side_names(scale)[0]}, judged by {judge}; ties count half and all seeds are "
            "pooled. In brackets: 95 % interval over prompts, for these models. Bold: it excludes 50 %, on "
            f"{FEW_PROMPTS} prompts or more. Across-seed: the interval for other seeds and other prompts. Single "
            "seeds: the range (and number) of the win rates of single seeds. p (Holm): test of a true rate of 50 %, "
            "corrected over this table.",
            *(
                ["In parentheses: the paired difference with its 95 % interval over prompts."]
                if scored
                else []
            ),
            *stop_notes(cells),
            *([self.check(named.runs)] if self.check else []),
            *self.notes,
        ]
        return column_table(
            name=f"summary-{slug(scale)}-{slug(judge)}",
            title=f"{self.subject}, scale: {scale}, judge: {judge}",
            columns={
                "family": lambda cell: cell.family,
                "regime": lambda cell: cell.regime,
                self.setting: lambda cell: cell.method,
                "win rate (%)": lambda cell: mark_stopped(win_rate_entry(cell), cell),
                "across-seed 95 % CI": lambda cell: format_interval(cell.seeds.wide_lo, cell.seeds.wide_hi),
                "single seeds": single_seeds,
                "p (Holm)": lambda cell: format_p_value(cell.p_holm),
                **score,
                **extra,
            },
            groups=group_by_place(cells),
            notes=notes,
            once=("family", "regime"),
        )

    def training_plots(self, named: NamedRuns) -> list[Plot]:
        """Training curves: measures as rows, families and regimes as columns, at most PANELS columns per figure."""
        history, scale = named.history, named.scale
        styles = named.styles()
        measured = {column: label for column, label in CURVES.items() if history[column].notna().any()}
        pairs = {(run.family, run.regime) for run in named.runs}
        places = [f"{f} {r}" for f, r in sorted(pairs, key=lambda at: (at[0], order_key(at[1], REGIMES)))]
        where = history["family"] + " " + history["regime"]

        def draw(axes: Axes, column: str, place: str) -> None:
            for method, style in styles.items():
                draw_curve(axes, history[(where == place) & (history["method"] == method)], column, style)

        title = f"Training by {self.setting} (scale: {scale})"
        caption = (
            f"Training by {self.setting} at scale {scale}: samples for training prompts. {SMOOTHING_NOTE}; "
            f"{BAND_NOTE}. No run is trained on the likelihood under the held-out verifier."
        )
        plots = []
        for first in range(0, len(places) if measured else 0, PANELS):
            shown = {place: place for place in places[first : first + PANELS]}
            suffix = f"-{first // PANELS + 1}" if len(places) > PANELS else ""
            figure = curve_grid(title, measured, shown, draw, styles)
            plots.append(Plot(f"training-{slug(scale)}{suffix}", caption, figure))
        return plots


def single_seeds(cell: Cell) -> str:
    """The range of the win rates of single seeds, and their number."""
    seeds = cell.seeds
    several = f"{format_percent(seeds.low)} to {format_percent(seeds.high)}" if len(seeds.rates) > 1 else "-"
    return f"{several} ({len(seeds.rates)})"


def length_text(_: NamedRuns, runs: Sequence[RunRecord]) -> str:
    """Mean response length before and after training, in tokens, with the paired change and its interval."""
    pairs = [pair for run in runs for pair in run.pairs]
    start, policy = (
        np.array([nan if response.tokens is None else response.tokens for response in side], dtype=float)
        for side in ([pair.start for pair in pairs], [pair.policy for pair in pairs])
    )
    found = quality_change(start, policy, np.array([pair.prompt_id for pair in pairs], dtype=object))
    if found is None:
        return "n/a"
    change = f"{found.difference:+.1f} {format_interval(found.lo, found.hi)}"
    return f"{found.start:.1f} → {found.policy:.1f} ({change})"


def end_value(run: RunRecord, column: str) -> float:
    """Mean of a history column over the WINDOW steps up to its last known value, NaN if it has none."""
    steps = run.history.get("step", [])
    known = [(s, v) for s, v in zip(steps, run.history.get(column, []), strict=False) if s and v is not None]
    return float(np.mean([value for step, value in known if step > known[-1][0] - WINDOW])) if known else nan


def end_text(column: str, decimals: int = 2) -> Measure:
    """The mean over seeds of a history column at the end of training, with the lowest and the highest seed."""

    def text(_: NamedRuns, runs: Sequence[RunRecord]) -> str:
        values = [value for run in runs if not isnan(value := end_value(run, column))]
        if not values:
            return "n/a"
        spread = f" ({min(values):.{decimals}f} to {max(values):.{decimals}f})" if len(values) > 1 else ""
        return f"{np.mean(values):.{decimals}f}{spread}"

    return text
