"""The main result: CME against its untrained start in every family and regime, beside the published range."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.experiments._comparators import comparator_table, comparators_frame, comparators_of
from analysis.experiments._settings import Compared, written
from analysis.figures.overview import Plot, draw_interval
from analysis.figures.style import RC, WIDTH, Style, reward_style
from analysis.records.names import sort_names
from analysis.sections.base import Part
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.cells import Cell
from analysis.tables.findings import cell_verdict, place
from analysis.tables.render import Entry, Table, slug
from analysis.tables.win_rates import (
    evidence_table,
    format_interval,
    format_percent,
    quality_table,
    score_name,
    seed_table,
    side_names,
    win_rate_table,
)
from cme.records import RunRecord
from cme.runtime import shipped

TITLE = "The main table: CME against its untrained start"
INTRO = (
    "The paper's claim: trained with CME, a model beats its untrained start in four families and three regimes. A "
    "cell refutes it here where the whole interval of its win rate lies below 50 %, and fails to support it where the "
    "interval covers 50 %. Published is the range of the win rates alone, no cell and no interval; it was had with "
    "other models, prompts and judges, so of it only the side of 50 % can be compared. Beating a weak start is "
    "little: where the runs met them, policy and start are held against the family's instruct model and a fixed "
    "reference too, on the same prompts."
)
PUBLISHED = shipped.PUBLISHED
BAND = "#e3e3e3"


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The tables and the figure of one scale."""
    compared = Compared.by(lambda run: run.reward, runs)
    against = comparators_of(compared.runs)
    tables, plots = [], []
    for _, cells in compared.by_judge():
        tables.append(win_rate_table(cells))
        if against:
            tables.append(comparator_table(compared, cells))
        tables.append(beside_table(cells))
        if any(cell.quality is not None for cell in cells):
            tables.append(quality_table(cells))
        tables += [seed_table(cells), evidence_table(cells)]
        plots.append(main_plot(cells))
    made = written("main_table", compared, tables, plots, out)
    if against:
        path = out / "tables" / f"{slug(scale)}-main-table-comparators.csv"
        comparators_frame(compared).to_csv(path, index=False, lineterminator="\n")
    return made


@dataclass(frozen=True)
class Published:
    """The published range of the win rates, in percent, the number of cells that have a configuration, the source."""

    low: float
    high: float
    cells: int
    source: str


def published() -> Published:
    """What is published of the main table."""
    frame = pd.read_csv(PUBLISHED / "main_table.csv")
    sources = pd.read_csv(PUBLISHED / "sources.csv").set_index("file")
    whole = frame["generator"] == "all"
    low, high = frame.loc[whole, ["lowest_win_rate_pct", "highest_win_rate_pct"]].to_numpy(float)[0]
    return Published(
        float(low), float(high), int((~whole).sum()), str(sources.at["main_table.csv", "source"])
    )


def other(scale: str) -> str:
    """How the published scale compares with one of ours."""
    return "the paper's scale" if scale == "paper" else "other scale"


def beside_table(cells: Sequence[Cell]) -> Table:
    """The published range and ours, each in a column of its own."""
    known, scale, judge = published(), cells[0].scale, cells[0].judge
    rated = sorted(
        (cell for cell in cells if cell.win.verdicts > cell.win.unscored), key=lambda c: c.win.rate
    )
    stand = [cell_verdict(cell) for cell in cells]

    def ends(index: int) -> str:
        if not rated:
            return "n/a"
        win = rated[index].win
        return f"{format_percent(win.rate)} {format_interval(win.lo, win.hi)} ({place(rated[index])})"

    rows = [
        ("lowest win rate of a cell (%)", format_percent(known.low), ends(0)),
        ("highest win rate of a cell (%)", format_percent(known.high), ends(-1)),
        ("cells", f"{known.cells} have a configuration", str(len(cells))),
        ("cells told above 50 %", "no interval published", str(stand.count("won"))),
        ("cells told below 50 %", "no interval published", str(stand.count("lost"))),
    ]
    return Table(
        name=f"published-{slug(scale)}-{slug(judge)}",
        title=f"CME against its untrained start: published, and ours at scale: {scale}, judge: {judge}",
        header=["", f"published ({other(scale)})", f"ours (scale: {scale})"],
        groups=[[[Entry(text) for text in row] for row in rows]],
        notes=[
            f"Published: {known.source}. Four families, three regimes; LLM judges, one order per pair; ours: both "
            "orders. Each column has its own scale, models, prompts and judge: compare the sides of 50 %, "
            "not the sizes.",
            "Ours: in brackets the 95 % interval over prompts. Told above or below: the whole interval is, on 30 "
            "prompts or more, each cell taken alone.",
        ],
    )


