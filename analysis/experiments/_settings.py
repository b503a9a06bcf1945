"""What the experiments that vary a setting of the training share: names by the setting, one table, one figure.

A method is called by what the experiment varies, such as `beta 0.01`. Which of several experiments made a run says
nothing of it, so runs of equal settings are pooled whatever made them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan, nan
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.colors import to_hex

from analysis.figures.curves import (
    WINDOW,
    add_derived_columns,
    draw_curve,
    finish_grid,
    mark_empty_panel,
    panel_grid,
)
from analysis.figures.overview import CURVES, SMOOTHING_NOTE, Plot, win_rate_plot
from analysis.figures.style import RC, Style
from analysis.records.frames import history_frame
from analysis.records.names import REGIMES, REWARDS, method_names, natural_key, order_key, sort_names
from analysis.sections.base import Part, write_images, write_tables
from analysis.stats.metrics import FEW_PROMPTS, Quality, quality_change
from analysis.tables.cells import Cell, build_cells, build_contrasts, cells_frame
from analysis.tables.render import Entry, Table, slug
from analysis.tables.win_rates import (
    contrast_table,
    evidence_table,
    format_interval,
    format_p_value,
    format_percent,
    mark_stopped,
    method_key,
    quality_entry,
    score_name,
    side_names,
    stop_notes,
    win_rate_entry,
)
from cme.records import RunRecord

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.5), (1, 1), (4, 1.5, 1, 1.5), (2.5, 1.2), (7, 2), (3, 1))
COLUMNS = 4  # panels side by side

Extra = Callable[[Sequence[RunRecord]], str]


@dataclass(frozen=True)
class Compared:
    """The runs of one experiment at one scale, and the name of each one's setting by run id."""

    runs: Sequence[RunRecord]
    labels: Mapping[str, str]

    @classmethod
    def by(cls, label: Callable[[RunRecord], str], runs: Sequence[RunRecord]) -> "Compared":
        """The runs named by `label`; where runs of one name differ in more, the name says in what."""
        runs = [replace(run, experiment=None) for run in runs]
        full = method_names(runs)
        same: dict[tuple[str, str], set[str]] = {}
        for run in runs:
            same.setdefault((run.reward, label(run)), set()).add(full[run.run_id])
        several = {key for key, found in same.items() if len(found) > 1}

        def name(run: RunRecord) -> str:
            own, whole = label(run), full[run.run_id]
            if (run.reward, own) not in several:
                return own
            return whole if whole.startswith(own) else f"{own}: {whole}"

        return cls(runs, {run.run_id: name(run) for run in runs})

    @property
    def scale(self) -> str:
        """The scale of all runs."""
        return self.runs[0].scale

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells in the order of the tables, their methods named by the setting."""
        named = [replace(cell, method=self.labels[cell.runs[0]]) for cell in build_cells(self.runs)]
        return sorted(named, key=lambda c: (c.family, order_key(c.regime, REGIMES), method_key(c)))

    @cached_property
    def history(self) -> pd.DataFrame:
        """The training histories with what is derived of them, their methods named by the setting."""
        frame = history_frame(self.runs)
        return add_derived_columns(frame.assign(method=frame["run_id"].map(dict(self.labels))))

    def by_judge(self) -> Iterator[tuple[str, list[Cell]]]:
        """The cells of each judge."""
        for judge in sort_names(cell.judge for cell in self.cells):
            yield judge, [cell for cell in self.cells if cell.judge == judge]

    def of(self, cell: Cell) -> list[RunRecord]:
        """The runs of a cell, in the order of their seeds."""
        return sorted((run for run in self.runs if run.run_id in cell.runs), key=lambda run: run.seed)

    def ramp(self) -> dict[str, Style]:
        """Styles of settings in their order: from dark to light, each with a marker and dashes of its own."""
        rewards = {self.labels[run.run_id]: run.reward for run in self.runs}
        ordered = sorted(rewards, key=lambda label: (order_key(rewards[label], REWARDS), natural_key(label)))
        shades = colormaps["viridis"](np.linspace(0.05, 0.8, len(ordered)))
        return {
            label: Style(to_hex(shade), MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
            for i, (label, shade) in enumerate(zip(ordered, shades, strict=True))
        }


def setting_tables(
    compared: Compared,
    title: str,
    column: str,
    baseline: str,
    extra: Mapping[str, Extra],
    notes: Sequence[str],
) -> list[Table]:
    """For each judge: what each setting came to, each against `baseline`, and the evidence."""
    tables = []
    for _, cells in compared.by_judge():
        tables.append(summary_table(compared, cells, title, column, extra, notes))
        if contrasts := build_contrasts(cells, baseline=baseline):
            against = contrast_table(contrasts)
            subject = f"scale: {compared.scale}, judge: {cells[0].judge}"
            header = [column if name == "reward" else name for name in against.header]
            tables.append(replace(against, title=f"{title}: against {baseline}, {subject}", header=header))
        tables.append(evidence_table(cells))
    return tables


def summary_table(
    compared: Compared,
    cells: Sequence[Cell],
    title: str,
    column: str,
    extra: Mapping[str, Extra],
    notes: Sequence[str],
) -> Table:
    """One judge's cells: win rate, its range over seeds, p, the judge's score, and the extra columns."""
    judge = cells[0].judge
    scored = any(cell.quality is not None for cell in cells)
    groups: dict[tuple[str, str], list[list[Entry]]] = {}
    for cell in cells:
        rows = groups.setdefault((cell.family, cell.regime), [])
        place = ("", "") if rows else (cell.family, cell.regime)
        seeds = cell.seeds
        spread = (
            f"{format_percent(seeds.low)} to {format_percent(seeds.high)}" if len(seeds.rates) > 1 else "-"
        )
        rows.append(
            [
                *map(Entry, (*place, cell.method)),
                mark_stopped(win_rate_entry(cell), cell),
                Entry(format_interval(seeds.wide_lo, seeds.wide_hi)),
                Entry(f"{spread} ({len(seeds.rates)})"),
                Entry(format_p_value(cell.p_holm)),
                *([quality_entry(cell)] if scored else []),
                *(Entry(of(compared.of(cell))) for of in extra.values()),
            ]
        )
    header = ["family", "regime", column, "win rate (%)", "any seed", "single seeds", "p (Holm)"]
    explained = [
        f"Win rate against the {side_names(compared.scale)[0]}, judged by {judge}, a tie counting half, all "
        f"seeds pooled; "
        f"in brackets its 95 % interval over prompts, for these models. Bold: it excludes 50 %, on {FEW_PROMPTS} "
        "prompts or more. Any seed: the interval for other seeds and other prompts both. Single seeds: the range "
        "(and number) of their own win rates. p (Holm): test of a true rate of 50 %, corrected over this table.",
        *stop_notes(cells),
        *notes,
    ]
    if scored:
        header.append(f"{score_name(judge)}: start → policy")
        explained.insert(1, "In parentheses: the paired difference with its 95 % interval over prompts.")
    return Table(
        name=f"summary-{slug(compared.scale)}-{slug(judge)}",
        title=f"{title}, scale: {compared.scale}, judge: {judge}",
        header=[*header, *extra],
        groups=list(groups.values()),
        notes=explained,
    )


def length_of(runs: Sequence[RunRecord]) -> str:
    """Mean length of the start's and the policy's responses to the evaluation prompts, in tokens."""
    found = length_change(runs)
    if found is None:
        return "n/a"
    change = f"{found.difference:+.1f} {format_interval(found.lo, found.hi)}"
    return f"{found.start:.1f} → {found.policy:.1f} ({change})"


def length_change(runs: Sequence[RunRecord]) -> Quality | None:
    """Tokens of the start's and the policy's responses, and the paired difference over prompts."""
    pairs = [pair for run in runs for pair in run.pairs]
    start, policy = (
        np.array([np.nan if tokens is None else tokens for tokens in of], dtype=float)
        for of in ([p.start.tokens for p in pairs], [p.policy.tokens for p in pairs])
    )
    return quality_change(start, policy, np.array([pair.prompt_id for pair in pairs], dtype=object))


LENGTH_NOTE = (
    "Length: mean tokens of the responses to the evaluation prompts, of the start → of the policy, with the paired "
    "difference and its 95 % interval over prompts."
)


def at_end(run: RunRecord, column: str) -> float:
    """Mean of a column of a run's history over the WINDOW steps up to its last known value, NaN without any."""
    steps = run.history.get("step", [])
    known = [(s, v) for s, v in zip(steps, run.history.get(column, []), strict=False) if s and v is not None]
    return float(np.mean([value for step, value in known if step > known[-1][0] - WINDOW])) if known else nan


