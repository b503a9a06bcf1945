"""The facts that responses have right, by the families that have them wrong, and the tests on them."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan

import numpy as np

from analysis.records.grouping import group_by
from analysis.records.relations import relation
from analysis.stats.seeds import MIN_SEEDS
from analysis.tables.render import Estimate, mean_over_seeds
from cme.records import Grade, RunRecord

MARGIN = 0.05
GROUPS = ("generator's", "verifier's", "shared", "rest")
"""The facts that the generator's family alone has wrong, the other verifier's alone, both, or neither."""
ALL = "all"
UNTRAINED, SAME, OTHER = "untrained", "same family", "other family"
Unit = tuple[str, int]
"""Family and build of a generator."""
Shares = Mapping[Unit, float]


def shares_right(grades: Sequence[Grade], beliefs: Mapping[str, Collection[str]]) -> dict[str, float]:
    """The share of the facts that the responses have right, by group and over all; NaN for a group without facts.

    `beliefs` has the facts that the families of `generator` and `verifier` have wrong.
    """
    groups = dict(zip([(True, False), (False, True), (True, True), (False, False)], GROUPS, strict=True))
    right: dict[str, list[bool]] = {group: [] for group in (*GROUPS, ALL)}
    for grade in grades:
        for fact, is_right in grade.facts.items():
            right[groups[fact in beliefs["generator"], fact in beliefs["verifier"]]].append(is_right)
            right[ALL].append(is_right)
    return {group: float(np.mean(values)) if values else nan for group, values in right.items()}


def arm_of(run: RunRecord) -> str:
    """The arm of a run: the relation of its verifier to the generator; of an ensemble, how it combines its members."""
    arm = relation(run)
    return f"Ensemble ({run.config['reward']['ensemble']})" if arm == "ensemble" else arm


@dataclass(frozen=True)
class FactTest:
    """One test of the policies trained with another family's verifier: their difference from `against` by unit.

    `untestable` is the reason if there is no verdict; otherwise `rule` gives it.
    """

    question: str
    against: str
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
        families = group_by(self.values, lambda unit: unit[0])
        return {name: float(np.mean([self.values[u] for u in units])) for name, units in families.items()}

    @property
    def verdict(self) -> str:
        """The verdict, or why there is none."""
        few = f"fewer than {MIN_SEEDS} pairs of family and build" if len(self.values) < MIN_SEEDS else ""
        reason = self.untestable or few
        return f"not testable: {reason}" if reason else self.rule(self)


def judge_protection(test: FactTest) -> str:
    """Supported above the margin in every family's direction, refuted below it, else undecided."""
    _, lo, hi = test.estimate
    if lo > MARGIN and min(test.by_family.values()) >= 0:
        return "supported here"
    return "refuted here" if hi < MARGIN else "undecided"


def judge_sign(test: FactTest) -> str:
    """Supported if the interval lies above 0."""
    return "supported here" if test.estimate.lo > 0 else "not supported"


def judge_exchange(test: FactTest) -> str:
    """Refuted if the policy lost more than the margin on facts that the verifier alone has wrong."""
    _, lo, hi = test.estimate
    return "refuted here" if hi < -MARGIN else "supported here" if lo > -MARGIN else "undecided"


@dataclass(frozen=True, eq=False)
class Facts:
    """The graded runs of all generators at one scale whose records name false beliefs."""

    runs: Sequence[RunRecord]

    @cached_property
    def shares(self) -> Mapping[tuple[str, str], Shares]:
        """By arm and group, the share of right facts of each unit, averaged over seeds."""
        beliefs = {
            run.family: run.blind_spots
            for run in self.runs
            if run.blind_spots is not None and relation(run) == OTHER
        }
        found: dict[tuple[str, str], dict[Unit, list[float]]] = defaultdict(lambda: defaultdict(list))
        for run in self.runs:
            if run.grades is None or run.family not in beliefs:
                continue
            for arm, grades in ((arm_of(run), run.grades.policy), (UNTRAINED, run.grades.start)):
                for group, share in shares_right(grades, beliefs[run.family]).items():
                    found[arm, group][run.family, run.build].append(share)
        return {
            place: {unit: float(np.mean(shares)) for unit, shares in by_unit.items()}
            for place, by_unit in found.items()
        }

    @property
    def arms(self) -> list[str]:
        """The arms, those with most units first, the untrained model at the top."""
        arms = dict.fromkeys(arm for arm, _ in self.shares)
        return sorted(arms, key=lambda arm: (arm != UNTRAINED, -len(self.shares[arm, ALL])))

    def mean(self, arm: str, group: str) -> Estimate:
        """The mean share over units, its interval cut at 0 and 1; unknown for an arm without any."""
        value, lo, hi = mean_over_seeds(self.shares.get((arm, group), {}).values())
        return Estimate(value, *np.clip((lo, hi), 0, 1).tolist())

    def difference(self, one: str, other: str, group: str) -> Shares:
        """The share of one arm minus that of another, by unit; only units that both have."""
        mine, theirs = self.shares.get((one, group), {}), self.shares.get((other, group), {})
        return {unit: mine[unit] - theirs[unit] for unit in mine if unit in theirs and not isnan(mine[unit])}

    @cached_property
    def quality_difference(self) -> float:
        """True quality of the other family's verifier minus that of the generator's family, mean over units."""
        own: dict[str, dict[Unit, float]] = {OTHER: {}, SAME: {}}
        for run in self.runs:
            if run.verifier_quality is not None and relation(run) in own:
                own[relation(run)][run.family, run.build] = float(np.mean(run.verifier_quality))
        return mean_over_seeds(own[OTHER][u] - own[SAME][u] for u in own[OTHER] if u in own[SAME]).value

    @cached_property
    def untestable(self) -> str:
        """Why the main test could not come out otherwise; empty if it could."""
        control = mean_over_seeds(self.difference("ground truth", "random reward", GROUPS[0]).values())
        if not control.lo > MARGIN:
            return (
                f"ground truth minus random on the generator's facts is {control.text()}, not above {MARGIN}"
            )
        if not abs(self.quality_difference) < MARGIN:
            return f"the verifiers' own quality differs by {self.quality_difference:+.3f}, or is unknown"
        return ""

    @cached_property
    def tests(self) -> list[FactTest]:
        """The main test first."""
        main, rest = (self.difference(OTHER, SAME, group) for group in (GROUPS[0], GROUPS[3]))
        beyond = {unit: main[unit] - rest[unit] for unit in main if unit in rest}
        exchange, net = self.difference(OTHER, UNTRAINED, GROUPS[1]), self.difference(OTHER, SAME, ALL)
        rows = (
            ("main test", SAME, GROUPS[0], main, judge_protection),
            ("independence or quality", SAME, f"{GROUPS[0]} minus rest", beyond, judge_sign),
            ("exchange of errors", UNTRAINED, GROUPS[1], exchange, judge_exchange),
            ("net of the exchange", SAME, ALL, net, judge_sign),
        )
        return [
            FactTest(question, against, group, values, self.untestable, rule)
            for question, against, group, values, rule in rows
        ]
