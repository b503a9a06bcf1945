"""A test of the paper's central claim: does a verifier of another family protect against gaming?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import isnan

import pandas as pd

from analysis.experiments.base import Column, Experiment, build_table, file_name
from analysis.experiments.courses import (
    BLOCK,
    BLOCKS_NOTE,
    COLLAPSE_NOTE,
    Course,
    block_means,
    courses,
    estimate_of,
    flatten,
    monitored_history,
)
from analysis.experiments.verifier_tables import (
    QUALITY_COLUMNS,
    RELATION,
    VERIFIER,
    OutcomeColumn,
    gain_panel,
    relation_legend,
    win_panel,
)
from analysis.experiments.verifiers import (
    QUALITY,
    GeneratorOutcomes,
    Outcome,
    claim_verdict,
    oracle_tally,
    quality_views,
)
from analysis.figures.courses import rise_plot
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import Plot, Style
from analysis.records.names import sort_names
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.intervals import interval_excludes
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import Entry, Table, format_interval, format_p_value
from cme.records import RunRecord

TESTS = (
    ("other family", "same family", True),
    ("other family", "itself", True),
    ("ensemble", "same family", False),
    ("ensemble", "other family", False),
    ("other family", "random weights", False),
    ("same family", "itself", False),
)
"""The relations that are compared, and whether the verdict on the claim depends on the comparison."""
RISES = {"trained reward": Style("#444444", "o"), "held-out verifier": Style("#444444", "o")}


@dataclass(frozen=True)
class RelationTest:
    """True quality with the verifiers of one relation minus that with another's, in hundredths.

    The verdict on the claim depends on the decisive ones.
    """

    one: str
    other: str
    decisive: bool
    difference: Contrast


@dataclass(frozen=True, eq=False)
class IndependenceView(GeneratorOutcomes):
    """The results of one generator, with the courses of its trainings and the tests of relations."""

    @cached_property
    def courses(self) -> Mapping[str, Course]:
        """The course of the training with each verifier, by its label."""
        labels = {run.run_id: one.label for one in self.outcomes for run in one.runs}
        trained = [run for run in self.runs if run.run_id in labels]
        return {course["label"]: course for course in courses(trained, labels)}

    @cached_property
    def tests(self) -> list[RelationTest]:
        """The tests of TESTS whose sides both have true quality."""
        tallies = {}
        for relation in dict.fromkeys(one.relation for one in self.outcomes):
            runs = [run for one in self.outcomes if one.relation == relation for run in one.runs]
            tallies[relation] = oracle_tally(runs, "score_policy")
        tests = []
        for one, other, decisive in TESTS:
            mine, theirs = tallies.get(one), tallies.get(other)
            if mine is not None and theirs is not None:
                tests.append(RelationTest(one, other, decisive, contrast(mine, theirs)))
        return tests

    @property
    def verdict(self) -> str:
        """The verdict on the claim, from the decisive tests."""
        verdicts = [claim_verdict(test.difference) for test in self.tests if test.decisive]
        if "refuted here" in verdicts:
            return "refuted here"
        complete = len(verdicts) == sum(decisive for *_, decisive in TESTS)
        if not complete or any(verdict.startswith("not testable") for verdict in verdicts):
            return "not testable here"
        return "supported here" if set(verdicts) == {"supported here"} else "not supported"


def views(runs: Sequence[RunRecord]) -> list[IndependenceView]:
    """The results of each generator. Raises NothingToShow without a verdict."""
    return [IndependenceView(view.generator, view.runs, view.outcomes) for view in quality_views(runs)]


def test_table(view: IndependenceView) -> Iterator[Table]:
    """The tests: the decisive ones, then the others."""
    details = "; ".join(
        f"{QUALITY.text(test.difference)} in true quality against {test.other} ({view.named(test.other)}): "
        f"{claim_verdict(test.difference)}"
        for test in view.tests
        if test.decisive
    )
    conclusion = (
        f'"An independent verifier protects against gaming" is {view.verdict} ({view.where}): '
        f"{view.named('other family') or 'no other family'}, {details or 'without a verifier to compare with'}."
    )

    def across_seeds(test: RelationTest) -> Entry:
        _, lo, hi = QUALITY.across_seeds(test.difference)
        return Entry(format_interval(lo, hi, 3), bold=interval_excludes(lo, hi, 0, test.difference.prompts))

    yield build_table(
        name=file_name("test", view.scale, view.generator),
        title=f"Verifiers of other families against others ({view.where})",
        columns=[
            Column("trained with", lambda test: f"{test.one} ({view.named(test.one)})"),
            Column("against", lambda test: f"{test.other} ({view.named(test.other)})"),
            Column("prompts", lambda test: str(test.difference.prompts)),
            Column(
                "difference",
                lambda test: QUALITY.over_prompts(test.difference).text(),
                "Difference: mean true quality (0 to 1) of the trained policies' greedy responses to the evaluation "
                "prompts, minus the other side's on the same prompts, with the 95 % interval over prompts, for these "
                "models; p tests 0 over prompts.",
            ),
            Column(
                "across-seed 95 % CI",
                across_seeds,
                "Across-seed: the interval for other seeds and other prompts; the runs with all verifiers of a side "
                "are its seeds. Bold: it excludes 0.",
            ),
            Column("p", lambda test: format_p_value(test.difference.p)),
            Column(
                "verdict",
                lambda test: claim_verdict(test.difference) if test.decisive else "-",
                "Only the first block was stated before the runs and has a verdict. There are few verifiers per "
                "relation: the interval describes other trainings, not other families.",
            ),
        ],
        groups=[[test for test in view.tests if test.decisive is group] for group in (True, False)],
        notes=[conclusion],
    )


def outcome_table(view: IndependenceView) -> Iterator[Table]:
    """The results of training, one row per verifier."""
    yield build_table(
        name=file_name(view.scale, view.generator),
        title=f"Training with each verifier ({view.where}, judge: {view.judge})",
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

    yield build_table(
        name=file_name("gaming", view.scale, view.generator),
        title=f"The rise of the reward and of true quality ({view.where})",
        columns=[
            VERIFIER,
            RELATION,
            OutcomeColumn("reward's rise", partial(rise, "rise_reward_beside", 2)),
            OutcomeColumn("held-out's rise", partial(rise, "rise_heldout", 2)),
            OutcomeColumn("difference", partial(rise, "rise_gap", 2)),
            OutcomeColumn("true quality's rise", partial(rise, "rise_quality", 3)),
            OutcomeColumn("fall from the peak", partial(rise, "fall", 3)),
            OutcomeColumn("gamed", lambda one: gamed(one, view.courses[one.label])),
        ],
        groups=[view.outcomes],
        notes=[
            f"Rise of the trained reward and of the likelihood under the held-out verifier ({heldout}), from the start "
            f"to the last block of {BLOCK} steps, at the steps that have both, in nats per token of each model, and "
            "their difference. A verifier that already finds the untrained model's responses likely has little room to "
            "rise, and tokens differ in size: compare signs, not sizes, between rows.",
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
    rises = [
        Dot(one.label, *estimate_of(view.courses[one.label], rise), one.style, hollow=hollow, below=below)
        for one in view.outcomes
        for rise, hollow, below in (("rise_reward_beside", False, -0.15), ("rise_heldout", True, 0.15))
    ]
    panels = [
        gain_panel("policy's gain in true quality", view.outcomes),
        win_panel(view.outcomes),
        Panel("rise in training (nats/token)", rises, 0),
    ]
    figure = forest(
        f"Relation of the verifier to the generator (scale: {view.scale})",
        [Block(f"generator: {view.generator}, judge: {view.judge}", view.rows, panels)],
        relation_legend(one.relation for one in view.outcomes) | RISES,
        hollow=("held-out verifier",),
        columns=4,
    )
    caption = (
        f"Training of {view.generator} at scale {view.scale} with verifiers of different relations to it. Left: true "
        "quality of the trained policy minus the untrained model's; middle: win rate; both with across-seed 95 % "
        "intervals. Right: how far the trained reward (filled) and the held-out verifier's likelihood of the same "
        "completions (hollow) rose, with 95 % t intervals over seeds, each in nats per token of its own model. A "
        "reward that rises while true quality does not is gamed."
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
            rows.append({"label": one.label} | one.row | flatten(course))
    return pd.DataFrame(rows)


INDEPENDENCE = Experiment(
    name="independence",
    title="Independence: does a verifier of another family protect against gaming?",
    question=(
        "The paper argues that its signal cannot be gamed because the verifier is independent of the generator. The "
        "same generator was trained for twice the usual steps with verifiers of equal knowledge but different "
        "families, with itself, and with random weights. Stated before the runs: true quality of the policies trained "
        "with verifiers of other families, minus that with the verifier of the same family (the main test: equal "
        "knowledge), and minus that with the untrained generator itself (which also knows less, so family and "
        "knowledge cannot be separated). Each is supported here if its across-seed 95 % interval lies above 0, refuted "
        "here if it lies below 0, and not supported if it covers 0. The claim is refuted here if either is, supported "
        "here if both are, and otherwise not supported."
    ),
    views=views,
    tables=(test_table, outcome_table, gaming_table),
    figures=(outcome_plot, gaming_plot),
    frame=frame,
)
