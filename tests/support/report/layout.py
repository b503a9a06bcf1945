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
        renderer = canvas.get_renderer()
        return [
            *markup_faults(figure),
            *legend_faults(figure),
            *canvas_faults(figure, renderer),
            *overlap_faults(figure, renderer),
            *(fault for axes in panels(figure) for fault in panel_faults(axes, renderer)),
        ]


def panels(figure: Figure) -> list[Axes]:
    """The visible axes of a figure and of its subfigures."""
    return [axes for axes in figure.findobj(Axes) if axes.get_visible() and axes.axison]


def shown_texts(artist: Any) -> list[Text]:
    """The visible texts that are not empty."""
    return [text for text in artist.findobj(Text) if text.get_visible() and text.get_text().strip()]


def markup_faults(figure: Figure) -> Iterator[str]:
    """Texts with the source of mathematics in them."""
    for text in shown_texts(figure):
        if any(mark in text.get_text() for mark in MARKUP):
            yield f"raw markup: {text.get_text()!r}"


def legend_faults(figure: Figure) -> Iterator[str]:
    """Entries of a legend with lines that look the same."""
    for legend in figure.legends:
        for one, other in combinations(legend.legend_handles, 2):
            if isinstance(one, Line2D) and isinstance(other, Line2D) and look_of(one) == look_of(other):
                yield f"one look in the legend: {one.get_label()!r} and {other.get_label()!r}"


def look_of(line: Line2D) -> tuple[Any, ...]:
    """Everything that tells a legend's line from another."""
    size = (line.get_markersize(), line.get_linewidth())
    return (line.get_color(), line.get_markerfacecolor(), line.get_marker(), line.get_linestyle(), *size)


def canvas_faults(figure: Figure, renderer: Any) -> Iterator[str]:
    """Texts that leave the canvas by more than a pixel."""
    width, height = figure.get_size_inches() * figure.dpi
    ticks = {
        id(label)
        for axes in panels(figure)
        for axis in (axes.xaxis, axes.yaxis)
        for label in all_labels(axis)
    }
    drawn = {
        id(label)
        for axes in panels(figure)
        for axis in (axes.xaxis, axes.yaxis)
        for label in tick_labels(axis)
    }
    for text in shown_texts(figure):
        if id(text) in ticks - drawn:
            continue  # matplotlib keeps labels of ticks beyond the limits
        box = text.get_window_extent(renderer)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            yield f"outside the canvas: {text.get_text()!r}"


def overlap_faults(figure: Figure, renderer: Any) -> Iterator[str]:
    """Titles, labels of axes and entries of legends that overlap."""
    inside = {id(text) for axes in panels(figure) for text in axes.texts}
    ticks = {id(t) for axes in panels(figure) for axis in (axes.xaxis, axes.yaxis) for t in all_labels(axis)}
    texts = [text for text in shown_texts(figure) if id(text) not in inside | ticks]
    boxes = [(text.get_window_extent(renderer), text.get_text()) for text in texts]
    for (one, first), (other, second) in combinations(boxes, 2):
        if one.overlaps(other):
            yield f"overlapping texts: {first!r} and {second!r}"


def all_labels(axis: Any) -> list[Text]:
    """Every label of an axis's ticks, drawn or not."""
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [label for tick in ticks for label in (tick.label1, tick.label2)]


def tick_labels(axis: Any) -> list[Text]:
    """The labels of the ticks that are drawn."""
    low, high = sorted(axis.get_view_interval())
    slack = 1e-9 * (high - low)
    ticks = [
        t
        for t in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        if low - slack <= t.get_loc() <= high + slack
    ]
    labels = [label for tick in ticks for label in (tick.label1, tick.label2)]
    return [label for label in labels if label.get_visible() and label.get_text().strip()]


def panel_faults(axes: Axes, renderer: Any) -> Iterator[str]:
    """A panel that is too small, and neighbouring tick labels that overlap."""
    box = axes.get_window_extent(renderer)
    if min(box.width, box.height) < SMALLEST_PANEL:
        yield f"a panel of {box.width:.0f} x {box.height:.0f} pixels"
    for axis, side in ((axes.xaxis, "x0"), (axes.yaxis, "y0")):
        labels = [(label.get_window_extent(renderer), label.get_text()) for label in tick_labels(axis)]
        for (one, first), (other, second) in pairwise(
            sorted(labels, key=lambda label: getattr(label[0], side))
        ):
            if one.padded(1).overlaps(other.padded(1)):
                yield f"overlapping tick labels: {first!r} and {second!r}"
