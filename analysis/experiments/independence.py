"""A test of the paper's central claim: does a verifier of another family protect against a family's shared errors?

The tests count facts in responses, by the families that have them wrong. The unit of their intervals is a pair of
family and build: seeds are averaged within it. The rules of the verdicts were written before the runs (docs/log.md,
2026-11-29).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isnan, nan

import numpy as np
import pandas as pd

from analysis.experiments.base import Estimate, Experiment, file_name, mean_over_seeds
from analysis.experiments.verifiers import (
    QUALITY_COLUMNS,
    RELATIONS,
    GeneratorOutcomes,
    gain_panel,
    quality_views,
    relation,
    relation_legend,
    win_panel,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import Plot, Style
from analysis.records.names import family_name, judge_label
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import Column, Entry, Table, build_table
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
    """One test: a difference by unit, with the verdict by `rule` or, if there is a reason, that it is not testable."""

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
        return {f: float(np.mean([v for (own, _), v in self.values.items() if own == f])) for f in families}

    @property
    def verdict(self) -> str:
        """The verdict, or why there is none."""
        few = f"fewer than {MIN_SEEDS} pairs of family and build" if len(self.values) < MIN_SEEDS else ""
        reason = self.untestable or few
        return f"not testable: {reason}" if reason else self.rule(self)


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
        """The mean share over units; unknown for an arm without any."""
        return mean_over_seeds(self.shares.get((arm, group), {}).values())

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
            ("main test", SAME, GROUPS[0], main, main_verdict),
            ("independence or quality", SAME, f"{GROUPS[0]} minus rest", beyond, sign_verdict),
            ("exchange of errors", UNTRAINED, GROUPS[1], exchange, exchange_verdict),
            ("net of the exchange", SAME, ALL, net, sign_verdict),
        )
        return [
            FactTest(question, OTHER, against, group, values, self.untestable, rule)
            for question, against, group, values, rule in rows
        ]


@dataclass(frozen=True, eq=False)
class IndependenceView(GeneratorOutcomes):
    """The results of one generator, and the facts of all generators of its scale."""

    facts: Facts


def views(runs: Sequence[RunRecord]) -> list[IndependenceView]:
    """The results of each generator. Raises NothingToShow without a verdict."""
    facts = Facts(runs)
    return [IndependenceView(view.generator, view.runs, view.outcomes, facts) for view in quality_views(runs)]


def fact_test_table(view: IndependenceView) -> Iterator[Table]:
    """The tests over families and builds, the main one first; none if the records name no false beliefs."""
    facts, scale = view.facts, view.scale
    if not facts.shares:
        return
    main, beyond, exchange, net = facts.tests
    conclusion = (
        '"A verifier of another family protects against the family\'s errors" is '
        f"{main.verdict} (scale: {scale}): of the facts that the generator's family alone has wrong, policies trained "
        f"with another family's verifier have {main.estimate.text()} more right than those with their own family's. "
        f'"The effect is due to independence, not to a better verifier" is {beyond.verdict} '
        f'({beyond.estimate.text()}). "The policy does not learn the verifier\'s own errors instead" is '
        f"{exchange.verdict} ({exchange.estimate.text()}). Over all facts the difference is {net.estimate.text()} "
        f"({net.verdict})."
    )

    def families(test: FactTest) -> str:
        return ", ".join(f"{family_name(family)} {value:+.3f}" for family, value in test.by_family.items())

    yield build_table(
        name=file_name("test", scale),
        title=f"Verifiers of another family on facts that a family has wrong (scale: {scale})",
        columns=[
            Column("test", lambda test: test.question),
            Column("trained with", lambda test: test.one),
            Column("against", lambda test: test.other),
            Column(
                "facts",
                lambda test: test.group,
                "Facts: generator's: the generator's family alone has false beliefs about them; verifier's: the other "
                "verifier's family alone; rest: neither.",
            ),
            Column("families and builds", lambda test: str(len(test.values))),
            Column(
                "difference [95 % CI]",
                lambda test: Entry(test.estimate.text(), bold=test.estimate.lo > MARGIN),
                "Difference: in the share of these facts that greedy responses to the evaluation prompts have right, "
                "with the t interval over pairs of family and build; seeds are averaged within. Bold: above the margin "
                f"of {MARGIN}.",
            ),
            Column("by family", families),
            Column(
                "verdict",
                lambda test: test.verdict,
                "The rules were written before the runs: docs/log.md, 2026-11-29.",
            ),
        ],
        groups=[facts.tests],
        notes=[conclusion],
    )


def share_table(view: IndependenceView) -> Iterator[Table]:
    """The shares of right facts by arm and group of facts; none if the records name no false beliefs."""
    facts, scale = view.facts, view.scale
    if not facts.shares:
        return

    def share(group: str, arm: str) -> str:
        return facts.mean(arm, group).text(2, "")

    def units(arm: str) -> str:
        return ", ".join(f"{family_name(family)} {build}" for family, build in sorted(facts.shares[arm, ALL]))

    yield build_table(
        name=file_name("facts", scale),
        title=f"Facts that greedy responses have right, by the families that have them wrong (scale: {scale})",
        columns=[
            Column("verifier or reward", lambda arm: arm),
            Column("families and builds", units),
            *(Column(group, partial(share, group)) for group in (*GROUPS, ALL)),
        ],
        groups=[facts.arms],
        notes=[
            "Shares from 0 to 1: means over pairs of family and build with t intervals, [n/a] below three. Rows with "
            "other families and builds are not comparable in size; the tests are paired.",
            "Groups of facts as in the tests; shared: both families have them wrong; all: every fact, without steps of "
            "calculations and members of lists.",
        ],
    )


def share_figure(view: IndependenceView) -> Iterator[Plot]:
    """The shares of right facts, a panel per group of facts and a row per arm; none if no false beliefs are named."""
    facts, scale = view.facts, view.scale
    if not facts.shares:
        return
    styles = RELATIONS | {UNTRAINED: Style("#767676", "o")}
    rows = {arm: arm for arm in facts.arms}
    shown = {GROUPS[0]: "generator's facts", GROUPS[1]: "verifier's facts", GROUPS[3]: "other facts"}
    panels = [
        Panel(
            f"{label}\nright (0 to 1)",
            [Dot(arm, *facts.mean(arm, group), styles[arm.partition(" (")[0].lower()]) for arm in rows],
            limits=(0, 1),
        )
        for group, label in shown.items()
    ]
    title = f"Facts by the families that have them wrong (scale: {scale})"
    caption = (
        "The share of facts that greedy responses have right, by who has false beliefs about them: the generator's "
        "family alone, the other family's verifier alone, or neither. Rows: the untrained model, the verifier's "
        "relation to the generator, and the controls; means over pairs of family and build with 95 % t intervals, none "
        "below three. Rows with other pairs, which the table lists, are not comparable in size. "
        f"Scale: {scale}."
    )
    yield Plot(file_name("facts", scale), caption, forest(title, [Block("", rows, panels, share_x=True)], {}))


def outcome_table(view: IndependenceView) -> Iterator[Table]:
    """The results of training, one row per verifier."""
    yield build_table(
        name=file_name(view.scale, view.generator),
        title=f"Training with each verifier ({view.where}, judge: {judge_label(view.judge)})",
        columns=QUALITY_COLUMNS,
        groups=[view.outcomes],
    )


def outcome_plot(view: IndependenceView) -> Iterator[Plot]:
    """The policy's gain and its win rate, one row per verifier."""
    panels = [gain_panel("policy's gain in true quality (-1 to 1)", view.outcomes), win_panel(view.outcomes)]
    figure = forest(
        f"Relation of the verifier to the generator (scale: {view.scale})",
        [Block(f"generator: {view.generator}, judge: {judge_label(view.judge)}", view.rows, panels)],
        relation_legend(one.relation for one in view.outcomes),
    )
    caption = (
        f"Training of {view.generator} at scale {view.scale} with verifiers of different relations to it: true quality "
        "of the trained policy minus the untrained model's, and its win rate, both with across-seed 95 % intervals."
    )
    yield Plot(file_name(view.scale, view.generator), caption, figure)


