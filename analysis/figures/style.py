"""One look for every figure: type sizes for print, and one colour, marker and line for each reward.

Colours are those of Okabe and Ito (2008), told apart with any colour vision; markers and line styles
differ too, so that figures stay legible in gray.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import cycle
from typing import Any

from matplotlib.typing import RcKeyType

WIDTH = 7.0  # inches: the text width of a page with one column

RC: dict[RcKeyType, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
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
    "text.parse_math": False,  # a dollar in the name of a model or a judge is one
}


@dataclass(frozen=True)
class Style:
    """How a method is drawn: colour, marker, and dash pattern (on, off, ... in points; solid if empty)."""

    colour: str
    marker: str
    dashes: tuple[float, ...]

    @property
    def line(self) -> Any:
        """The dash pattern as matplotlib takes it."""
        return (0, self.dashes) if self.dashes else "-"


STYLES = {
    "cme": Style("#0072B2", "o", ()),
    "majority_vote": Style("#E69F00", "s", (5, 1.5)),
    "token_entropy": Style("#D55E00", "^", (1, 1)),
    "self_likelihood": Style("#CC79A7", "D", (4, 1.5, 1, 1.5)),
    "random": Style("#767676", "v", (2.5, 1.2)),
    "ground_truth": Style("#009E73", "P", (7, 1.5, 1, 1.5, 1, 1.5)),
}
SPARE_COLOURS = ("#56B4E9", "#000000", "#8C510A", "#5D3A9B", "#A50F3B", "#4D9221")
SPARE_MARKERS = ("<", ">", "p", "h", "*", "X")
SPARE_DASHES: tuple[tuple[float, ...], ...] = ((3, 1), (6, 2), (1, 2), (4, 1, 1, 1), (8, 2), (2, 2))


def reward_style(reward: str) -> Style:
    """A reward's style: a function of its name alone, so the same in every figure and on every day."""
    if reward in STYLES:
        return STYLES[reward]
    colour, marker, dashes = sha256(reward.encode()).digest()[:3]
    return Style(
        SPARE_COLOURS[colour % len(SPARE_COLOURS)],
        SPARE_MARKERS[marker % len(SPARE_MARKERS)],
        SPARE_DASHES[dashes % len(SPARE_DASHES)],
    )


def method_styles(rewards: Mapping[str, str]) -> dict[str, Style]:
    """Styles by method, given each method's reward.

    Methods of one reward share its colour; from the second on they get markers and dashes of their own.
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
