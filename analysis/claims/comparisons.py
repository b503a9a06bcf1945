"""Measures of win rates, in percent, and of their differences, in points, each with its interval and its controls.

An interval is over other prompts and other trainings from MIN_SEEDS seeds on, because claims are about a way to train
and not about the models at hand; with fewer seeds it is over other prompts alone, and the part says so.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import attrgetter, itemgetter

from analysis.claims.claim import Measure
from analysis.claims.evidence import (
    CME,
    RANDOM,
    TRUTH,
    Evidence,
    Kind,
    knowledge_level,
    setting,
    verifier_ladders,
)
from analysis.claims.parts import Part, absent, contrast_part, rate_part
from analysis.claims.rules import Rule
from analysis.records.builds import OFFSET
from analysis.records.ceiling import ceiling, floor, perfect_win_rate, start_quality
from analysis.records.names import verifier_name
from analysis.stats.contrasts import builds, contrast, on_common_builds
from analysis.stats.win_rates import Tally
from analysis.tables.cells import Cell, build_cells, place, same_setting
from cme.records import CUT_START, RunRecord

Compare = Callable[[Evidence, Cell, Rule], Part]


def rate_measure(quantity: str, kind: Kind, *comparisons: Compare) -> Measure:
    """Comparisons of each cell of a kind, such as `against_start`."""

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        return [compare(evidence, cell, rule) for cell in evidence.select(kind) for compare in comparisons]

    return Measure(quantity, f"no run of {kind.name} has a verdict", parts, by_verdicts=True)


def win_rates(kind: Kind) -> Measure:
    """Win rates against the untrained model."""
    return rate_measure("Win rate against the untrained model (%)", kind, against_start)


def gains_over_random(kind: Kind) -> Measure:
    """Win rates minus those of the random reward."""
    quantity = "Difference of win rates, in points, the reward minus the random reward"
    return rate_measure(quantity, kind, against_random)


def gains_over_controls(kind: Kind) -> Measure:
    """What a reward that works beats: the random reward, and the untrained model's own responses cut short."""
    quantity = "Win rate minus the random reward's, and win rate against the cut start minus 50, in points"
    return rate_measure(quantity, kind, against_random, against_cut_start)


def against_start(evidence: Evidence, cell: Cell, rule: Rule) -> Part:
    """A cell's win rate against the untrained model, in percent."""
    truth = evidence.control(cell, TRUTH)
    control = None if truth is None else rate_part("", truth, 50)
    return rule.restrict(rate_part(place(cell), cell), control, cell.controls.ceiling - 50)


def against_cut_start(evidence: Evidence, cell: Cell, rule: Rule) -> Part:
    """A cell's win rate against the untrained model's own responses cut short, minus 50."""
    name = f"{place(cell)}: {cell.method} against the cut start"
    judged, truth = cut_start_cell(cell), evidence.control(cell, TRUTH)
    if judged is None:
        return absent(name, "no verdicts against the cut start")
    against = None if truth is None else cut_start_cell(truth)
    control = None if against is None else rate_part("", against, 50)
    # the oracle's grades are of the whole start; without them, the start is the cut one, as it was judged
    scored = [replace(run, grades=None) for run in judged.controls.runs]
    best = perfect_win_rate(quality for run in scored for quality in start_quality(run).values())
    return rule.restrict(rate_part(name, judged, 50), control, best - 50)


def cut_start_cell(cell: Cell) -> Cell | None:
    """The cell with its verdicts against the cut start in place of those against the untrained model.

    None if a run has none.
    """
    judged = [
        replace(run, verdicts=comparison.policy, experiment=None)
        for run in cell.controls.runs
        for comparison in run.comparisons or []
        if comparison.name == CUT_START
    ]
    cells = build_cells(judged) if len(judged) == len(cell.runs) else []
    return next((one for one in cells if one.judge == cell.judge), None)


def against_random(evidence: Evidence, cell: Cell, rule: Rule) -> Part:
    """A cell's win rate minus that of the random reward in the same place."""
    random = evidence.control(cell, RANDOM)
    if random is None:
        name = f"{place(cell)}: {cell.method} minus random"
        return absent(name, "no run with a random reward in this place")
    return difference(evidence, cell, random, rule)


