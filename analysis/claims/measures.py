"""The measures of claims about training: which comparisons of win rates the evidence offers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.claims.comparisons import (
    against_cut_start,
    against_random,
    against_start,
    difference,
    from_even,
)
from analysis.claims.evidence import CME, Evidence, Kind, knowledge_level, verifier_ladders
from analysis.claims.parts import Part
from analysis.claims.rules import Rule, above
from analysis.records.names import verifier_name
from analysis.tables.cells import Cell, same_setting

Parts = Callable[[Evidence, Rule], Sequence[Part]]


@dataclass(frozen=True)
class Measure:
    """A quantity with its unit, and the comparisons of it that the evidence offers a rule.

    `missing` is the reason if there are none; `note` is added to the reason of a verdict. `by_verdicts`: the quantity
    is made of win rates, so a claim about it depends on their judge.
    """

    quantity: str
    missing: str
    parts: Parts
    by_verdicts: bool = False
    note: Callable[[Evidence, Sequence[Part]], str] = lambda *_: ""


def win_rates(kind: Kind) -> Measure:
    """The win rates of the cells of a kind against their untrained models."""
    return Measure(
        "Win rate against the untrained model (%)",
        f"no run of {kind.name} has a verdict",
        lambda evidence, rule: [against_start(evidence, cell, rule) for cell in evidence.select(kind)],
        by_verdicts=True,
    )


def below_random(kind: Kind) -> Measure:
    """The win rates of the cells of a kind minus those of the random reward."""
    return difference_measure(
        "the reward minus the random reward",
        f"no run of {kind.name} has a verdict",
        lambda evidence, rule: [against_random(evidence, cell, rule) for cell in evidence.select(kind)],
    )


def works(kind: Kind, margin: float) -> Measure:
    """What a reward that works beats: the random reward, and the untrained model's own responses cut short.

    Both are counted from the value of no effect, in points.
    """
    cut_start = above(50, margin)

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        return [
            part
            for cell in evidence.select(kind)
            for part in (
                against_random(evidence, cell, rule),
                from_even(against_cut_start(evidence, cell, cut_start)),
            )
        ]

    return Measure(
        "Win rate minus the random reward's, and win rate against the cut start minus 50, in points",
        f"no run of {kind.name} has a verdict",
        parts,
        by_verdicts=True,
    )


def difference_measure(what: str, missing: str, parts: Parts) -> Measure:
    """Differences of win rates."""
    return Measure(f"Difference of win rates, in points, {what}", missing, parts, by_verdicts=True)


def differences(one: Kind, other: Kind, what: str = "CME minus the other") -> Measure:
    """The win rates of the cells of one kind minus those of another kind in the same place."""

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        pairs = [(a, b) for a in evidence.select(one) for b in evidence.select(other) if a is not b]
        return [difference(evidence, a, b, rule) for a, b in pairs if same_setting(a, b)]

    return difference_measure(what, f"no run of {other.name} next to one of {one.name}", parts)


def setting_differences(path: str, usual: str | float, what: str) -> Measure:
    """Every other value of a setting minus the usual one, with scalar CME."""

    def with_value(is_wanted: Callable[[object], bool]) -> Kind:
        return Kind(path, lambda e, cell: CME.includes(e, cell) and is_wanted(e.setting(cell, path)))

    others = with_value(lambda value: value not in (None, usual))
    measure = differences(others, with_value(lambda value: value == usual), what)
    return difference_measure(what, f"no two values of {path}", measure.parts)


def strongest_verifier(what: str, next_only: bool = False) -> Measure:
    """The strongest verifier of another family minus each weaker one of its family, or the next weaker one alone."""

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        return [
            difference(
                evidence,
                ladder[-1],
                weaker,
                rule,
                (verifier_name(ladder[-1].verifier), verifier_name(weaker.verifier)),
            )
            for ladder in verifier_ladders(evidence)
            for weaker in (ladder[-2:-1] if next_only else ladder[:-1])
        ]

    return difference_measure(what, "no two verifiers of one family and different strength", parts)


def other_family(what: str) -> Measure:
    """Trained verifiers of other families minus those of the generator's own, of equal knowledge."""

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        own: list[tuple[int, Cell]] = []
        others: list[tuple[int, Cell]] = []
        for cell in evidence.select(CME):
            if level := knowledge_level(cell.verifier):
                family = evidence.setting(cell, "verifier.family")
                (own if family == cell.family else others).append((level, cell))
        return [
            difference(evidence, a, b, rule)
            for level, a in sorted(others, key=lambda pair: pair[0])
            for same, b in own
            if same == level and same_setting(a, b)
        ]

    missing = "no verifier of the generator's family next to one of another family with equal knowledge"
    return difference_measure(what, missing, parts)
