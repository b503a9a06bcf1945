"""Figures of one training setting: gain against the KL divergence, and against the group size."""

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.curves import SMOOTHING_NOTE, draw_quality_path, legend_columns, mark_empty_panel
from analysis.figures.style import (
    MARKERS,
    NO_DIFFERENCE,
    RC,
    UNTRAINED,
    WIDTH,
    Plot,
    Style,
    draw_estimate,
    draw_reference,
    legend_handles,
)
from analysis.records.names import generator_name, judge_label
from analysis.stats.metrics import is_undecided
from analysis.tables.cells import Cell
from analysis.tables.win_rates import score_name

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
Groups = Sequence[Sequence[tuple[Cell, Sequence[float]]]]


def draw_win_rate(axes: Axes, x: float, cell: Cell, style: Style) -> None:
    """A cell's win rate with its interval over prompts, hollow if it shows no difference."""
    win = cell.win
    hollow = is_undecided(win)
    draw_estimate(axes, x, win.rate, (win.lo, win.hi), style, hollow=hollow, vertical=True, size=5.5)


def undecided_mark(cells: Iterable[Cell]) -> dict[str, Style]:
    """The legend's entry for hollow marks; empty if every cell shows a difference."""
    return {"shows no difference": NO_DIFFERENCE} if any(is_undecided(cell.win) for cell in cells) else {}


def distance_plot(name: str, groups: Groups, history: pd.DataFrame, styles: Mapping[str, Style]) -> Plot:
    """Quality along training, and the final win rate, both against the square root of KL: one row per group of cells.

    Each cell of `groups` comes with the final KL divergences of its runs, in nats per response.
    """
    first = groups[0][0][0]
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 0.9 + 2.1 * len(groups)), layout="constrained")
        panels = figure.subplots(len(groups), 2, sharex=True, squeeze=False)
        for group, (left, right) in zip(groups, panels, strict=True):
            family, regime = group[0][0].family, group[0][0].regime
            here = history[(history["family"] == family) & (history["regime"] == regime)]
            for method, style in styles.items():
                draw_quality_path(left, here[here["method"] == method], "sqrt_kl", style)
            for cell, divergences in group:
                roots = [sqrt(max(0.0, value)) for value in divergences]  # an estimate can fall below 0
                if roots and cell.win.scored:
                    draw_win_rate(right, float(np.mean(roots)), cell, styles[cell.method])
                    across = [min(roots), max(roots)]
                    right.plot(across, [cell.win.rate] * 2, color=styles[cell.method].colour, linewidth=0.8)
            for axes in (left, right):
                mark_empty_panel(axes)
            left.set_ylabel(f"{generator_name(family, regime)}\ntrue quality (0 to 1)")
            right.set_ylabel("win rate (%)")
            draw_reference(right, 50, vertical=False)
        panels[0, 0].set_title("true quality along training")
        panels[0, 1].set_title(f"final win rate (judge: {judge_label(first.judge)})")
        for axes in panels[-1]:
            axes.set_xlabel("√KL from the start (√nats per response)")
        figure.suptitle(f"Gain against distance from the start, by beta (scale: {first.scale})")
        marks = {"start": UNTRAINED} | undecided_mark(cell for group in groups for cell, _ in group)
        handles = legend_handles(styles, marks)
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=legend_columns([*styles, *marks]),
            handlelength=3,
        )
    caption = (
        f"Gain and distance from the start by the weight of the KL penalty, at scale {first.scale}. Left: true quality "
        f"of sampled responses along training, from the gray dot (start) to the marker (end). {SMOOTHING_NOTE}. "
        f"Right: the final policy's win rate against the untrained model (judge: {judge_label(first.judge)}) with its "
        "95 % interval over prompts, at the mean over seeds of the final distance; the horizontal bar spans the seeds. "
        "Filled: the interval excludes 50 %. If the paths coincide, quality depends on the distance alone and the "
        "penalty only shortens it; a path that turns down shows a gamed reward."
    )
    return Plot(name, caption, figure)


def size_plot(name: str, lines: Mapping[str, Sequence[tuple[Cell, int]]]) -> Plot:
    """Win rate and score against the group size: one line per name, of cells with their group sizes."""
    styles = {
        line: Style(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
        for index, line in enumerate(lines)
    }
    cells = [cell for line in lines.values() for cell, _ in line]
    first, sizes = cells[0], sorted({size for line in lines.values() for _, size in line})
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for line, style in styles.items():
            ordered = sorted(lines[line], key=lambda pair: pair[1])
            x = [size for _, size in ordered]
            left.plot(x, [cell.win.rate for cell, _ in ordered], color=style.colour, linewidth=0.8)
            for cell, size in ordered:
                draw_win_rate(left, size, cell, style)
                rates = list(cell.seeds.rates.values())
                left.plot([size * 1.12] * len(rates), rates, "_", color=style.colour, markersize=4)
            scored = [(cell.quality, size) for cell, size in ordered if cell.quality is not None]
            right.plot(
                [size for _, size in scored], [q.policy for q, _ in scored], color=style.colour, linewidth=0.8
            )
            for quality, size in scored:
                bounds = quality.start + quality.lo, quality.start + quality.hi
                draw_estimate(right, size, quality.policy, bounds, style, vertical=True, size=5.5)
            if scored:
                start = scored[0][0].start
                right.axhline(start, color=style.colour, linewidth=0.8, linestyle=(0, (1, 2)))
        draw_reference(left, 50, vertical=False)
        left.set_ylabel("win rate (%)")
        right.set_ylabel(f"mean {score_name(first.judge)} after training")
        mark_empty_panel(right)
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.minorticks_off()
            axes.set_xlabel("completions per prompt (G)")
        figure.suptitle(
            f"Group size at equal completions per step (scale: {first.scale}, judge: {judge_label(first.judge)})"
        )
        marks = undecided_mark(cells)
        handles = legend_handles(styles, marks)
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns([*styles, *marks]))
    caption = (
        f"Win rate against the untrained model by group size, at equal completions per step, at scale {first.scale}, "
        f"judge {judge_label(first.judge)}, all seeds pooled; bars are 95 % intervals over prompts, for these models. "
        "Small marks to the right: single seeds. Filled: the interval excludes 50 % (dashed). Right: mean "
        f"{score_name(first.judge)} of the policies' responses; the bar is the interval of the paired difference from "
        "the untrained model, whose own level is dotted; empty if the judge gives no scores."
    )
    return Plot(name, caption, figure)