def pair_measure(
    what: str,
    missing: str,
    pairs: Callable[[Evidence], Iterable[tuple[Cell, Cell]]],
    name: Callable[[Cell], str] = attrgetter("method"),
) -> Measure:
    """Differences of the win rates of pairs of cells, which `name` tells apart."""

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        return [difference(evidence, one, other, rule, name) for one, other in pairs(evidence)]

    return Measure(f"Difference of win rates, in points, {what}", missing, parts, by_verdicts=True)


def pair_places(ones: Sequence[Cell], others: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """The pairs of two different cells in the same place."""
    return [(a, b) for a in ones for b in others if a is not b and same_setting(a, b)]


def kind_differences(one: Kind, other: Kind, what: str = "CME minus the other") -> Measure:
    """The cells of one kind minus those of another kind in the same place."""
    missing = f"no run of {other.name} next to one of {one.name}"
    return pair_measure(what, missing, lambda found: pair_places(found.select(one), found.select(other)))


def setting_differences(path: str, usual: str | float, what: str) -> Measure:
    """Every other value of a setting minus the usual one, with scalar CME."""

    def pairs(evidence: Evidence) -> list[tuple[Cell, Cell]]:
        cells = [cell for cell in evidence.select(CME) if setting(cell, path) is not None]
        others = [cell for cell in cells if setting(cell, path) != usual]
        return pair_places(others, [cell for cell in cells if setting(cell, path) == usual])

    return pair_measure(what, f"no two values of {path}", pairs)


def verifier_differences(what: str, next_only: bool = False) -> Measure:
    """The strongest verifier of another family minus each weaker one of its family, or the next weaker one alone."""

    def pairs(evidence: Evidence) -> list[tuple[Cell, Cell]]:
        return [
            (ladder[-1], weaker)
            for ladder in verifier_ladders(evidence.select(CME))
            for weaker in (ladder[-2:-1] if next_only else ladder[:-1])
        ]

    missing = "no two verifiers of one family and different strength"
    return pair_measure(what, missing, pairs, lambda cell: verifier_name(cell.verifier))


def family_differences(what: str) -> Measure:
    """Trained verifiers of other families minus those of the generator's own, of equal knowledge."""

    def pairs(evidence: Evidence) -> list[tuple[Cell, Cell]]:
        own: list[tuple[int, Cell]] = []
        others: list[tuple[int, Cell]] = []
        for cell in evidence.select(CME):
            if level := knowledge_level(cell.verifier):
                is_own = setting(cell, "verifier.family") == cell.family
                (own if is_own else others).append((level, cell))
        others.sort(key=itemgetter(0))
        return [(a, b) for x, a in others for y, b in own if x == y and same_setting(a, b)]

    missing = "no verifier of the generator's family next to one of another family with equal knowledge"
    return pair_measure(what, missing, pairs)


def difference(
    evidence: Evidence,
    one: Cell,
    other: Cell,
    rule: Rule,
    name: Callable[[Cell], str] = attrgetter("method"),
) -> Part:
    """One cell's win rate minus another's on the prompts and builds of both."""
    part = difference_part(f"{place(one)}: {name(one)} minus {name(other)}", one.tally, other.tally)
    truth, shared = evidence.control(one, TRUTH), builds(one.tally) & builds(other.tally)
    if not shared:
        return part

    def shared_runs(cell: Cell) -> list[RunRecord]:
        return [run for run in cell.controls.runs if run.seed // OFFSET in shared]

    best = ceiling(shared_runs(one))
    if rule.control == "gain":
        control = None if truth is None else rate_part("", truth, 50)
        return rule.restrict(part, control, best - 50)
    control = None if truth is None else difference_part("", truth.tally, other.tally)
    reference = 100 * on_common_builds(one.tally, other.tally)[1].rate
    room = reference - floor(shared_runs(other)) if rule.control == "loss" else best - reference
    return rule.restrict(part, control, room)


def difference_part(name: str, one: Tally, other: Tally) -> Part:
    """One win rate minus another on the prompts and builds of both."""
    one, other = on_common_builds(one, other)
    if not len(one.seeds):
        return absent(name, "the two were trained from different builds of the checkpoints")
    return contrast_part(name, contrast(one, other), one, other)
