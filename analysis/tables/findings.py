"""The result in sentences: one a method, for one scale and one judge, each with its intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from analysis.stats.metrics import FEW_PROMPTS
from analysis.tables.cells import Cell
from analysis.tables.win_rates import format_interval, format_percent, method_key


@dataclass(frozen=True)
class Finding:
    """What the cells of one method say; `text` goes on where `method` ends."""

    method: str
    text: str


def build_findings(cells: Sequence[Cell]) -> list[Finding]:
    """One finding for each method of the cells of one scale and judge, in the order of the tables."""
    by_method: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=method_key):
        by_method.setdefault(cell.method, []).append(cell)
    return [
        Finding(method, one_cell(own[0]) if len(own) == 1 else several_cells(own))
        for method, own in by_method.items()
    ]


def one_cell(cell: Cell) -> str:
    """A method that ran in one cell: its win rate, and on which side of 50 % the interval lies."""
    win = cell.win
    if isnan(win.rate):
        return f"has no scored verdict ({place(cell)}; {win.unscored} unscored)."
    conclusion = {
        "won": "better than its start",
        "lost": "worse than its start",
        "even": "not told apart from 50 %",
        "open": f"not told apart from 50 %, since {open_text(cell)}",
        "unknown": f"too few prompts to tell (fewer than {FEW_PROMPTS})",
    }[cell_verdict(cell)]
    return (
        f"won {rate(cell)} of the comparisons on {win.prompts} prompts ({place(cell)}): {conclusion}"
        f"{unscored([cell])}."
    )


def several_cells(cells: Sequence[Cell]) -> str:
    """A method that ran in several cells: in how many it won, and the range of its win rates."""
    counts = dict.fromkeys(("won", "lost", "even", "open", "unknown"), 0)
    for cell in cells:
        counts[cell_verdict(cell)] += 1
    text = (
        f"beat its start in {counts['won']} of {len(cells)} cells, lost to it in {counts['lost']}, was not told "
        f"apart from it in {counts['even'] + counts['open']}"
    )
    if counts["open"]:
        text += f" (in {counts['open']} only because the unscored verdicts could change it)"
    if counts["unknown"]:
        text += f", and rests on too few scored prompts in {counts['unknown']}"
    rated = sorted((cell for cell in cells if not isnan(cell.win.rate)), key=lambda cell: cell.win.rate)
    if rated:
        low, high = rated[0], rated[-1]
        text += f"; from {rate(low)} ({place(low)}) to {rate(high)} ({place(high)})"
    prompts = sorted({cell.win.prompts for cell in cells})
    text += f"; {' to '.join(map(str, dict.fromkeys((prompts[0], prompts[-1]))))} prompts a cell"
    return f"{text}{unscored(cells)}."


def cell_verdict(cell: Cell) -> str:
    """On which side of 50 % a cell's interval lies: won, lost, even, or unknown on few prompts.

    Open where it lies on one side, but the unscored verdicts could bring the rate to the other.
    """
    win = cell.win
    if isnan(win.lo) or win.few:
        return "unknown"
    if win.open:
        return "open"
    return "won" if win.lo > 50 else "lost" if win.hi < 50 else "even"


def open_text(cell: Cell) -> str:
    """Between which rates the unscored verdicts leave a cell's."""
    return (
        f"with the unscored verdicts it could be {format_percent(cell.win.worst_lo)} to "
        f"{format_percent(cell.win.worst_hi)} %"
    )


def rate(cell: Cell) -> str:
    """A win rate with its interval, such as 84.2 % [79.2, 88.9]."""
    return f"{format_percent(cell.win.rate)} % {format_interval(cell.win.lo, cell.win.hi)}"


def place(cell: Cell) -> str:
    """Where a cell stands among those of its method."""
    return f"{cell.family} {cell.regime}"


def unscored(cells: Sequence[Cell]) -> str:
    """How many verdicts are missing or do not count, where any is, and whether pairs were judged in one order."""
    missing, half, of = (
        sum(getattr(cell.win, name) for cell in cells) for name in ("unscored", "half_scored", "verdicts")
    )
    text = f"; {missing:,} of {of:,} verdicts unscored and left out" if missing else ""
    text += f", and {half:,} more of pairs scored in one order only" if half else ""
    alone = "" if all(cell.both_orders for cell in cells) else "; judged in one order only"
    return text + alone
