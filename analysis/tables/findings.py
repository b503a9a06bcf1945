"""The result in sentences: one line per cell, and one finding per method for one scale and one judge."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isnan

from analysis.records.builds import pool_builds
from analysis.records.grouping import group_by
from analysis.records.names import display_name
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.win_rates import is_undecided
from analysis.tables.cell_tables import method_key
from analysis.tables.cells import Cell, build_cells, place
from analysis.tables.judging.judges import Checked
from analysis.tables.render import format_interval, format_percent
from analysis.tables.win_rates import score_name, side_names
from cme.records import RunRecord
from cme.runtime.terminal import plain

CONTROLS = {"random": "a random reward", "ground_truth": "the ground truth as reward"}
"""The rewards that a result is read against, in words."""
MIN_CONSISTENCY = 50
"""Percentage of pairs with the same verdict in both orders below which the order decides more than the responses do."""
MAX_POSITION_BIAS = 40
"""Largest distance of the wins of the response shown first from 50 %."""
FEW_DECIDED = 10
"""Decided verdicts below which their place says nothing, where pairs are judged in both orders."""
MAX_UNSCORED = 50
"""Largest percentage of unscored verdicts with which the others stand for all."""
FAILED = "the judge fails its sanity check"


def summarize(records: Sequence[RunRecord], checked: Sequence[Checked] = ()) -> str:
    """One line per cell with its builds pooled, for a terminal; `checked` are sanity checks of judges.

    With several judges, or the members of a panel, a line begins with the name of its judge.
    """
    cells = build_cells([pool_builds(run) for run in records], checked)
    several = len({cell.judge for cell in cells}) > 1
    return "\n".join(f"{plain(cell.judge)}: " * several + summary_line(cell) for cell in cells)


def summary_line(cell: Cell) -> str:
    """A cell's scale, win rate with interval, counts, and quality where the judge has scores."""
    win = cell.win
    rate = f"win rate {format_percent(win.rate)} % {format_interval(win.lo, win.hi)}"
    counts = f"{win.prompts} prompts, {win.verdicts} verdicts, {win.unscored} unscored"
    if cell.scale == "imported":
        won, tied, lost = cell.outcomes
        line = (
            f"{cell.family}: {cell.method} against {cell.regime}: {rate}, {won} wins, {tied} ties, {lost} losses "
            f"({counts})"
        )
    else:
        line = f"{cell.scale}: {cell.family} {cell.regime} {cell.method}: {rate} against its untrained model ({counts})"
    if win.half_scored:
        line += f"; {win.half_scored} scored in one order only and left out"
    if not cell.both_orders:
        line += "; each pair judged in one order only"
    if win.few:
        line += "; few prompts: the interval is unreliable"
    if win.open:
        bounds = f"{format_percent(win.worst_lo)} to {format_percent(win.worst_hi)}"
        line += f"; with the unscored verdicts it could be {bounds} %"
    if cell.quality is not None:
        line += f"; {score_name(cell.judge)} {cell.quality.start:.2f} -> {cell.quality.policy:.2f}"
    return plain("; ".join([line, *limits([cell])]))


def limits(cells: Sequence[Cell]) -> list[str]:
    """What limits the trust in some cells: runs that ended early, trained nothing or collapsed, and their judge."""
    several = len(cells) > 1
    if several:
        untrained, collapsed = ([c for c in cells if c.untrained], [c for c in cells if c.collapsed])
        methods = ", ".join(dict.fromkeys(cell.method for cell in collapsed))
        found = [
            f"warning: {len(of_kind)} of {len(cells)} cells have a run {text}"
            for text, of_kind in (
                ("whose two sides are the untrained model", untrained),
                (f"that gives most prompts the same response ({methods})", collapsed),
            )
            if of_kind
        ]
    else:
        found = [*cells[0].stopped, *cells[0].untrained, *cells[0].collapsed]
    found += [
        f"warning: the judge {text}" + f" in {len(of_kind)} of {len(cells)} cells" * several
        for text, of_kind in judge_faults(cells).items()
        if of_kind
    ]
    standings = {cell.standing for cell in cells}
    if "fails" in standings:
        found.append(f"no verdict: {FAILED}")
    if "unchecked" in standings:
        found.append("judge not validated: no passing sanity check of it is known")
    return [*found, *dict.fromkeys(text for cell in cells for text in cell.overlaps)]


