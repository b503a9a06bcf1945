"""Faults of a figure that its data do not show: raw markup, bad labels, ambiguous legends, panels too small to read."""

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from analysis.figures.style import RC

DPI = 200  # of the PNG files
SMALLEST_PANEL = 80  # pixels
MARKUP = ("$", "\\mathdefault", "\\frac")


def layout_faults(figure: Figure) -> list[str]:
    """One sentence per fault of a figure as it is saved; empty for a sound one."""
    with rc_context(RC):
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(DPI)
        canvas.draw()
        panel_faults = [fault for axes in panels(figure) for fault in find_panel_faults(axes)]
        return [*find_text_faults(figure), *find_legend_faults(figure), *panel_faults]


def panels(figure: Figure) -> list[Axes]:
    """The visible axes of a figure and of its subfigures."""
    return [axes for axes in figure.findobj(Axes) if axes.get_visible() and axes.axison]


def find_text_faults(figure: Figure) -> Iterator[str]:
    """Texts with the source of mathematics in them, beyond the canvas by more than a pixel, or over each other."""
    width, height = figure.get_size_inches() * figure.dpi
    axis_of_panels = [axis for axes in panels(figure) for axis in (axes.xaxis, axes.yaxis)]
    ticks = {id(label) for axis in axis_of_panels for label in tick_labels(axis, drawn=False)}
    drawn = {id(label) for axis in axis_of_panels for label in tick_labels(axis, drawn=True)}
    in_panels = {id(text) for axes in panels(figure) for text in axes.texts}
    outer = []
    for text in figure.findobj(Text):
        shown = text.get_text()
        # matplotlib keeps labels of ticks beyond the limits
        if not text.get_visible() or not shown.strip() or id(text) in ticks - drawn:
            continue
        if any(mark in shown for mark in MARKUP):
            yield f"raw markup: {shown!r}"
        box = text.get_window_extent()
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            yield f"outside the canvas: {shown!r}"
        if id(text) not in ticks | in_panels:
            outer.append((box, shown))
    for (one, first), (other, second) in combinations(outer, 2):
        if one.overlaps(other):
            yield f"overlapping texts: {first!r} and {second!r}"


def tick_labels(axis: Any, drawn: bool) -> list[Text]:
    """The labels of an axis's ticks: of all, or of those that are drawn."""
    low, high = sorted(axis.get_view_interval())
    slack = 1e-9 * (high - low)
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    if not drawn:
        return [label for tick in ticks for label in (tick.label1, tick.label2)]
    inside = [tick for tick in ticks if low - slack <= tick.get_loc() <= high + slack]
    labels = [label for tick in inside for label in (tick.label1, tick.label2)]
    return [label for label in labels if label.get_visible() and label.get_text().strip()]


def find_legend_faults(figure: Figure) -> Iterator[str]:
    """Entries of a legend with lines that look the same."""
    for legend in figure.legends:
        lines = [handle for handle in legend.legend_handles if isinstance(handle, Line2D)]
        for one, other in combinations(lines, 2):
            if look_of(one) == look_of(other):
                yield f"one look in the legend: {one.get_label()!r} and {other.get_label()!r}"


def look_of(line: Line2D) -> tuple[Any, ...]:
    """Everything that tells a legend's line from another."""
    size = (line.get_markersize(), line.get_linewidth())
    return (line.get_color(), line.get_markerfacecolor(), line.get_marker(), line.get_linestyle(), *size)


def find_panel_faults(axes: Axes) -> Iterator[str]:
    """A panel that is too small, and neighbouring tick labels that overlap."""
    box = axes.get_window_extent()
    if min(box.width, box.height) < SMALLEST_PANEL:
        yield f"a panel of {box.width:.0f} x {box.height:.0f} pixels"
    for axis, side in ((axes.xaxis, "x0"), (axes.yaxis, "y0")):
        labels = [(label.get_window_extent(), label.get_text()) for label in tick_labels(axis, drawn=True)]
        ordered = sorted(labels, key=lambda label: getattr(label[0], side))
        for (one, first), (other, second) in pairwise(ordered):
            if one.padded(1).overlaps(other.padded(1)):
                yield f"overlapping tick labels: {first!r} and {second!r}"
