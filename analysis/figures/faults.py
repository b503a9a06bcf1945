"""Faults of the responses as stacked bars: a panel per regime, a bar for each method, the untrained model on top."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.style import SPARE_COLOURS, Plot, Style, add_legend, new_figure
from analysis.figures.win_rates import builds_note
from analysis.records.frames import method_rewards
from analysis.records.names import REGIMES, method_names, regime_name, sort_names
from analysis.tables.faults import (
    CUT,
    FAULTS,
    UNTRAINED,
    fault_frame,
    measure_name,
    over_families,
    side_means,
)
from analysis.tables.render import slug
from cme.records import RunRecord

COLOURS = {
    "none": "#009E73",
    "incomplete": "#E69F00",
    "wrong": "#D55E00",
    "off_format": "#CC79A7",
    "boilerplate": "#56B4E9",
    "repetition": "#0072B2",
    "unasked": "#F0E442",
    "unfinished": "#9A9A9A",
    "some_unmet": "#FDAE6B",
    "all_unmet": "#8C2D04",
}
"""Colours of the known faults; others take spare ones."""


def fault_plots(runs: Sequence[RunRecord]) -> list[Plot]:
    """The shares of faults of one scale, all families pooled."""
    scale = runs[0].scale
    frame = over_families(fault_frame(runs))
    frame = frame[frame["topic"] == "fault"]
    spare = cycle(SPARE_COLOURS)
    colours = {fault: COLOURS.get(fault) or next(spare) for fault in sort_names(frame["measure"], FAULTS)}
    rows = [UNTRAINED, CUT, *method_rewards(frame)]
    regimes = sort_names(frame["regime"], REGIMES)
    title = f"Main fault of the responses by reward (scale: {scale})"
    with new_figure(title, 0.75 + 0.2 * len(rows)) as figure:
        panels = figure.subplots(1, len(regimes), sharey=True, squeeze=False)[0]
        for axes, regime in zip(panels, regimes, strict=True):
            draw_shares(axes, frame[frame["regime"] == regime], rows, colours)
            axes.set_title(regime_name(regime))
            axes.set_xlabel("responses (%)")
        panels[0].set_yticks(range(len(rows)), rows)
        panels[0].invert_yaxis()
        squares = {measure_name(fault): Style(colour, "s") for fault, colour in colours.items()}
        add_legend(figure, {}, squares)
    names = method_names(runs)
    caption = (
        f"What is wrong with the greedy responses to the evaluation prompts at scale {scale}, all families and seeds "
        "pooled: each response has one main fault or none. A fault whose bar shrinks against the untrained model was "
        "repaired, one that grows was made. Cut start: the untrained model's responses, each cut at its first sentence "
        f"end. The table has the changes with their tests.{builds_note((names[run.run_id], run) for run in runs)}"
    )
    return [Plot(f"faults-{slug(scale)}", caption, figure)]


def draw_shares(axes: Axes, frame: pd.DataFrame, rows: Sequence[str], colours: Mapping[str, str]) -> None:
    """One regime's stacked bars, in these colours of faults."""
    shares = {UNTRAINED: side_means(frame, "start"), CUT: side_means(frame, "cut_start")}
    shares |= {str(method): side_means(own, "policy") for method, own in frame.groupby("method")}
    left = [0.0] * len(rows)
    for fault, colour in colours.items():
        widths = [shares.get(row, {}).get(fault, 0.0) for row in rows]
        axes.barh(range(len(rows)), widths, left=left, height=0.7, color=colour, label=measure_name(fault))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 50, 100])
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