def frame(views: Sequence[IndependenceView]) -> pd.DataFrame:
    """One row per generator and verifier: the result and the shares of right facts."""
    rows = []
    for view in views:
        for one in view.outcomes:
            row, arm = {"label": one.label} | one.row, arm_of(one.runs[0])
            for group in (*GROUPS, ALL):
                row["right_" + group.removesuffix("'s")] = view.facts.mean(arm, group).value
            rows.append(row)
    return pd.DataFrame(rows)


INDEPENDENCE = Experiment(
    name="independence",
    title="Independence: does a verifier of another family protect against a family's errors?",
    question=(
        "The paper argues that its signal cannot be gamed because the verifier is independent of the generator. In the "
        "miniature world every family has false beliefs of its own, which its generators and its verifier share. The "
        "same generators were trained with verifiers of one recipe, from their own family and from another one. The "
        "claim predicts that another family's verifier corrects facts that the generator's family has wrong and that "
        "its own family's verifier does not. It is refuted if the difference lies below the margin; it is no evidence "
        "for independence if the other verifier is better on all facts alike; and 'cannot be gamed' is refuted if the "
        "policy learns the verifier's own false beliefs. At other scales no false beliefs are known, so there is no "
        "verdict."
    ),
    views=views,
    tables=(fact_test_table, share_table, outcome_table),
    figures=(share_figure, outcome_plot),
    frame=frame,
)
