"""Tables and the figure of facts in responses, by the families that have them wrong."""

from functools import partial

from analysis.experiments.base import Column, build_table, file_name
from analysis.experiments.courses import mean_over_seeds
from analysis.experiments.facts import ALL, GROUPS, MARGIN, UNTRAINED, Facts, FactTest
from analysis.experiments.verifiers import RELATIONS
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import Plot, Style
from analysis.records.names import family_name
from analysis.tables.render import Entry, Table


def fact_test_table(facts: Facts, scale: str) -> Table:
    """The tests over families and builds, the main one first."""
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

    return build_table(
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


def share_table(facts: Facts, scale: str) -> Table:
    """The shares of right facts by arm and group of facts, means over families and builds."""

    def share(group: str, arm: str) -> str:
        return mean_over_seeds(facts.shares[arm, group].values()).text(2, "")

    def units(arm: str) -> str:
        return ", ".join(f"{family_name(family)} {build}" for family, build in sorted(facts.shares[arm, ALL]))

    return build_table(
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


SHOWN = {GROUPS[0]: "generator's facts", GROUPS[1]: "verifier's facts", GROUPS[3]: "other facts"}
"""The groups of facts in the figure, with the labels of their panels."""


def share_figure(facts: Facts, scale: str) -> Plot:
    """The shares of right facts, a panel per group of facts and a row per arm."""
    rows = {arm: arm for arm in facts.arms}
    panels = [
        Panel(
            f"{facts_of}\nright (0 to 1)",
            [Dot(arm, *mean_over_seeds(facts.shares[arm, group].values()), style_of(arm)) for arm in rows],
            limits=(0, 1),
        )
        for group, facts_of in SHOWN.items()
    ]
    figure = forest(
        f"Facts by the families that have them wrong (scale: {scale})",
        [Block("", rows, panels, share_x=True)],
        {},
    )
    caption = (
        "The share of facts that greedy responses have right, by who has false beliefs about them: the generator's "
        "family alone, the other family's verifier alone, or neither. Rows: the untrained model, the verifier's "
        "relation to the generator, and the controls; means over pairs of family and build with 95 % t intervals, none "
        "below three. Rows with other pairs, which the table lists, are not comparable in size. "
        f"Scale: {scale}."
    )
    return Plot(file_name("facts", scale), caption, figure)


def style_of(arm: str) -> Style:
    """The style of an arm, that of its verifier's relation."""
    return Style("#767676", "o") if arm == UNTRAINED else RELATIONS[arm.partition(" (")[0].lower()]
