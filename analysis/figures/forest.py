"""Estimates with their intervals, one row each: the form of most figures here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from analysis.figures.style import (
    NO_DIFFERENCE,
    REFERENCE,
    SEED,
    STOPPED_EARLY,
    Style,
    add_legend,
    draw_estimate,
    new_figure,
)

ROW = 0.19  # inches
LOWEST = 1.55  # inches: a lower figure has no room for its panels between title and labels
GRAY = "#666666"


@dataclass(frozen=True)
class Dot:
    """An estimate in the row `row`, `below` it by a fraction of a row. NaN values and bounds are not drawn.

    `hollow`: the estimate shows no difference from the panel's reference. `wide` are the bounds of a second, thin bar,
    `seeds` the estimates of single seeds, drawn as ticks if there are several, where equal ones make a longer tick;
    NaN is not drawn. They stand `seeds_below` the estimate. `stopped`: a † at the right end says that a training
    stopped early.
    """

    row: str
    value: float
    lo: float
    hi: float
    style: Style
    hollow: bool = False
    below: float = 0.0
    wide: tuple[float, float] = (nan, nan)
    seeds: Sequence[float] = ()
    seeds_below: float = 0.28
    stopped: bool = False
    size: float = 5.0


@dataclass(frozen=True)
class Level:
    """A value of some rows, one below the other, as a vertical bar of `width` points across them; NaN is not drawn."""

    rows: Sequence[str]
    value: float
    style: Style
    width: float = 1.6


@dataclass(frozen=True)
class Panel:
    """One quantity: the label of its axis with the unit, its dots and its levels.

    A dashed line stands at `reference`, the value of no effect. The axis covers at least `limits`. `words` are written
    in rows without dots. `band` shades and labels a range. Seeds are equal if they are so to this number of `decimals`.
    """

    label: str
    dots: Sequence[Dot]
    reference: float | None = None
    title: str = ""
    limits: tuple[float, float] | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    levels: Sequence[Level] = ()
    band: tuple[float, float, str] | None = None
    decimals: int = 1


@dataclass(frozen=True)
class Block:
    """Rows (label by key, top to bottom) under a title, with one panel per quantity.

    A row whose key and a line break begin other keys is their head, in bold. `x_label` is one label for all panels;
    `share_x` gives all panels one scale. Rows are `height` inches apart, with a line between them if `ruled`, and
    `above` more inches over the first.
    """

    title: str
    rows: Mapping[str, str]
    panels: Sequence[Panel]
    x_label: str = ""
    height: float = ROW
    above: float = 0.0
    ruled: bool = False
    share_x: bool = False
    widths: Sequence[float] | None = None


def forest(
    title: str, blocks: Sequence[Block], legend: Mapping[str, Style], tick: str = "single seed"
) -> Figure:
    """The blocks one below the other in one figure of the text width.

    Ticks, hollow dots and daggers that are drawn have an entry in the legend, the ticks by the name `tick`.
    """
    dots = [dot for block in blocks for panel in block.panels for dot in panel.dots if not isnan(dot.value)]
    legend = {
        **legend,
        **({tick: SEED} if any(len(dot.seeds) > 1 for dot in dots) else {}),
        **({"shows no difference": NO_DIFFERENCE} if any(dot.hollow for dot in dots) else {}),
        **({"† stopped early": STOPPED_EARLY} if any(dot.stopped for dot in dots) else {}),
    }
    heights = [
        0.75 + 0.14 * bool(block.x_label) + block.above + block.height * len(block.rows) for block in blocks
    ]
    with new_figure(title, max(0.37 + sum(heights), LOWEST)) as figure:
        parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
        for block, part in zip(blocks, parts, strict=True):
            draw_block(part, block)
        if legend:
            add_legend(figure, {}, legend)
    return figure


def draw_block(part: SubFigure, block: Block) -> None:
    """A block's panels side by side, with the labels of the rows at the first one."""
    shape: dict[str, Any] = {"sharex": block.share_x, "sharey": True, "squeeze": False}
    shape["width_ratios"] = block.widths
    panels = part.subplots(1, len(block.panels), **shape)[0]
    height = {row: -float(index) for index, row in enumerate(block.rows)}
    for panel, axes in zip(block.panels, panels, strict=True):
        draw_panel(axes, panel, height)
        for y in [*height.values()][1:] if block.ruled else []:
            axes.axhline(y + 0.5, color="#d0d0d0", linewidth=0.5)
    for panel, axes in zip(block.panels, panels, strict=True):
        axes.autoscale_view()  # after all panels are drawn, because they can share their x axis
        low, high = axes.get_xlim()
        if panel.limits:
            axes.set_xlim(min(panel.limits[0], low), max(panel.limits[1], high))
    first = panels[0]
    first.set_yticks(list(height.values()), list(block.rows.values()))
    for tick, row in zip(first.get_yticklabels(), block.rows, strict=True):
        is_head = any(other.startswith(f"{row}\n") for other in block.rows)
        tick.set_fontweight("bold" if is_head else "normal")
    first.set_ylim(0.4 - len(block.rows), 0.6 + block.above / block.height)
    if block.title:
        part.suptitle(block.title, fontsize=8)
    if block.x_label:
        part.supxlabel(block.x_label, fontsize=8)


