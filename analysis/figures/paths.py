"""True quality along training: against steps, the reward gained, and the distance from the untrained model.

The frames in blocks of steps have a row per run and block, with the columns `label` (the method), `run_id`, `block`,
`step` and measures.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import sqrt
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.curves import (
    SMOOTHING_NOTE,
    curve_grid,
    draw_quality_paths,
    place_grid,
    styles_by_method,
)
from analysis.figures.style import NO_DIFFERENCE, PEAK, REFERENCE, UNTRAINED, Plot, Style, draw_estimate
from analysis.records.names import generator_name, judge_label
from analysis.stats.win_rates import is_undecided
from analysis.tables.cells import Cell
from analysis.tables.render import slug
from analysis.tables.training.courses import BLOCK

SQRT_KL = "√KL from the start (√nats per response)"
Groups = Sequence[Sequence[tuple[Cell, Sequence[float]]]]
SAMPLED, GREEDY = Style("#009E73", "s", (4, 1.5)), Style("#0072B2", "o")
MEASURES = {
    "quality": "true quality\n(0 to 1)",
    "greedy": "greedy quality\n(0 to 1)",
    "heldout": "held-out verifier\n(nats/token)",
}
FIRST = "first measurement"  # its KL is above 0, which is that of the start
MARKS_NOTE = (
    "the gray dot is the first measurement. Bands and bars: lowest and highest seed. Stars: highest mean of true "
    "quality. Means are over the blocks that every seed has."
)
MARKS = {FIRST: UNTRAINED, "peak": PEAK}


DISTANCES = {
    "reward_gain": (
        "reward gained (SD of the first rewards)",
        "the reward gained since the first steps, in standard deviations of the first rewards",
    ),
    "sqrt_kl": (SQRT_KL, "the square root of the KL divergence from the start"),
}
"""The columns of a history that true quality is drawn against: label of the axis, and name in the caption."""


def overoptimisation_plots(history: pd.DataFrame) -> list[Plot]:
    """True quality against each of DISTANCES, if both are measured: regimes as rows, families as columns."""
    scale, plots = history["scale"].iloc[0], []
    for column, (x_label, in_words) in DISTANCES.items():
        measured = history.loc[history[column].notna() & history["quality"].notna(), "method"]
        if measured.empty:
            continue
        shown = history[history["method"].isin(measured)]
        styles = styles_by_method(shown)
        draw = partial(draw_quality_paths, column=column, styles=styles)
        title = f"True quality against {x_label.split(' (')[0]} (scale: {scale})"
        label, marks = "true quality (0 to 1)", {FIRST: UNTRAINED}
        figure = place_grid(title, shown, label, draw, styles, marks, x_label)
        caption = (
            f"True quality against {in_words}, at scale {scale}: the path of training from the gray dot (first "
            f"measurement) to the marker (end). {SMOOTHING_NOTE}. A path that rises and then falls as it moves right "
            "shows a reward optimised beyond the quality it stands for (Gao et al. 2023)."
        )
        plots.append(Plot(f"overoptimisation-{slug(column)}-{slug(scale)}", caption, figure))
    return plots


def distance_plot(name: str, groups: Groups, history: pd.DataFrame, styles: Mapping[str, Style]) -> Plot:
    """Quality along training, and the final win rate, both against the square root of KL: a column per generator.

    Each cell of `groups`, one group per generator, comes with the final KL divergences of its runs, in nats per
    response.
    """
    cells = [cell for group in groups for cell, _ in group]
    scale, judge = cells[0].scale, judge_label(cells[0].judge)
    columns = {generator_name(group[0][0].family, group[0][0].regime): group for group in groups}

    def draw(axes: Axes, row: str, generator: str) -> None:
        place = columns[generator][0][0]
        if row == "quality":
            here = history[(history["family"] == place.family) & (history["regime"] == place.regime)]
            draw_quality_paths(axes, here, "sqrt_kl", styles)
            return
        for cell, divergences in columns[generator]:
            roots = [sqrt(max(0.0, value)) for value in divergences]  # an estimate can fall below 0
            win, style = cell.win, styles[cell.method]
            if roots and win.scored:
                axes.plot([min(roots), max(roots)], [win.rate] * 2, color=style.colour, linewidth=0.8)
                look: dict[str, Any] = {"hollow": is_undecided(win), "vertical": True, "size": 5.5}
                draw_estimate(axes, float(np.mean(roots)), win.rate, (win.lo, win.hi), style, **look)
        if axes.lines:
            axes.axhline(50, **REFERENCE)

    rows = {
        "quality": "true quality\n(0 to 1)",
        "win_rate": "final win rate against\nthe untrained model (%)",
    }
    marks = {FIRST: UNTRAINED}
    if any(is_undecided(cell.win) for cell in cells):
        marks |= {"shows no difference": NO_DIFFERENCE}
    title = f"Gain against distance from the start, by beta (scale: {scale}, judge: {judge})"
    figure = curve_grid(
        title, rows, {name: name for name in columns}, draw, styles, marks, SQRT_KL, height=2.0
    )
    caption = (
        f"Gain and distance from the start by the weight of the KL penalty, at scale {scale}. Above: true quality of "
        f"sampled responses along training, from the gray dot (first measurement) to the marker (end). "
        f"{SMOOTHING_NOTE}. "
        f"Below: the final policy's win rate against the untrained model (judge: {judge}) with its "
        "95 % interval over prompts, at the mean over seeds of the final distance; the horizontal bar spans the seeds. "
        "Filled: the interval excludes 50 % (dashed). If the paths coincide, quality depends on the distance alone and "
        "the penalty only shortens it; a path that turns down shows a gamed reward."
    )
    return Plot(name, caption, figure)


def draw_block_path(axes: Axes, blocks: pd.DataFrame, across: str, column: str, style: Style) -> None:
    """A column against another over the blocks that all seeds have, with the range of seeds; a star at best quality.

    The range is a band over steps, and a bar at each block otherwise: a path that turns back would fold a band.
    """
    known = blocks.dropna(subset=[column, across])
    whole = known.groupby("block")["run_id"].nunique() == known["run_id"].nunique()
    by_block = known[known["block"].map(whole).astype(bool)].groupby("block")
    if not len(by_block):
        return
    x, y = by_block[across].mean(), by_block[column].mean()
    low, high = by_block[column].min(), by_block[column].max()
    if across == "step":
        axes.fill_between(x, low, high, color=style.colour, alpha=0.15, linewidth=0)
    else:
        axes.vlines(x, low, high, color=style.colour, alpha=0.3, linewidth=1.5)
    axes.plot(x, y, **style.look, markersize=3)
    axes.plot(x.iloc[-1], y.iloc[-1], style.marker, color=style.colour, markersize=6, clip_on=False)
    axes.plot(x.iloc[0], y.iloc[0], UNTRAINED.marker, color=UNTRAINED.colour, markersize=5, clip_on=False)
    if column in ("quality", "greedy"):
        best = x.iloc[int(y.argmax())]
        axes.plot(best, y.max(), PEAK.marker, color=PEAK.colour, markersize=5, clip_on=False, zorder=4)


def greedy_plot(
    name: str, title: str, sampled: pd.DataFrame, greedy: pd.DataFrame, labels: Sequence[str]
) -> Plot:
    """One column per label: true quality by step, of completions sampled in training and of greedy responses."""

    def draw(axes: Axes, _: str, label: str) -> None:
        draw_block_path(axes, sampled[sampled["label"] == label], "step", "quality", SAMPLED)
        draw_block_path(axes, greedy[greedy["label"] == label], "step", "greedy", GREEDY)

    styles = {"sampled in training": SAMPLED, "greedy, saved checkpoints": GREEDY}
    width = max(11, 90 // len(labels))  # of a column's head, in characters
    heads = {label: fill(label, width, break_long_words=False) for label in labels}
    figure = curve_grid(title, {"quality": MEASURES["quality"]}, heads, draw, styles, MARKS, height=1.7)
    caption = (
        f"{title}. Completions sampled in training, for the training prompts, in blocks of {BLOCK} steps, and "
        "greedy responses of the saved checkpoints, to the selection prompts. The prompts differ, so compare "
        f"directions, not levels. Means over seeds; {MARKS_NOTE} A training that the guard stopped has no later "
        "checkpoint."
    )
    return Plot(name, caption, figure)


def kl_plot(name: str, where: str, blocks: pd.DataFrame, styles: Mapping[str, Style]) -> Plot:
    """True quality, greedy quality if known, and the held-out verifier against the root of KL, a line per label."""
    greedy = bool(blocks["greedy"].notna().any())
    measures = {column: label for column, label in MEASURES.items() if greedy or column != "greedy"}

    def draw(axes: Axes, column: str, _: str) -> None:
        for label, style in styles.items():
            draw_block_path(axes, blocks[blocks["label"] == label], "sqrt_kl", column, style)

    title = f"Quality and held-out verifier against √KL ({where})"
    figure = curve_grid(title, measures, {"": ""}, draw, styles, MARKS, SQRT_KL, height=2.1)
    of_greedy = (
        "Greedy quality: true quality of the saved checkpoints' greedy responses to the selection prompts, at the "
        "distance of the block that ends there. "
    )
    caption = (
        f"{title}: true quality and the likelihood under the held-out verifier against the root of the policy's KL "
        "divergence from its start, measured on completions sampled in training. "
        f"{of_greedy if greedy else ''}Each mark is a block of {BLOCK} steps, the largest the end; {MARKS_NOTE} "
        "A line that falls as it moves right is over-optimised."
    )
    return Plot(name, caption, figure)