def judge_faults(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells whose verdicts are as if the judge had not read the responses, by what it did."""
    swayed = [c for c in cells if c.consistent < MIN_CONSISTENCY and not c.combined]
    one_sided = [c for c in cells if c not in swayed and is_one_sided(c)]
    silent = [c for c in cells if 100 * c.win.unscored > MAX_UNSCORED * c.win.verdicts]
    alike, first = percentages(c.consistent for c in swayed), percentages(c.first_shown for c in swayed)
    return {
        f"gave only {alike} % of pairs the same verdict in both orders (below {MIN_CONSISTENCY} %), and preferred "
        f"the response shown first in {first} % of decided verdicts": swayed,
        f"preferred the response shown first in {percentages(c.first_shown for c in one_sided)} % of decided "
        "verdicts": one_sided,
        f"gave no verdict in {percentages(100 * c.win.unscored / c.win.verdicts for c in silent)} % of cases": silent,
        "called every pair a tie": [c for c in cells if c.outcomes[1] and not c.outcomes[0] + c.outcomes[2]],
    }


def is_one_sided(cell: Cell) -> bool:
    """Whether the place of a response decides most of the verdicts of each order."""
    won, _, lost = cell.outcomes
    enough = won + lost >= FEW_DECIDED or not cell.both_orders
    return abs(cell.first_shown - 50) > MAX_POSITION_BIAS and enough and not cell.combined


def percentages(values: Iterable[float]) -> str:
    """Percentages as their range; one number where all are alike."""
    ordered = sorted(values)
    return " to ".join(dict.fromkeys(format_percent(value) for value in (*ordered[:1], *ordered[-1:])))


def headline(cells: Sequence[Cell]) -> str:
    """The result of one scale and judge in one sentence: CME, or else the first method, and then its controls."""
    by_reward = group_by(sorted(cells, key=method_key), lambda cell: cell.reward)
    reward = "cme" if "cme" in by_reward else next(iter(by_reward))
    own = by_reward[reward]
    if len(own) == 1:
        text = f"{own[0].method} {one_cell(own[0]).removesuffix('.')}"
    else:
        counts = Counter(map(cell_verdict, own))
        name = f"The {side_names(own)[1]}" if own[0].scale == "imported" else display_name(reward)
        text = (
            f"{name} beat {opponent(own)} in {counts['won']} of {len(own)} cells and lost to it in "
            f"{counts['lost']}"
        )
    controls = [
        f"{CONTROLS[name]} beat it in {sum(cell_verdict(cell) == 'won' for cell in of_control)} of {len(of_control)}"
        for name, of_control in by_reward.items()
        if name in CONTROLS and name != reward
    ]
    cuts = [cell.controls.cut_start for cell in own if cell.controls.cut_start is not None]
    if cuts:
        won = sum(not is_undecided(cut) and cut.rate > 50 for cut in cuts)
        controls.append(f"the cut start beat it in {won} of {len(cuts)}")
    return "; ".join([text, *controls, *limits(cells)]) + "."


def build_findings(cells: Sequence[Cell]) -> dict[str, str]:
    """What follows the name of each method of one scale and judge in a sentence, in the order of the tables."""
    by_method = group_by(sorted(cells, key=method_key), lambda cell: cell.method)
    return {
        method: one_cell(group[0]) if len(group) == 1 else several_cells(group)
        for method, group in by_method.items()
    }


def one_cell(cell: Cell) -> str:
    """A method that ran in one cell: its win rate, and on which side of 50 % the interval lies."""
    win = cell.win
    if isnan(win.rate):
        return f"has no scored verdict ({place(cell)}; {win.unscored} unscored)."
    bounds = f"{format_percent(win.worst_lo)} to {format_percent(win.worst_hi)}"
    conclusion = {
        "withheld": f"no verdict, since {FAILED}",
        "won": f"better than {opponent([cell])}",
        "lost": f"worse than {opponent([cell])}",
        "even": "not distinguishable from 50 %",
        "open": f"not distinguishable from 50 %, since with the unscored verdicts it could be {bounds} %",
        "unknown": f"too few prompts for a conclusion (fewer than {FEW_PROMPTS})",
    }[cell_verdict(cell)]
    return (
        f"won {rate_text(cell)} of the comparisons on {win.prompts} prompts ({place(cell)}): {conclusion}"
        f"{left_out_text([cell])}."
    )


def several_cells(cells: Sequence[Cell]) -> str:
    """A method that ran in several cells: the number that it won, and the range of its win rates."""
    counts = Counter(map(cell_verdict, cells))
    text = (
        f"beat {opponent(cells)} in {counts['won']} of {len(cells)} cells, lost to it in {counts['lost']}, was not "
        f"distinguishable from it in {counts['even'] + counts['open']}"
    )
    if counts["open"]:
        text += f" (in {counts['open']} only because the unscored verdicts could change the result)"
    if counts["withheld"]:
        text += f", and has no verdict in {counts['withheld']}, since {FAILED}"
    if counts["unknown"]:
        text += f", and has too few scored prompts in {counts['unknown']}"
    rated = sorted((cell for cell in cells if not isnan(cell.win.rate)), key=lambda cell: cell.win.rate)
    if rated:
        low, high = rated[0], rated[-1]
        text += f"; from {rate_text(low)} ({place(low)}) to {rate_text(high)} ({place(high)})"
    prompts = sorted({cell.win.prompts for cell in cells})
    text += f"; {' to '.join(map(str, dict.fromkeys((prompts[0], prompts[-1]))))} prompts per cell"
    return f"{text}{left_out_text(cells)}."


def cell_verdict(cell: Cell) -> str:
    """The side of 50 % on which a cell's interval lies: won, lost, even, or unknown with few prompts.

    Withheld if the judge fails its sanity check. Open where the interval lies on one side and the unscored verdicts
    could bring the rate to the other.
    """
    win = cell.win
    if cell.standing == "fails":
        return "withheld"
    if isnan(win.lo) or win.few:
        return "unknown"
    if win.open:
        return "open"
    if is_undecided(win):
        return "even"
    return "won" if win.rate > 50 else "lost"


def rate_text(cell: Cell) -> str:
    """A win rate with its interval, such as 84.2 % [79.2, 88.9]."""
    return f"{format_percent(cell.win.rate)} % {format_interval(cell.win.lo, cell.win.hi)}"


def opponent(cells: Sequence[Cell]) -> str:
    """What a method was compared with."""
    if cells[0].scale != "imported":
        return "its untrained model"
    return cells[0].regime if len({cell.regime for cell in cells}) == 1 else "the other model"


def left_out_text(cells: Sequence[Cell]) -> str:
    """The number of verdicts that are missing or do not count, and whether pairs were judged in one order."""
    unscored = sum(cell.win.unscored for cell in cells)
    half = sum(cell.win.half_scored for cell in cells)
    verdicts = sum(cell.win.verdicts for cell in cells)
    text = f"; {unscored:,} of {verdicts:,} verdicts unscored and left out" if unscored else ""
    text += f", and {half:,} more of pairs scored in one order only" if half else ""
    return text + ("" if all(cell.both_orders for cell in cells) else "; judged in one order only")
