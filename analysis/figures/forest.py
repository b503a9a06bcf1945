"""Dots on their intervals, a row each: blocks of rows, one below the other, each block with panels of its own units."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isnan

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import RC, WIDTH, Style

ROW = 0.19  # inches


@dataclass(frozen=True)
class Dot:
    """A value with its interval (NaN bounds: none is drawn), in the row that it belongs to; `below` moves it down."""

    row: str
    value: float
    lo: float
    hi: float
    style: Style
    hollow: bool = False
    below: float = 0.0


@dataclass(frozen=True)
class Panel:
    """One quantity: its label with the unit, its dots, and where a dashed line stands for no effect."""

    label: str
    dots: Sequence[Dot]
    at: float | None = None


@dataclass(frozen=True)
class Block:
    """Rows under a title that names their scale, with a panel a quantity."""

    title: str
    rows: Sequence[str]
    panels: Sequence[Panel]


def forest(
    title: str, blocks: Sequence[Block], legend: Mapping[str, Style], hollow: Collection[str] = ()
) -> Figure:
    """The blocks as one figure of the text width; the legend explains markers, those named in `hollow` as hollow."""
    heights = [0.75 + ROW * len(block.rows) for block in blocks]
    columns = min(5, len(legend))
    rows = ceil(len(legend) / columns) if legend else 0
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 0.37 + 0.18 * rows + sum(heights)), layout="constrained")
        figure.suptitle(title)
        parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
        for block, part in zip(blocks, parts, strict=True):
            panels = part.subplots(1, len(block.panels), sharey=True, squeeze=False)[0]
            height = {row: -index for index, row in enumerate(block.rows)}
            for panel, axes in zip(block.panels, panels, strict=True):
                draw_panel(axes, panel, height)
            panels[0].set_yticks(list(height.values()), list(height))
            panels[0].set_ylim(0.4 - len(block.rows), 0.6)
            part.suptitle(block.title, fontsize=8)
        handles = [
            Line2D(
                [],
                [],
                color=style.colour,
                marker=style.marker,
                markerfacecolor="white" if name in hollow else style.colour,
                linestyle="",
                label=name,
            )
            for name, style in legend.items()
        ]
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure


def draw_panel(axes: Axes, panel: Panel, height: Mapping[str, float]) -> None:
    """A panel's dots at the heights of their rows."""
    if panel.at is not None:
        axes.axvline(panel.at, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    for dot in panel.dots:
        if isnan(dot.value):
            continue
        y, colour = height[dot.row] - dot.below, dot.style.colour
        if not isnan(dot.lo):
            axes.plot([dot.lo, dot.hi], [y, y], color=colour, linewidth=1.4, solid_capstyle="butt")
        face = "white" if dot.hollow else colour
        axes.plot(dot.value, y, marker=dot.style.marker, color=colour, markerfacecolor=face, markersize=5)
    if not any(not isnan(dot.value) for dot in panel.dots):
        axes.text(
            0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="#666666"
        )
    axes.set_xlabel(panel.label)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.margins(x=0.08)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
