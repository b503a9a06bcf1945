"""A test of the paper's central claim: does a verifier of another family protect against gaming?"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments.base import FreeExperiment, column_table, group_by_generator
from analysis.experiments.course_figures import rise_plot
from analysis.experiments.courses import (
    BLOCK,
    BLOCKS_NOTE,
    COLLAPSE_NOTE,
    course_frame,
    format_change,
    spread_of,
)
from analysis.experiments.verifiers import (
    COLUMNS,
    SEEDS_NOTE,
    Outcome,
    claim_verdict,
    gain_entry,
    gain_text,
    oracle_tally,
    quality_outcomes,
    relation_legend,
    result_panels,
    win_entry,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import Plot, Style
from analysis.records.names import sort_names
from analysis.sections.base import Part, write_part
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.intervals import interval_excludes
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import Entry, Table, format_interval, format_p_value, slug
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
Test = tuple[str, str, bool, Contrast]
Courses = Mapping[str, Mapping[Any, Any]]


def show(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """Write the tables and figures of one scale; the test comes first."""
    tables, plots, frames = [], [], []
    for generator, own in group_by_generator(runs):
        found = quality_outcomes(own)
        labels = {run.run_id: outcome.label for outcome in found for run in outcome.runs}
        course = course_frame([run for run in own if run.run_id in labels], labels)
        by_label = {row["label"]: row for row in course.to_dict("records")}
        name, where = f"{slug(scale)}-{slug(generator)}", f"scale: {scale}, generator: {generator}"
        tables.append(test_table(f"independence-test-{name}", where, found))
        tables.append(outcome_table(f"independence-{name}", where, found, by_label))
        tables.append(gaming_table(f"independence-gaming-{name}", where, found, by_label))
        plots.append(outcome_plot(f"independence-{name}", generator, scale, found, by_label))
        title = f"Reward, held-out verifier and true quality ({where})"
        plots.append(rise_plot(f"independence-gaming-{name}", title, own, labels))
        rows = [{"label": o.label} | o.row for o in found]
        frames.append(pd.DataFrame(rows).merge(course.drop(columns=["seeds", "stopped"]), on="label"))
    return write_part(f"{slug(scale)}-independence", tables, pd.concat(frames), plots, out)


def run_tests(found: Sequence[Outcome]) -> list[Test]:
    """The contrasts of TESTS whose sides both have true quality, in hundredths."""
    tests = []
    for one, other, counts in TESTS:
        tallies = []
        for side in (one, other):
            runs = [run for outcome in found if outcome.relation == side for run in outcome.runs]
            tallies.append(oracle_tally(runs, "score_policy") if runs else None)
        if tallies[0] is not None and tallies[1] is not None:
            tests.append((one, other, counts, contrast(tallies[0], tallies[1])))
    return tests


def overall_verdict(tests: Sequence[Test]) -> str:
    """The verdict on the claim, from the contrasts that count."""
    verdicts = [claim_verdict(difference) for *_, counts, difference in tests if counts]
    if "refuted here" in verdicts:
        return "refuted here"
    whole = len(verdicts) == sum(counts for *_, counts in TESTS)
    if not whole or any(verdict.startswith("not testable") for verdict in verdicts):
        return "not testable here"
    return "supported here" if set(verdicts) == {"supported here"} else "not supported"


def members(relation: str, found: Sequence[Outcome]) -> str:
    """The verifiers of a relation."""
    return " + ".join(outcome.label for outcome in found if outcome.relation == relation)


def test_table(name: str, where: str, found: Sequence[Outcome]) -> Table:
    """The contrasts: those that count, then the others."""
    tests = run_tests(found)
    shown = "; ".join(
        f"{gain_text(difference)} in true quality against {other} ({members(other, found)}): "
        f"{claim_verdict(difference)}"
        for _, other, counts, difference in tests
        if counts
    )
    conclusion = (
        f'"An independent verifier protects against gaming" is {overall_verdict(tests)} ({where}): '
        f"{members('other family', found) or 'no other family'}, {shown or 'without a verifier to compare with'}."
    )

    def across_seed(test: Test) -> Entry:
        _, lo, hi = (value / 100 for value in (0, test[3].wide_lo, test[3].wide_hi))
        return Entry(format_interval(lo, hi, 3), bold=interval_excludes(lo, hi, 0, test[3].prompts))

    return column_table(
        name=name,
        title=f"Verifiers of other families against others ({where})",
        columns={
            "trained with": lambda test: f"{test[0]} ({members(test[0], found)})",
            "against": lambda test: f"{test[1]} ({members(test[1], found)})",
            "prompts": lambda test: str(test[3].prompts),
            "difference": lambda test: (
                f"{test[3].difference / 100:+.3f} {format_interval(test[3].lo / 100, test[3].hi / 100, 3)}"
            ),
            "across-seed 95 % CI": across_seed,
            "p": lambda test: format_p_value(test[3].p),
            "verdict": lambda test: claim_verdict(test[3]) if test[2] else "-",
        },
        groups=[[test for test in tests if test[2] is counts] for counts in (True, False)],
        notes=[
            conclusion,
            "Difference: mean true quality (0 to 1) of the trained policies' greedy responses to the evaluation "
            "prompts, minus the other side's on the same prompts, with the 95 % interval over prompts, for these "
            "models; p tests 0 over prompts. Across-seed: the interval for other seeds and other prompts; the runs "
            "with all verifiers of a side are its seeds. Bold: it excludes 0.",
            "Only the first block was stated before the runs and has a verdict. There are few verifiers per relation: "
            "the interval describes other trainings, not other families.",
        ],
    )


def outcome_table(name: str, where: str, found: Sequence[Outcome], courses: Courses) -> Table:
    """One row per verifier: the results of training with it."""
    return column_table(
        name=name,
        title=f"Training with each verifier ({where}, judge: {found[0].judge})",
        columns={
            **{header: text for header, text in COLUMNS.items() if header != "generator"},
            "policy's gain in true quality": gain_entry,
            "win rate (%)": win_entry,
            "collapse by step": lambda o: str(courses[o.label]["collapse_steps"]),
            "stopped at": lambda o: courses[o.label]["stopped"] or "-",
        },
        groups=[found],
        notes=[
            f"Gain: true quality of the trained policy minus that of its untrained model. {SEEDS_NOTE}",
            "Its own quality: true quality of the verifier's own greedy responses, with the 95 % interval over "
            "prompts; if it is not recorded, the training of the verifier's checkpoint.",
            f"{COLLAPSE_NOTE} Stopped: the guard ended the training.",
        ],
    )


def gaming_table(name: str, where: str, found: Sequence[Outcome], courses: Courses) -> Table:
    """One row per verifier: the rises of reward and held-out verifier, and the change of quality meanwhile."""
    rises = {
        "reward's rise": ("rise_reward_beside", 2),
        "held-out's rise": ("rise_heldout", 2),
        "difference": ("rise_gap", 2),
        "true quality's rise": ("rise_quality", 3),
        "fall from the peak": ("fall", 3),
    }
    heldout = sort_names(run.heldout_checkpoint or "none" for outcome in found for run in outcome.runs)
    return column_table(
        name=name,
        title=f"The rise of the reward and of true quality ({where})",
        columns={
            "verifier": lambda o: o.label,
            "relation": lambda o: o.relation,
            **{header: partial(rise_text, courses, *measure) for header, measure in rises.items()},
            "gamed": lambda o: gamed(o, courses[o.label]),
        },
        groups=[found],
        notes=[
            f"Rise of the trained reward and of the likelihood under the held-out verifier ({', '.join(heldout)}), "
            f"from the start to the last block of {BLOCK} steps, at the steps that have both, in nats per token of "
            "each model, and their difference. A verifier that already finds the untrained model's responses likely "
            "has little room to rise, and tokens differ in size: compare signs, not sizes, between rows.",
            "Gamed: the interval of the reward's rise lies above 0, and that of the policy's gain in true quality on "
            "the evaluation prompts lies below 0 (yes), covers 0 (without gain) or lies above 0 (no); -: the reward's "
            "interval does not lie above 0.",
            "True quality's rise, and its fall from the peak to the end, are measured on the same completions sampled "
            "in training; the peak of each seed is the block in which the other seeds' mean is highest.",
            f"{BLOCKS_NOTE} Means over seeds with 95 % t intervals over seeds, [n/a] below {MIN_SEEDS}.",
        ],
    )


def rise_text(courses: Courses, name: str, decimals: int, outcome: Outcome) -> str:
    """A change over training with its interval over seeds."""
    return format_change(spread_of(courses[outcome.label], name), decimals)


def gamed(outcome: Outcome, course: Mapping[Any, Any]) -> str:
    """Whether the reward rose without true quality, by the intervals of both."""
    gain, (_, reward_lo, _) = outcome.gain, spread_of(course, "rise_reward_beside")
    if gain is None or isnan(gain.wide_lo) or isnan(reward_lo):
        return "n/a"
    if reward_lo <= 0:
        return "-"
    return "yes" if gain.wide_hi < 0 else "no" if gain.wide_lo > 0 else "without gain"


def outcome_plot(name: str, generator: str, scale: str, found: Sequence[Outcome], courses: Courses) -> Plot:
    """One row per verifier: the policy's gain, its win rate, and the rises of reward and held-out verifier."""
    rises = [
        Dot(o.label, *spread_of(courses[o.label], rise), o.style, hollow=hollow, below=below)
        for o in found
        for rise, hollow, below in (("rise_reward_beside", False, -0.15), ("rise_heldout", True, 0.15))
    ]
    panels = [*result_panels(found), Panel("rise in training (nats/token)", rises, 0)]
    block = Block(
        f"generator: {generator}, judge: {found[0].judge}", {o.label: o.label for o in found}, panels
    )
    figure = forest(
        f"Relation of the verifier to the generator (scale: {scale})",
        [block],
        relation_legend(o.relation for o in found) | RISES,
        hollow=("held-out verifier",),
        columns=4,
    )
    caption = (
        f"Training of {generator} at scale {scale} with verifiers of different relations to it. Left: true quality of "
        "the trained policy minus the untrained model's; middle: win rate; both with across-seed 95 % intervals. "
        "Right: how far the trained reward (filled) and the held-out verifier's likelihood of the same completions "
        "(hollow) rose, with 95 % t intervals over seeds, each in nats per token of its own model. A reward that rises "
        "while true quality does not is gamed."
    )
    return Plot(name, caption, figure)


INDEPENDENCE = FreeExperiment(
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
    show=show,
)