def main_plot(cells: Sequence[Cell]) -> Plot:
    """Win rate with its intervals by family and regime, and the judge's score before and after beside it."""
    scale, judge = cells[0].scale, cells[0].judge
    families = sort_names(cell.family for cell in cells)
    scored = any(cell.quality is not None for cell in cells)
    several = len({cell.method for cell in cells}) > 1
    rows: list[tuple[str, Cell | None]] = []
    for family in families:
        own = [cell for cell in cells if cell.family == family]
        rows += [(family, None), *((f"{c.regime} {c.method}" if several else c.regime, c) for c in own)]
    known = published()
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 1.15 + 0.19 * len(rows)), layout="constrained")
        panels = figure.subplots(
            1, 1 + scored, sharey=True, squeeze=False, width_ratios=[3, 2][: 1 + scored]
        )[0]
        draw_band(panels[0], known.low, known.high, scale)
        for y, (_, cell) in enumerate(rows):
            if cell is None:
                continue
            style = reward_style(cell.reward)
            draw_seeds(panels[0], cell, -y, style)
            draw_interval(panels[0], cell, -y, style)
            if scored:
                draw_change(panels[1], cell, -y, style)
        panels[0].set_yticks([-y for y in range(len(rows))], [text for text, _ in rows])
        for tick, (_, cell) in zip(panels[0].get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if cell is None else "normal")
        panels[0].set_ylim(0.4 - len(rows), 1.6)
        panels[0].set_xlim(min(30.0, panels[0].get_xlim()[0]), max(75.0, panels[0].get_xlim()[1]))
        panels[0].set_xlabel(f"win rate against the\n{side_names(scale)[0]} (%)")
        for axes in panels:
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
        if scored:
            panels[1].set_xlabel(f"{score_name(judge)} of the responses:\nstart → policy")
        figure.suptitle(f"CME against its untrained start (scale: {scale}, judge: {judge})")
    caption = (
        f"CME against its untrained start at scale {scale}, judge {judge}, all seeds pooled. Left: win rate; the thick "
        "bar is its 95 % interval over prompts, for these models; the thin one is for other seeds too (from "
        f"{MIN_SEEDS} seeds on); ticks are single seeds. Filled: the thick bar excludes 50 % (dashed). Gray: the range "
        f"of the published win rates, {known.low} to {known.high} % ({known.source}; "
        f"{other(scale)}, other models, prompts and judges; compare its side of 50 %, not its size). †: a run stopped "
        "before its last step."
    )
    if scored:
        caption += (
            f" Right: mean {score_name(judge)} of the start's (open) and of the policy's responses (filled); the bar "
            "at the latter is the 95 % interval of their paired difference."
        )
    return Plot(f"win-rates-{slug(scale)}-{slug(judge)}", caption, figure)


def draw_band(axes: Axes, low: float, high: float, scale: str) -> None:
    """The published range as a labelled band behind the dots, and the line at 50 %."""
    axes.axvspan(low, high, color=BAND, linewidth=0, zorder=0)
    axes.axvline(50, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    at = axes.get_xaxis_transform()
    text = f"published range,\n{other(scale)}"
    axes.text((low + high) / 2, 0.99, text, transform=at, ha="center", va="top", fontsize=7, color="#444444")


def draw_seeds(axes: Axes, cell: Cell, y: float, style: Style) -> None:
    """The interval for other seeds too as a thin bar, and single seeds as ticks."""
    seeds = cell.seeds
    axes.plot([seeds.wide_lo, seeds.wide_hi], [y, y], color=style.colour, linewidth=0.6)
    rates = list(seeds.rates.values())
    axes.plot(rates, [y - 0.28] * len(rates), "|", color=style.colour, markersize=4, markeredgewidth=0.8)


def draw_change(axes: Axes, cell: Cell, y: float, style: Style) -> None:
    """The score before (open) and after (filled), with the interval of the difference at the latter."""
    change = cell.quality
    if change is None:
        return
    line = replace(style, dashes=(1, 1)).line
    axes.plot([change.start, change.policy], [y, y], color=style.colour, linewidth=0.7, linestyle=line)
    ends = [change.start + change.lo, change.start + change.hi]
    axes.plot(ends, [y, y], color=style.colour, linewidth=1.4, solid_capstyle="butt")
    axes.plot(change.start, y, style.marker, color=style.colour, markerfacecolor="white", markersize=4.5)
    axes.plot(change.policy, y, style.marker, color=style.colour, markersize=5)