def draw_seeds(axes: Axes, y: float, seeds: Sequence[float], colour: str, decimals: int = 1) -> None:
    """Ticks of single seeds; one that equals an earlier one to these decimals stands 2 points lower, up to 6."""
    look: dict[str, Any] = {"color": colour, "markersize": 4, "markeredgewidth": 0.8, "alpha": 0.7}
    drawn: Counter[float] = Counter()
    for seed in (seed for seed in seeds if not isnan(seed)):
        equal = drawn[round(seed, decimals)]
        lower = ScaledTranslation(0, -2 / 72 * min(equal, 3), axes.figure.dpi_scale_trans)
        axes.plot([seed], [y], "|", transform=axes.transData + lower, **look)
        axes.update_datalim([(seed, y)])  # matplotlib does not see data behind such a transform
        drawn[round(seed, decimals)] += 1


def draw_panel(axes: Axes, panel: Panel, height: Mapping[str, float]) -> None:
    """A panel's dots at the heights of their rows."""
    if panel.band:
        low, high, text = panel.band
        axes.axvspan(low, high, color="#e3e3e3", linewidth=0, zorder=0)
        at = axes.get_xaxis_transform()
        axes.text(
            (low + high) / 2, 0.99, text, transform=at, ha="center", va="top", fontsize=8, color="#444444"
        )
    if panel.reference is not None:
        axes.axvline(panel.reference, **REFERENCE)
    for level in (level for level in panel.levels if not isnan(level.value)):
        ends = height[level.rows[-1]] - 0.4, height[level.rows[0]] + 0.4
        axes.vlines(level.value, *ends, color=level.style.colour, linewidth=level.width)
    for dot in (dot for dot in panel.dots if not isnan(dot.value)):
        y, colour = height[dot.row] - dot.below, dot.style.colour
        axes.plot(dot.wide, (y, y), color=colour, linewidth=0.6)
        if len(dot.seeds) > 1:
            draw_seeds(axes, y - dot.seeds_below, dot.seeds, colour, panel.decimals)
        draw_estimate(axes, y, dot.value, (dot.lo, dot.hi), dot.style, hollow=dot.hollow, size=dot.size)
        end = dot.value if isnan(dot.hi) else dot.hi
        if dot.stopped:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            axes.annotate("†", (end, y), (8, 0), textcoords="offset points", va="center", bbox=box)
    for row, words in panel.words.items():
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        middle = axes.get_yaxis_transform()
        axes.text(0.5, height[row], words, transform=middle, ha="center", va="center", color=GRAY, bbox=box)
    if all(isnan(dot.value) for dot in panel.dots):
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=GRAY)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.label)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.margins(x=0.08)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
