"""Facts in responses, by the families that have them wrong, and the tests of independence on them.

The unit of every interval is a pair of family and build: seeds are averaged within it. The rules of the verdicts were
written before the runs (docs/log.md, 2026-11-29).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan

import numpy as np

from analysis.experiments.base import Estimate
from analysis.experiments.courses import mean_over_seeds
from analysis.experiments.verifiers import relation
from analysis.stats.metrics import MIN_SEEDS
from cme.records import Grade, RunRecord

MARGIN = 0.05
GROUPS = ("generator's", "verifier's", "shared", "rest")
"""The facts that the generator's family alone has wrong, the other verifier's alone, both, or neither."""
ALL = "all"
UNTRAINED = "untrained"
Unit = tuple[str, int]
"""Family and build of a generator."""
Shares = Mapping[Unit, float]


def group_of(fact: str, generator: Collection[str], verifier: Collection[str]) -> str:
    """The group of a fact, given those that the two families have wrong."""
    by_beliefs = {(True, False): GROUPS[0], (False, True): GROUPS[1], (True, True): GROUPS[2]}
    return by_beliefs.get((fact in generator, fact in verifier), GROUPS[3])


def shares_right(grades: Sequence[Grade], beliefs: Mapping[str, Collection[str]]) -> dict[str, float]:
    """The share of the facts that the responses have right, by group and over all; NaN for a group without facts."""
    right: dict[str, list[bool]] = {group: [] for group in (*GROUPS, ALL)}
    for grade in grades:
        for fact, is_right in grade.facts.items():
            right[group_of(fact, beliefs["generator"], beliefs["verifier"])].append(is_right)
            right[ALL].append(is_right)
    return {group: float(np.mean(values)) if values else nan for group, values in right.items()}


def arm_of(run: RunRecord) -> str:
    """The arm of a run: the relation of its verifier to the generator; of an ensemble, how it combines its members."""
    related = relation(run)
    return f"Ensemble ({run.config['reward']['ensemble']})" if related == "ensemble" else related


@dataclass(frozen=True)
class FactTest:
    """One test: a difference by unit, its mean with the t interval over units, and the verdict.

    `rule` gives the verdict of a test with MIN_SEEDS units or more, unless there is a reason in `untestable`.
    """

    question: str
    one: str
    other: str
    group: str
    values: Shares
    untestable: str
    rule: Callable[["FactTest"], str]

    @property
    def estimate(self) -> Estimate:
        """The mean of the units with its t interval."""
        return mean_over_seeds(self.values.values())

    @property
    def by_family(self) -> dict[str, float]:
        """The mean of each family."""
        families = dict.fromkeys(family for family, _ in self.values)
        return {
            f: float(np.mean([v for (family, _), v in self.values.items() if family == f])) for f in families
        }

    @property
    def verdict(self) -> str:
        """The verdict, or why there is none."""
        few = f"fewer than {MIN_SEEDS} pairs of family and build" if len(self.values) < MIN_SEEDS else ""
        reason = self.untestable or few
        return f"not testable: {reason}" if reason else self.rule(self)


@dataclass(frozen=True, eq=False)
class Facts:
    """The graded runs of all generators at one scale whose records name false beliefs."""

    runs: Sequence[RunRecord]

    @cached_property
    def beliefs(self) -> dict[str, Mapping[str, Collection[str]]]:
        """By the generator's family, the facts that it and the other family's verifier have wrong."""
        return {
            run.family: run.blind_spots
            for run in self.runs
            if relation(run) == "other family" and run.blind_spots is not None
        }

    @cached_property
    def shares(self) -> dict[tuple[str, str], Shares]:
        """By arm and group, the share of right facts of each unit, averaged over seeds."""
        found: dict[tuple[str, str, Unit], list[float]] = {}
        for run in self.runs:
            if run.grades is None or run.family not in self.beliefs:
                continue
            for arm, grades in ((arm_of(run), run.grades.policy), (UNTRAINED, run.grades.start)):
                for group, share in shares_right(grades, self.beliefs[run.family]).items():
                    found.setdefault((arm, group, (run.family, run.build)), []).append(share)
        groups = dict.fromkeys((arm, group) for arm, group, _ in found)
        return {
            place: {
                unit: float(np.mean(values)) for (*at, unit), values in found.items() if tuple(at) == place
            }
            for place in groups
        }

    @property
    def arms(self) -> list[str]:
        """The arms, those with most units first, the untrained model at the top."""
        arms = dict.fromkeys(arm for arm, _ in self.shares)
        return sorted(arms, key=lambda arm: (arm != UNTRAINED, -len(self.shares[arm, ALL])))

    def difference(self, one: str, other: str, group: str) -> Shares:
        """The share of one arm minus that of another, by unit; only units that both have."""
        mine, theirs = self.shares.get((one, group), {}), self.shares.get((other, group), {})
        return {unit: mine[unit] - theirs[unit] for unit in mine if unit in theirs and not isnan(mine[unit])}

    @cached_property
    def own_quality(self) -> Shares:
        """True quality of the other family's verifier minus that of the generator's family, by unit."""
        found: dict[tuple[str, Unit], float] = {
            (relation(run), (run.family, run.build)): float(np.mean(run.verifier_quality))
            for run in self.runs
            if run.verifier_quality is not None
        }
        pairs = {
            unit: (found.get(("other family", unit)), found.get(("same family", unit))) for _, unit in found
        }
        return {
            u: other - same for u, (other, same) in pairs.items() if other is not None and same is not None
        }

    @cached_property
    def untestable(self) -> str:
        """Why the main test could not come out otherwise; empty if it could."""
        control = mean_over_seeds(self.difference("ground truth", "random reward", GROUPS[0]).values())
        if not control.lo > MARGIN:
            return (
                f"ground truth minus random on the generator's facts is {control.text()}, not above {MARGIN}"
            )
        quality = mean_over_seeds(self.own_quality.values()).value
        if not abs(quality) < MARGIN:
            return f"the verifiers' own quality differs by {quality:+.3f}, or is unknown"
        return ""

    @cached_property
    def tests(self) -> list[FactTest]:
        """The main test first."""
        other, same = "other family", "same family"
        main, rest = self.difference(other, same, GROUPS[0]), self.difference(other, same, GROUPS[3])
        beyond = {unit: main[unit] - rest[unit] for unit in main if unit in rest}
        exchange, net = self.difference(other, UNTRAINED, GROUPS[1]), self.difference(other, same, ALL)
        rows = (
            ("main test", same, GROUPS[0], main, main_verdict),
            ("independence or quality", same, f"{GROUPS[0]} minus rest", beyond, sign_verdict),
            ("exchange of errors", UNTRAINED, GROUPS[1], exchange, exchange_verdict),
            ("net of the exchange", same, ALL, net, sign_verdict),
        )
        return [
            FactTest(question, other, against, group, values, self.untestable, rule)
            for question, against, group, values, rule in rows
        ]


def main_verdict(test: FactTest) -> str:
    """Supported above the margin in every family's direction, refuted below it, else undecided."""
    _, lo, hi = test.estimate
    if lo > MARGIN and min(test.by_family.values()) >= 0:
        return "supported here"
    return "refuted here" if hi < MARGIN else "undecided"


def sign_verdict(test: FactTest) -> str:
    """Supported if the interval lies above 0."""
    return "supported here" if test.estimate.lo > 0 else "not supported"


def exchange_verdict(test: FactTest) -> str:
    """Refuted if the policy lost more than the margin on facts that the verifier alone has wrong."""
    _, lo, hi = test.estimate
    return "refuted here" if hi < -MARGIN else "supported here" if lo > -MARGIN else "undecided"
