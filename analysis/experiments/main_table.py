"""The main result: CME against the untrained model in every family and regime, next to the published range."""

from collections.abc import Sequence
from dataclasses import replace
from math import nan
from pathlib import Path

from analysis.experiments.base import FreeExperiment, NamedRuns, column_table
from analysis.experiments.comparators import comparator_table, comparators_frame, comparators_of
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.overview import cell_dot
from analysis.figures.style import Plot, reward_style
from analysis.records.names import display_name, sort_names
from analysis.records.published import main_table_range, read_published, sources_of
from analysis.sections.base import Part
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.cells import Cell
from analysis.tables.findings import cell_verdict, place
from analysis.tables.render import Table, format_interval, format_percent, slug
from analysis.tables.win_rates import (
    evidence_table,
    quality_table,
    score_name,
    seed_table,
    side_names,
    win_rate_table,
)
from cme.records import RunRecord


def show(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """Write the tables and the figure of one scale."""
    named = NamedRuns.by(lambda run: display_name(run.reward), runs)
    against = comparators_of(named.runs)
    tables, plots = [], []
    for _, cells in named.by_judge():
        tables.append(win_rate_table(cells))
        if against:
            tables.append(comparator_table(named, cells))
        tables.append(published_table(cells))
        if any(cell.quality is not None for cell in cells):
            tables.append(quality_table(cells))
        tables += [seed_table(cells), evidence_table(cells)]
        plots.append(main_plot(cells))
    part = named.write("main_table", tables, plots, out)
    if against:
        path = out / "tables" / f"{slug(scale)}-main-table-comparators.csv"
        comparators_frame(named).to_csv(path, index=False, lineterminator="\n")
    return part


def published_scale(scale: str) -> str:
    """How the published scale compares with one of ours."""
    return "the paper's scale" if scale == "paper" else "other scale"


def published_table(cells: Sequence[Cell]) -> Table:
    """The published range and ours, each in its own column."""
    scale, judge = cells[0].scale, cells[0].judge
    low, high = main_table_range()
    settings = int((read_published("main_table.csv")["generator"] != "all").sum())
    rated = sorted((c for c in cells if c.win.verdicts > c.win.unscored), key=lambda c: c.win.rate)
    ends = [
        f"{format_percent(cell.win.rate)} {format_interval(cell.win.lo, cell.win.hi)} ({place(cell)})"
        for cell in rated
    ] or ["n/a"]
    verdicts = [cell_verdict(cell) for cell in cells]
    rows = [
        ("lowest win rate of a cell (%)", format_percent(low), ends[0]),
        ("highest win rate of a cell (%)", format_percent(high), ends[-1]),
        ("cells", f"{settings} have a configuration", str(len(cells))),
        ("cells whose interval lies above 50 %", "no interval published", str(verdicts.count("won"))),
        ("cells whose interval lies below 50 %", "no interval published", str(verdicts.count("lost"))),
    ]
    return column_table(
        name=f"published-{slug(scale)}-{slug(judge)}",
        title=f"CME against its untrained model: published, and ours at scale: {scale}, judge: {judge}",
        columns={
            "": lambda row: row[0],
            f"published ({published_scale(scale)})": lambda row: row[1],
            f"ours (scale: {scale})": lambda row: row[2],
        },
        groups=[rows],
        notes=[
            f"Published: {sources_of()['main_table.csv']}. Four families, three regimes; LLM judges, one order per "
            "pair; ours: both orders. Each column has its own scale, models, prompts and judge: compare the sides of "
            "50 %, not the sizes.",
            "Ours: in brackets the 95 % interval over prompts. Above or below: the whole interval is, on 30 prompts or "
            "more, without correction for the number of cells.",
        ],
    )


def main_plot(cells: Sequence[Cell]) -> Plot:
    """Win rate with its intervals by family and regime, next to the judge's score before and after training."""
    scale, judge = cells[0].scale, cells[0].judge
    several = len({cell.method for cell in cells}) > 1
    rows: dict[str, str] = {}
    rates, scores = [], []
    for family in sort_names(cell.family for cell in cells):
        rows[family] = family
        for cell in (cell for cell in cells if cell.family == family):
            row, style, seeds = (
                f"{family}\n{cell.regime}\n{cell.method}",
                reward_style(cell.reward),
                cell.seeds,
            )
            rows[row] = f"{cell.regime} {cell.method}" if several else cell.regime
            wide = (seeds.wide_lo, seeds.wide_hi)
            rates.append(replace(cell_dot(cell, row, style), wide=wide, seeds=list(seeds.rates.values())))
            if (change := cell.quality) is not None:
                path = (change.start, change.policy)
                scores.append(Dot(row, change.start, nan, nan, style, hollow=True, wide=path, size=4.5))
                ends = change.start + change.lo, change.start + change.hi
                scores.append(Dot(row, change.policy, *ends, style))
    low, high = main_table_range()
    band = (low, high, f"published range,\n{published_scale(scale)}")
    label = f"win rate against the\n{side_names(scale)[0]} (%)"
    panels = [Panel(label, rates, 50, limits=(30, 75), band=band)]
    if scores:
        panels.append(Panel(f"{score_name(judge)} of the responses:\nstart → policy", scores))
    heads = [row for row in rows if "\n" not in row]
    widths = [3, 2][: len(panels)]
    block = Block("", rows, panels, heads, above=0.3, widths=widths)
    figure = forest(f"CME against its untrained model (scale: {scale}, judge: {judge})", [block], {})
    caption = (
        f"CME against its untrained model at scale {scale}, judge {judge}, all seeds pooled. Left: win rate. The thick "
        "bar is its 95 % interval over prompts, for these models; the thin bar is the across-seed interval (from "
        f"{MIN_SEEDS} seeds on); ticks are single seeds. Filled: the thick bar excludes 50 % (dashed). Gray: the range "
        f"of the published win rates, {low} to {high} % ({sources_of()['main_table.csv']}; {published_scale(scale)}, "
        "other models, prompts and judges; compare its side of 50 %, not its size). †: a run stopped before its last "
        "step."
    )
    if scores:
        caption += (
            f" Right: mean {score_name(judge)} of the untrained model's (open) and of the policy's responses (filled), "
            "joined by a thin line; the bar at the latter is the 95 % interval of their paired difference."
        )
    return Plot(f"win-rates-{slug(scale)}-{slug(judge)}", caption, figure)


MAIN_TABLE = FreeExperiment(
    title="The main table: CME against its untrained model",
    question=(
        "The paper's claim: a model trained with CME beats its untrained self in four families and three regimes. A "
        "cell refutes the claim here if the whole interval of its win rate lies below 50 %, and does not support it if "
        "the interval covers 50 %. The paper publishes only the range of the win rates, without cells or intervals. It "
        "used other models, prompts and judges, so only the side of 50 % can be compared. Beating a weak model proves "
        "little: if the runs were compared with the family's instruct model and a fixed reference, the policy and the "
        "untrained model are compared on the same prompts."
    ),
    show=show,
)
