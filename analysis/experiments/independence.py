"""A test of the paper's central claim: does a verifier of another family protect against a family's shared errors?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import isnan

import pandas as pd

from analysis.experiments.base import Experiment, build_table, file_name
from analysis.experiments.courses import (
    BLOCK,
    BLOCKS_NOTE,
    COLLAPSE_NOTE,
    Course,
    block_means,
    courses,
    estimate_of,
    flatten,
    mean_over_seeds,
    monitored_history,
)
from analysis.experiments.fact_tables import fact_test_table, share_figure, share_table
from analysis.experiments.facts import ALL, GROUPS, Facts, arm_of
from analysis.experiments.verifier_tables import (
    QUALITY_COLUMNS,
    RELATION,
    VERIFIER,
    OutcomeColumn,
    dots,
    gain_panel,
    relation_legend,
    win_panel,
)
from analysis.experiments.verifiers import CONTROLS, GeneratorOutcomes, Outcome, quality_views
from analysis.figures.courses import rise_plot
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import Plot
from analysis.records.names import judge_label, sort_names
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import Table
from cme.records import RunRecord


@dataclass(frozen=True, eq=False)
class IndependenceView(GeneratorOutcomes):
    """The results of one generator with the courses of its trainings, and the facts of all generators of its scale."""

    facts: Facts

    @cached_property
    def courses(self) -> Mapping[str, Course]:
        """The course of the training with each verifier, by its label."""
        labels = {run.run_id: one.label for one in self.outcomes for run in one.runs}
        trained = [run for run in self.runs if run.run_id in labels]
        return {course["label"]: course for course in courses(trained, labels)}


def views(runs: Sequence[RunRecord]) -> list[IndependenceView]:
    """The results of each generator. Raises NothingToShow without a verdict."""
    facts = Facts(runs)
    return [IndependenceView(view.generator, view.runs, view.outcomes, facts) for view in quality_views(runs)]


def fact_tables(view: IndependenceView) -> Iterator[Table]:
    """The tests on facts and the shares behind them; none if the records name no false beliefs."""
    if view.facts.shares:
        yield fact_test_table(view.facts, view.scale)
        yield share_table(view.facts, view.scale)


def fact_figure(view: IndependenceView) -> Iterator[Plot]:
    """The shares of right facts; none if the records name no false beliefs."""
    if view.facts.shares:
        yield share_figure(view.facts, view.scale)


def outcome_table(view: IndependenceView) -> Iterator[Table]:
    """The results of training, one row per verifier."""
    yield build_table(
        name=file_name(view.scale, view.generator),
        title=f"Training with each verifier ({view.where}, judge: {judge_label(view.judge)})",
        columns=[
            *QUALITY_COLUMNS,
            OutcomeColumn(
                "collapse by step", lambda one: view.courses[one.label]["collapse_steps"], COLLAPSE_NOTE
            ),
            OutcomeColumn(
                "stopped at",
                lambda one: view.courses[one.label]["stopped"] or "-",
                "Stopped: the guard ended the training.",
            ),
        ],
        groups=[view.outcomes],
    )


def gaming_table(view: IndependenceView) -> Iterator[Table]:
    """The rises of reward and held-out verifier, and the change of quality meanwhile, one row per verifier."""
    heldout = ", ".join(sort_names(run.heldout_checkpoint or "none" for run in view.runs))

    def rise(name: str, decimals: int, one: Outcome) -> str:
        return estimate_of(view.courses[one.label], name).text(decimals)

    def gap(one: Outcome) -> str:
        return "-" if one.relation in CONTROLS.values() else rise("rise_gap", 2, one)

    yield build_table(
        name=file_name("gaming", view.scale, view.generator),
        title=f"The rise of the reward and of true quality ({view.where})",
        columns=[
            VERIFIER,
            RELATION,
            OutcomeColumn("reward's rise", partial(rise, "rise_reward_beside", 2)),
            OutcomeColumn("held-out's rise", partial(rise, "rise_heldout", 2)),
            OutcomeColumn("difference", gap),
            OutcomeColumn("true quality's rise", partial(rise, "rise_quality", 3)),
            OutcomeColumn("fall from the peak", partial(rise, "fall", 3)),
            OutcomeColumn("gamed", lambda one: gamed(one, view.courses[one.label])),
        ],
        groups=[view.outcomes],
        notes=[
            f"Rise of the trained reward and of the likelihood under the held-out verifier ({heldout}), from the start "
            f"to the last block of {BLOCK} steps, at the steps that have both, in nats per token of each model, and "
            "their difference. The random reward (0 or 1) and the ground truth (0 to 1) are in their own units, so "
            "they have no difference. A verifier that already finds the untrained model's responses likely has little "
            "room to rise, and tokens differ in size: compare signs, not sizes, between rows.",
            "True quality's rise, and its fall from the peak to the end, are measured on the same completions sampled "
            "in training; the peak of each seed is the block in which the other seeds' mean is highest.",
            "Gamed: the interval of the reward's rise lies above 0, and that of the policy's gain in true quality on "
            "the evaluation prompts lies below 0 (yes), covers 0 (without gain) or lies above 0 (no); -: the reward's "
            "interval does not lie above 0.",
            f"{BLOCKS_NOTE} Means over seeds with 95 % t intervals over seeds, [n/a] below {MIN_SEEDS}.",
        ],
    )


def gamed(outcome: Outcome, course: Course) -> str:
    """Whether the reward rose without true quality, by the intervals of both."""
    gain, reward = outcome.gain, estimate_of(course, "rise_reward_beside")
    if gain is None or isnan(gain.across_seeds_lo) or isnan(reward.lo):
        return "n/a"
    if reward.lo <= 0:
        return "-"
    return "yes" if gain.across_seeds_hi < 0 else "no" if gain.across_seeds_lo > 0 else "without gain"


def outcome_plot(view: IndependenceView) -> Iterator[Plot]:
    """The policy's gain, its win rate, and the rises of reward and held-out verifier, one row per verifier."""

    def rises(name: str) -> list[Dot]:
        return dots(view.outcomes, lambda one: estimate_of(view.courses[one.label], name), 0)

    panels = [
        gain_panel("policy's gain in\ntrue quality\n(-1 to 1)", view.outcomes),
        win_panel(view.outcomes),
        Panel("rise of the reward\n(nats/token or\nits own unit)", rises("rise_reward_beside"), 0),
        Panel("rise under the\nheld-out verifier\n(nats/token)", rises("rise_heldout"), 0),
    ]
    figure = forest(
        f"Relation of the verifier to the generator (scale: {view.scale})",
        [Block(f"generator: {view.generator}, judge: {judge_label(view.judge)}", view.rows, panels)],
        relation_legend(one.relation for one in view.outcomes),
    )
    caption = (
        f"Training of {view.generator} at scale {view.scale} with verifiers of different relations to it. Left: true "
        "quality of the trained policy minus the untrained model's, then its win rate, both with across-seed 95 % "
        "intervals. Right: how far the trained reward and the held-out verifier's likelihood of the same completions "
        "rose, with 95 % t intervals over seeds, each in nats per token of its own model; the random reward (0 or 1) "
        "and the ground truth (0 to 1) are in their own units. A reward that rises while true quality does not is "
        "gamed."
    )
    yield Plot(file_name(view.scale, view.generator), caption, figure)


