"""Comparisons of cells: with the untrained model, with a control, and with each other.

With MIN_SEEDS seeds an interval is over other prompts and other trainings, because claims are about a way to train and
not about the models at hand. With fewer seeds it is over other prompts alone, and the part says so. Every comparison
comes with what its controls say, as its rule demands.
"""

from dataclasses import replace

from analysis.claims.evidence import RANDOM, TRUTH, Evidence
from analysis.claims.parts import Part, absent, choose_interval
from analysis.claims.rules import Rule
from analysis.records.builds import OFFSET
from analysis.records.ceiling import ceiling, floor, perfect_win_rate, scored_quality
from analysis.stats.contrasts import contrast
from analysis.stats.metrics import Tally
from analysis.tables.cells import (
    Cell,
    build_cells,
    builds,
    by_build,
    number_of_seeds,
    on_common_builds,
    place,
)
from analysis.tables.render import format_interval
from cme.records import CUT_START, RunRecord

NO_TRUTH = "no run with the ground truth as reward in this place"


def against_start(evidence: Evidence, cell: Cell, rule: Rule) -> Part:
    """A cell's win rate against the untrained model, in percent."""
    truth, best = evidence.control(cell, TRUTH), ceiling(evidence.runs_of(cell))
    control = None if truth is None else from_even(rate_part("", truth))
    return with_controls(rate_part(place(cell), cell), rule, control, None if best is None else best - 50)


def against_cut_start(evidence: Evidence, cell: Cell, rule: Rule) -> Part:
    """A cell's win rate against the untrained model's own responses cut short, in percent."""
    name = f"{place(cell)}: {cell.method} against the cut start"
    judged, truth = cut_start_cell(evidence, cell), evidence.control(cell, TRUTH)
    if judged is None:
        return absent(name, "no verdicts against the cut start")
    against = None if truth is None else cut_start_cell(evidence, truth)
    control = None if against is None else from_even(rate_part("", against))
    best = perfect_win_rate(
        [scored_quality(run) for run in map(cut_start_run, evidence.runs_of(cell)) if run]
    )
    return with_controls(rate_part(name, judged), rule, control, None if best is None else best - 50)


def against_random(evidence: Evidence, cell: Cell, rule: Rule) -> Part:
    """A cell's win rate minus that of the random reward in the same place, in points."""
    random = evidence.control(cell, RANDOM)
    if random is None:
        return absent(
            f"{place(cell)}: {cell.method} minus random", "no run with a random reward in this place"
        )
    return difference(evidence, cell, random, rule)


def difference(
    evidence: Evidence, one: Cell, other: Cell, rule: Rule, names: tuple[str, str] | None = None
) -> Part:
    """One cell's win rate minus another's on the prompts of both, in points; `names` are by default the methods.

    Cells of other builds of the checkpoints than the other cell's are left out.
    """
    first, second = names or (one.method, other.method)
    part = difference_part(f"{place(one)}: {first} minus {second}", one.tally, other.tally)
    truth, shared = evidence.control(one, TRUTH), builds(one.tally) & builds(other.tally)
    if not shared:
        return part
    best, worst = (
        bound([run for run in evidence.runs_of(cell) if run.seed // OFFSET in shared])
        for bound, cell in ((ceiling, one), (floor, other))
    )
    reference = 100 * on_common_builds(one.tally, other.tally)[1].rate
    if rule.control == "gain":
        control = None if truth is None else from_even(rate_part("", truth))
        room = None if best is None else best - 50
    else:
        control = None if truth is None else difference_part("", truth.tally, other.tally)
        room = None if best is None or worst is None else best - reference
        if rule.control == "loss" and worst is not None:
            room = reference - worst
    return with_controls(part, rule, control, room)


def with_controls(part: Part, rule: Rule, control: Part | None, room: float | None) -> Part:
    """The part with what its controls say.

    `control` is the ground-truth reward in the method's place, as a difference from the value of no effect; `room` is
    how far from that value a perfect (or the worst) policy would be, in points; None where the truth is unknown.
    """
    if room is None:
        return replace(part, controlled=False)
    reason, digits = "", rule.decimals
    if room <= rule.margin:
        policy = "the worst" if rule.control == "loss" else "a perfect"
        reason = f"even {policy} policy would differ by {room:.{digits}f} only"
    elif control is None:
        reason = NO_TRUTH
    elif not control.lo > rule.margin:
        interval = f"{control.value:+.{digits}f} {format_interval(control.lo, control.hi, digits)}"
        reason = f"the ground truth does not pass the same test: {interval}"
    return replace(part, insensitive=reason)


def rate_part(name: str, cell: Cell) -> Part:
    """A cell's win rate, in percent."""
    win, seeds = cell.win, cell.seeds
    lo, hi, scope, freedom = choose_interval(
        (win.lo, win.hi, win.scored - 1), (seeds.across_seeds_lo, seeds.across_seeds_hi, seeds.freedom)
    )
    return Part(
        name,
        win.rate,
        lo,
        hi,
        win.scored,
        number_of_seeds(cell.tally),
        scope,
        freedom,
        floored=seeds.floored,
        by_build=tuple(100 * tally.rate for tally in by_build(cell.tally).values()),
    )


def difference_part(name: str, one: Tally, other: Tally) -> Part:
    """One win rate minus another on the prompts and builds of both, in points."""
    one, other = on_common_builds(one, other)
    if not len(one.seeds):
        return absent(name, "the two were trained from different builds of the checkpoints")
    change, ours, theirs = contrast(one, other), by_build(one), by_build(other)
    lo, hi, scope, freedom = choose_interval(
        (change.lo, change.hi, change.freedom),
        (change.across_seeds_lo, change.across_seeds_hi, change.freedom),
    )
    return Part(
        name,
        change.difference,
        lo,
        hi,
        change.prompts,
        min(number_of_seeds(one), number_of_seeds(other)),
        scope,
        freedom,
        floored=change.floored,
        by_build=tuple(contrast(ours[build], theirs[build]).difference for build in ours),
    )


def from_even(part: Part) -> Part:
    """A win rate as its difference from 50 %."""
    return replace(part, value=part.value - 50, lo=part.lo - 50, hi=part.hi - 50)


def cut_start_cell(evidence: Evidence, cell: Cell) -> Cell | None:
    """A cell's verdicts against the cut start; None if a run has none."""
    runs = [cut_start_run(run) for run in evidence.runs_of(cell)]
    judged = [run for run in runs if run is not None]
    cells = build_cells(judged) if judged and len(judged) == len(runs) else []
    return next((one for one in cells if one.judge == cell.judge), None)


def cut_start_run(run: RunRecord) -> RunRecord | None:
    """The run with its verdicts against the cut start in place of those against the untrained model."""
    found = [comparison for comparison in run.comparisons or [] if comparison.name == CUT_START]
    return replace(run, verdicts=found[0].policy, experiment=None) if found else None
