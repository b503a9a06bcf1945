"""One look for every figure: type sizes for print, and one colour, marker and line for each reward.

The colours are those of Okabe and Ito (2008), which readers with any colour vision can tell apart. Markers and line
styles differ too, so figures stay legible in gray.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import cycle
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import RcKeyType

from analysis.records.names import SHOWN

WIDTH = 7.0  # inches: the text width of a page with one column

RC: dict[RcKeyType, Any] = {
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 8),
    "figure.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "svg.hashsalt": "analysis",
    "svg.fonttype": "none",
    "path.simplify": True,
    "text.parse_math": False,  # a dollar sign in the name of a model or a judge is not mathematics
}
REFERENCE: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": (0, (4, 2))}
"""The look of a line of no effect."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Style:
    """How a method is drawn: colour, marker, and dash pattern (on, off, ... in points; empty for a solid line).

    A hollow marker shows no difference, in every figure.
    """

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()
    hollow: bool = False

    @property
    def line(self) -> Any:
        """The dash pattern in matplotlib's form."""
        return (0, self.dashes) if self.dashes else "-"

    @property
    def look(self) -> dict[str, Any]:
        """Colour, dash pattern and marker, as matplotlib's arguments."""
        return {"color": self.colour, "linestyle": self.line, "marker": self.marker}


@dataclass(frozen=True)
class Plot:
    """A figure with its caption and the name of its file."""

    name: str
    caption: str
    figure: Figure

    def add_to_title(self, text: str) -> "Plot":
        """The plot with a text behind its title, which also stands before the caption."""
        if not text:
            return self
        title = f"{self.figure.get_suptitle()}{text}"
        with rc_context(RC):
            self.figure.suptitle(title)
        return replace(self, caption=f"{title}. {self.caption}")

    def save(self, directory: Path) -> Path:
        """Write PNG and SVG, the same bytes for the same data; returns the path of the PNG."""
        directory.mkdir(parents=True, exist_ok=True)
        png = directory / f"{self.name}.png"
        with rc_context(RC):
            self.figure.savefig(png, dpi=200, metadata={"Software": None})
            self.figure.set_layout_engine("none")  # the layout is found once and kept
            self.figure.savefig(png.with_suffix(".svg"), metadata={"Date": None})
        return png


STYLES = {
    reward: Style(row["colour"], row["marker"], tuple(map(float, row["dashes"].split())))
    for reward, row in SHOWN.items()
}
"""The style of each known reward."""
RELATIONS = {
    "random weights": Style("#767676", "v"),
    "itself": Style("#D55E00", "D"),
    "same family": Style("#E69F00", "s"),
    "other family": Style("#0072B2", "o"),
    "ensemble": Style("#009E73", "P"),
    "random reward": Style("#767676", "X"),
    "ground truth": Style("#000000", "*"),
}
"""How a verifier is related to its generator, or the control that uses none, with the style of each."""
UNTRAINED = Style("#9a9a9a", "o")
CUT_START = Style("#000000", "d")
CEILING = Style("#000000", "|")
PEAK = Style("#000000", "*")
SELECTED = Style("#000000", "v")
STOPPED = Style("#000000", "x")
SEED = Style("#444444", "|")
ACROSS_SEEDS = Style("#444444", "_")  # a thin bar
STOPPED_EARLY = Style("#000000", "")  # its mark is the † of its name in the legend
NO_DIFFERENCE = Style("#444444", "o", hollow=True)
"""Marks that mean the same in every figure. Only the last one is hollow."""
BARS: dict[str, tuple[float, float]] = {"|": (9, 2), "_": (18, 0.6)}
"""Length and width, in points, of the bars of a legend by their marker."""
SPARE_COLOURS = ("#A50F3B", "#4D9221", "#00797D", "#7A6C00", "#3B3B98", "#B3005E")
SPARE_MARKERS = ("<", ">", "p", "h", "*", "X")
SPARE_DASHES: tuple[tuple[float, ...], ...] = ((3, 1), (6, 2), (1, 2), (4, 1, 1, 1), (8, 2), (2, 2))


@contextmanager
def new_figure(title: str, height: float) -> Iterator[Figure]:
    """A figure of the text width, `height` inches high, to be drawn inside the context, which sets the look."""
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.suptitle(title)
        yield figure


def reward_style(reward: str) -> Style:
    """A reward's style, which depends on its name alone and so is the same in every figure."""
    if reward in STYLES:
        return STYLES[reward]
    colour, marker, dashes = (byte % 6 for byte in sha256(reward.encode()).digest()[:3])
    return Style(SPARE_COLOURS[colour], SPARE_MARKERS[marker], SPARE_DASHES[dashes])


def method_styles(rewards: Mapping[str, str]) -> dict[str, Style]:
    """Styles by method, given each method's reward.

    Methods with the same reward share its colour; the second and later ones get another marker and dash pattern.
    """
    styles: dict[str, Style] = {}
    spare = cycle(zip(SPARE_MARKERS, SPARE_DASHES, strict=True))
    drawn = set()
    for method, reward in rewards.items():
        style = reward_style(reward)
        if reward in drawn:
            marker, dashes = next(spare)
            style = replace(style, marker=marker, dashes=dashes)
        drawn.add(reward)
        styles[method] = style
    return styles


def add_legend(figure: Figure, lines: Mapping[str, Style], marks: Mapping[str, Style]) -> None:
    """The legend of lines and of single marks below a figure, which grows by the legend's height.

    The figure has a constrained layout. The legend has as many columns as fit, with the entries spread evenly.
    """
    handles = []
    for name, style in {**lines, **marks}.items():
        size, edge = (None, 0.8) if style == SEED else BARS.get(style.marker, (None, None))
        look = style.look | ({} if name in lines else {"linestyle": ""})
        face = "white" if style.hollow else style.colour
        handles.append(
            Line2D([], [], **look, markerfacecolor=face, markersize=size, markeredgewidth=edge, label=name)
        )
    fit = max(1, int(WIDTH / (0.62 + 0.055 * max(map(len, [*lines, *marks])))))
    rows = ceil(len(handles) / fit)
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)
    place: dict[str, Any] = {"loc": "outside lower center", "handlelength": 3, "columnspacing": 1.2}
    figure.legend(handles=handles, ncols=ceil(len(handles) / rows), **place)


def draw_estimate(
    axes: Axes,
    at: float,
    value: float,
    bounds: tuple[float, float],
    style: Style,
    *,
    hollow: bool = False,
    vertical: bool = False,
    size: float = 5,
) -> None:
    """A marker at `value` on a bar over `bounds`, in the row (or, if `vertical`, the column) `at`."""
    bar, point = ((at, at), bounds), (at, value)
    if not vertical:
        bar, point = (bounds, (at, at)), (value, at)
    axes.plot(*bar, color=style.colour, linewidth=1.4, solid_capstyle="butt")
    face = "white" if hollow else style.colour
    axes.plot(*point, marker=style.marker, color=style.colour, markerfacecolor=face, markersize=size)