def end_of(column: str, decimals: int = 2) -> Extra:
    """The mean over seeds of a column at the end of training, with the lowest and the highest seed."""

    def text(runs: Sequence[RunRecord]) -> str:
        values = [value for run in runs if not isnan(value := at_end(run, column))]
        if not values:
            return "n/a"
        spread = f" ({min(values):.{decimals}f} to {max(values):.{decimals}f})" if len(values) > 1 else ""
        return f"{np.mean(values):.{decimals}f}{spread}"

    return text


def interval_plots(compared: Compared, title: str) -> list[Plot]:
    """The house's figure of win rates with their intervals, for each judge, under the experiment's title."""
    plots = []
    for judge, cells in compared.by_judge():
        plot = win_rate_plot(cells)
        with rc_context(RC):
            plot.figure.suptitle(f"{title}: win rates (scale: {compared.scale}, judge: {judge})")
        plots.append(plot)
    return plots


def training_plots(compared: Compared, styles: Mapping[str, Style], what: str) -> list[Plot]:
    """Quality, held-out likelihood, length and KL over training: metrics as rows, family and regime as columns."""
    history = compared.history
    measured = [column for column in CURVES if history[column].notna().any()]
    if not measured:
        return []
    places = sorted(
        {(run.family, run.regime) for run in compared.runs}, key=lambda at: (at[0], order_key(at[1], REGIMES))
    )
    chunks = [places[i : i + COLUMNS] for i in range(0, len(places), COLUMNS)]
    return [
        training_plot(history, styles, what, compared.scale, measured, chunk, "" if i == 0 else f"-{i + 1}")
        for i, chunk in enumerate(chunks)
    ]