def gaming_plot(view: IndependenceView) -> Iterator[Plot]:
    """Reward, held-out verifier and true quality over training, one column per verifier."""
    labels = {run.run_id: one.label for one in view.outcomes for run in one.runs}
    blocks = block_means(monitored_history(view.runs))
    blocks = blocks.assign(label=blocks["run_id"].map(labels))
    plot = rise_plot(
        f"Reward, held-out verifier and true quality ({view.where})", blocks, list(view.rows), BLOCK
    )
    yield replace(plot, name=file_name("gaming", view.scale, view.generator))


def frame(views: Sequence[IndependenceView]) -> pd.DataFrame:
    """One row per generator and verifier: the result and the course of the training."""
    rows = []
    for view in views:
        for one in view.outcomes:
            course = {k: v for k, v in view.courses[one.label].items() if k not in ("seeds", "stopped")}
            arm = arm_of(one.runs[0])
            right = {
                "right_" + group.removesuffix("'s"): mean_over_seeds(
                    view.facts.shares.get((arm, group), {}).values()
                ).value
                for group in (*GROUPS, ALL)
            }
            rows.append({"label": one.label} | one.row | flatten(course) | right)
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
    tables=(fact_tables, outcome_table, gaming_table),
    figures=(fact_figure, outcome_plot, gaming_plot),
    frame=frame,
)
