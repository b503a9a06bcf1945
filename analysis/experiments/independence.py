"""A test of the paper's central claim: does a verifier of another family protect against a family's shared errors?

The tests count facts in responses, by the families that have them wrong. The unit of their intervals is a pair of
family and build: seeds are averaged within it. The rules of the verdicts were written before the runs (docs/log.md,
2026-11-29).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from analysis.experiments.base import Experiment, file_name
from analysis.experiments.facts import ALL, GROUPS, MARGIN, UNTRAINED, Facts, FactTest, arm_of
from analysis.experiments.verifier_sweep import outcome_table
from analysis.experiments.verifiers import (
    GeneratorOutcomes,
    gain_panel,
    quality_views,
    win_panel,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import RELATIONS, Plot, Style
from analysis.records.names import family_name, judge_label
from analysis.tables.render import Column, Entry, Table, build_table
from cme.records import RunRecord


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


def outcome_plot(view: IndependenceView) -> Iterator[Plot]:
    """The policy's gain and its win rate, one row per verifier."""
    panels = [gain_panel("policy's gain in true quality (-1 to 1)", view.outcomes), win_panel(view.outcomes)]
    drawn = {one.relation for one in view.outcomes}
    figure = forest(
        f"Relation of the verifier to the generator (scale: {view.scale})",
        [Block(f"generator: {view.generator}, judge: {judge_label(view.judge)}", view.rows, panels)],
        {name: style for name, style in RELATIONS.items() if name in drawn},
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
    tables=(fact_test_table, share_table, lambda view: [outcome_table(view, "Training with each verifier")]),
    figures=(share_figure, outcome_plot),
    frame=frame,
)