def training_plot(
    history: pd.DataFrame,
    styles: Mapping[str, Style],
    what: str,
    scale: str,
    measured: Sequence[str],
    places: Sequence[tuple[str, str]],
    suffix: str,
) -> Plot:
    """One figure of training curves, a line a setting."""
    with rc_context(RC):
        figure, panels = panel_grid(len(measured), len(places), 1.25, styles)
        for column, row in zip(measured, panels, strict=True):
            for (family, regime), axes in zip(places, row, strict=True):
                here = history[(history["family"] == family) & (history["regime"] == regime)]
                for method, style in styles.items():
                    draw_curve(axes, here[here["method"] == method], column, style)
                mark_empty_panel(axes)
            row[0].set_ylabel(CURVES[column])
        heads = [f"{family} {regime}" for family, regime in places]
        finish_grid(figure, panels, heads, "training step", f"Training by {what} (scale: {scale})", styles)
    caption = (
        f"Training by {what} at scale {scale}, on training prompts, sampled. {SMOOTHING_NOTE}; the band spans "
        f"the lowest "
        "and highest seed; a cross marks a run that stopped early. The held-out verifier's likelihood is monitored, "
        "never trained on."
    )
    return Plot(f"training-{slug(scale)}{suffix}", caption, figure)


def written(name: str, compared: Compared, tables: Sequence[Table], plots: Sequence[Plot], out: Path) -> Part:
    """Write an experiment's tables, its cells as CSV and its figures under names of its own."""
    named = [replace(table, name=f"{slug(name)}-{table.name}") for table in tables]
    stem = out / "tables" / f"{slug(compared.scale)}-{slug(name)}"
    write_tables(named, cells_frame(compared.cells), stem)
    drawn = [replace(plot, name=f"{slug(name)}-{plot.name}") for plot in plots]
    return Part(named, write_images(drawn, out))
