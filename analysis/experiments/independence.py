"""A test of the paper's central claim: does a verifier of another family protect against a family's shared errors?

The tests count facts in responses, by the families that have them wrong. The unit of their intervals is a pair of
family and build: seeds are averaged within it. The rules of the verdicts were written before the runs (docs/log.md,
2026-11-29).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from analysis.experiments.base import Experiment
from analysis.experiments.facts import ALL, GROUPS, MARGIN, OTHER, SAME, UNTRAINED, Facts, FactTest, arm_of
from analysis.experiments.verifier_sweep import outcome_table
from analysis.experiments.verifiers import GeneratorOutcomes, gain_panel, quality_views, win_panel
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import RELATIONS, Plot, Style
from analysis.figures.win_rates import TICKS, ceiling_legend, control_notes
from analysis.records.names import family_name, judge_label
from analysis.tables.render import Column, Entry, Table, build_table
from cme.records import RunRecord

FACTS_OF = dict(
    zip(GROUPS, ("generator's facts", "verifier's facts", "facts of both", "other facts"), strict=True)
)
ARMS = {
    UNTRAINED: "Untrained model",
    SAME: "Same family",
    OTHER: "Other family",
    "itself": "Generator itself",
    "random reward": "Random reward",
    "ground truth": "Ground truth",
}


@dataclass(frozen=True, eq=False)
class IndependenceView(GeneratorOutcomes):
    """The results of one generator, and the facts of all generators of its scale."""

    facts: Facts


def independence_views(runs: Sequence[RunRecord]) -> list[IndependenceView]:
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
        name=f"test {scale}",
        title=f"Verifiers of another family on facts that a family has wrong (scale: {scale})",
        columns=[
            Column("test", lambda test: test.question),
            Column("trained with", lambda _: OTHER),
            Column("against", lambda test: test.against),
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
        name=f"facts {scale}",
        title=f"Facts that greedy responses have right, by the families that have them wrong (scale: {scale})",
        columns=[
            Column("verifier or reward", lambda arm: arm),
            Column("families and builds", units),
            *(Column(group, partial(share, group)) for group in (*GROUPS, ALL)),
        ],
        groups=[facts.arms],
        notes=[
            "Shares from 0 to 1: means over pairs of family and build with t intervals, cut at 0 and 1, [n/a] below "
            "three. Rows with other families and builds are not comparable in size; the tests are paired.",
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
    rows = {}
    for arm in facts.arms:
        families = {family_name(family) for family, _ in facts.shares[arm, ALL]}
        only = f", {families.pop()}" if len(families) == 1 else ""
        rows[arm] = f"{ARMS.get(arm, arm)}{only}"

    def dot(arm: str, group: str) -> Dot:
        style = styles[arm.partition(" (")[0].lower()]
        units = [100 * share for share in facts.shares[arm, group].values()]
        return Dot(arm, *facts.mean(arm, group).percent, style, seeds=units)

    panels = [
        Panel(f"{label}\nright (%)", [dot(arm, group) for arm in rows], limits=(0, 100))
        for group, label in FACTS_OF.items()
    ]
    title = f"Facts by the families that have them wrong (scale: {scale})"
    caption = (
        "The share of facts that greedy responses have right, by who has false beliefs about them: the generator's "
        "family alone, the other family's verifier alone, both, or neither. Rows: the untrained model, the verifier's "
        "relation to the generator, and the controls; means over pairs of family and build with 95 % t intervals, cut "
        "at 0 and 100 %, none below three pairs. Ticks: single pairs, with their seeds averaged. Rows with other "
        f"pairs, which the table lists, are not comparable in size. Scale: {scale}."
    )
    figure = forest(title, [Block("", rows, panels, share_x=True)], {}, tick="family and build")
    yield Plot(f"facts {scale}", caption, figure)


def outcome_plot(view: IndependenceView) -> Iterator[Plot]:
    """The policy's gain and its win rate, one row per verifier."""
    panels = [gain_panel("policy's gain in true quality (-1 to 1)", view.outcomes), win_panel(view)]
    figure = forest(
        f"Relation of the verifier to the generator (scale: {view.scale})",
        [Block(f"generator: {view.generator}, judge: {judge_label(view.judge)}", view.rows, panels)],
        view.legend() | ceiling_legend(view.controls),
    )
    caption = (
        f"Training of {view.generator} at scale {view.scale} with verifiers of different relations to it: true quality "
        "of the trained policy minus the untrained model's, and its win rate, both with across-seed 95 % intervals; "
        f"{TICKS}.{control_notes(view.controls)}"
    )
    yield Plot(f"{view.scale} {view.generator}", caption, figure)


def independence_frame(views: Sequence[IndependenceView]) -> pd.DataFrame:
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
    views=independence_views,
    tables=(fact_test_table, share_table, lambda view: [outcome_table(view, "Training with each verifier")]),
    figures=(share_figure, outcome_plot),
    frame=independence_frame,
)
