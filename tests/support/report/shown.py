"""The contents of tables and figures: texts by row and positions of marks; and records to fill them."""

from typing import Any

from matplotlib.text import Text

from analysis.tables.render import Table
from cme.records import Verdict

Column = list[float | None]


def texts(table: Table) -> list[list[str]]:
    """The texts of a table, row by row."""
    return [[entry.text for entry in row] for group in table.groups for row in group]


def panels(figure: Any) -> list[Any]:
    """The axes of a figure and its subfigures."""
    return list(figure.findobj(lambda artist: hasattr(artist, "get_xlabel") and hasattr(artist, "lines")))


def marks(figure: Any) -> list[list[float]]:
    """The positions of the marks on the x axis, by panel."""
    nothing = ("None", "", None, "|")
    return [
        sorted(x for line in axes.lines if line.get_marker() not in nothing for x in line.get_xdata())
        for axes in panels(figure)
    ]


def smallest_type(figure: Any) -> float:
    """The smallest font size of a figure."""
    return min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text())


def blocks(*levels: float) -> Column:
    """Twenty steps at each level."""
    return [level for level in levels for _ in range(20)]


def won(wins: int, prompts: int = 36, scored: bool = False) -> list[Verdict]:
    """The policy wins on the first `wins` prompts in both orders and loses on the others; scores are 0.6 and 0.2."""
    verdicts = []
    for i in range(prompts):
        start, policy = (0.2, 0.6) if i < wins else (0.6, 0.2)
        for first in (True, False):
            scores = ((policy, start) if first else (start, policy)) if scored else None
            outcome = "first" if (i < wins) == first else "second"
            verdicts.append(Verdict(f"p{i}", first, outcome, scores=scores))  # type: ignore[arg-type]
    return verdicts


def problems(right: int, number: int = 40) -> list[bool | None]:
    """Grades of answers, of which the first `right` are correct."""
    return [i < right for i in range(number)]
