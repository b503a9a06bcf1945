"""The paper's central claim put to the test: does a verifier of another family protect from gaming?"""

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments._blocks import BLOCK, COLLAPSE, HOW, spread_text
from analysis.experiments._gaming import courses, rise_plot, spread_of
from analysis.experiments._verifiers import (
    ANY_SEED,
    KINSHIP,
    Outcome,
    by_generator,
    hundredths,
    outcomes,
    own_columns,
    own_text,
    pooled,
    seeds_of,
    verdict,
)
from analysis.experiments.verifier_sweep import gain_entry, result_panels, win_entry
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.overview import Plot
from analysis.figures.style import Style
from analysis.records.names import sort_names
from analysis.sections.base import Part, write_part
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.metrics import MIN_SEEDS, interval_excludes
from analysis.tables.cells import row_of
from analysis.tables.render import Entry, Table, slug
from analysis.tables.win_rates import format_p_value
from cme.records import RunRecord

TITLE = "Independence: does a verifier of another family protect from gaming?"
INTRO = (
    "The paper holds that its signal cannot be gamed because the verifier is independent of the generator. The same "
    "generator was trained for twice the usual steps under verifiers that were made to know the same but differ in "
    "kinship, under itself, and under random weights. Stated before the runs: true quality of the policies trained "
    "under verifiers of other families, less that under the verifier of the same family (the test proper: equal "
    "knowledge), and less that under the untrained generator itself (which knows less too, so that kinship and "
    "knowledge cannot be told apart). Each is supported here if its 95 % interval over seeds and prompts lies above 0, "
    "refuted here if it lies below 0, and not supported if it covers 0. The claim is refuted here if either is, "
    "supported here if both are, and otherwise not supported."
)
TESTS = (
    ("other family", "same family", True),
    ("other family", "itself", True),
    ("ensemble", "same family", False),
    ("ensemble", "other family", False),
    ("other family", "random weights", False),
    ("same family", "itself", False),
)
"""Which kinships are held against each other, and whether the claim's verdict rests on it."""
RISES = {"trained reward": Style("#444444", "o", ()), "held-out verifier": Style("#444444", "o", ())}
Test = tuple[str, str, bool, Contrast]


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The tables and figures of one scale; the test comes first."""
    tables, plots, frames = [], [], []
    for generator, own in by_generator(runs):
        found = outcomes(own)
        order = {run.run_id: of.label for of in found for run in of.runs}
        course = courses([run for run in own if run.run_id in order], order)
        tables += [test_table(generator, found, scale), outcome_table(generator, found, course, scale)]
        tables.append(gaming_table(generator, found, course, scale))
        place = f"{slug(scale)}-{slug(generator)}"
        plots.append(outcome_plot(generator, found, course, scale))
        title = f"Reward, held-out verifier and true quality (scale: {scale}, generator: {generator})"
        styles = {of.label: of.style for of in found}
        plots.append(rise_plot(f"independence-gaming-{place}", title, own, order, styles))
        frames.append(outcome_frame(found).merge(course.drop(columns=["seeds", "stopped"]), on="label"))
    return write_part(f"{slug(scale)}-independence", tables, pd.concat(frames), plots, out)


def outcome_frame(found: Sequence[Outcome]) -> pd.DataFrame:
    """One row a verifier: kinship, own true quality, and its cell."""
    return pd.DataFrame(
        [
            {"label": of.label, "kinship": of.kin, "knowledge": of.knowledge}
            | own_columns(of.own)
            | dict[str, Any](row_of(of.cell))
            for of in found
        ]
    )


def tests_of(found: Sequence[Outcome]) -> list[Test]:
    """The contrasts of TESTS of which both sides are there and judged by the oracle, in hundredths of quality."""
    made = []
    for one, other, counts in TESTS:
        sides = [pooled([of for of in found if of.kin == kin]) for kin in (one, other)]
        if sides[0] is not None and sides[1] is not None:
            made.append((one, other, counts, contrast(sides[0], sides[1])))
    return made


def overall(tests: Sequence[Test]) -> str:
    """What the rule says of the claim: from the contrasts that count."""
    verdicts = [verdict(of) for *_, counts, of in tests if counts]
    if "refuted here" in verdicts:
        return "refuted here"
    if len(verdicts) < sum(counts for *_, counts in TESTS) or any(
        v.startswith("not testable") for v in verdicts
    ):
        return "not testable here"
    return "supported here" if set(verdicts) == {"supported here"} else "not supported"


def conclusion(generator: str, found: Sequence[Outcome], scale: str) -> str:
    """The verdict in a sentence, with its numbers."""
    tests = tests_of(found)
    shown = "; ".join(
        f"{hundredths(of)} in true quality against {against(other, found)}: {verdict(of)}"
        for _, other, counts, of in tests
        if counts
    )
    return (
        f"That independence of the verifier protects from gaming is {overall(tests)} (scale {scale}, generator "
        f"{generator}): {' + '.join(of.label for of in found if of.kin == 'other family') or 'no other family'}, "
        f"{shown or 'nothing to hold them against'}."
    )


def against(kin: str, found: Sequence[Outcome]) -> str:
    """A kinship with its verifiers."""
    return f"{kin} ({' + '.join(of.label for of in found if of.kin == kin)})"


def test_table(generator: str, found: Sequence[Outcome], scale: str) -> Table:
    """The contrasts: those that count, then the others."""
    tests = tests_of(found)
    groups = [
        [
            [
                Entry(against(one, found)),
                Entry(against(other, found)),
                Entry(str(of.prompts)),
                Entry(f"{of.difference / 100:+.3f} [{of.lo / 100:.3f}, {of.hi / 100:.3f}]"),
                Entry(
                    f"[{of.wide_lo / 100:.3f}, {of.wide_hi / 100:.3f}]" if not isnan(of.wide_lo) else "[n/a]",
                    bold=interval_excludes(of.wide_lo, of.wide_hi, 0, of.prompts),
                ),
                Entry(format_p_value(of.p)),
                Entry(verdict(of) if counts else "-"),
            ]
            for one, other, counts, of in tests
            if counts is wanted
        ]
        for wanted in (True, False)
    ]
    return Table(
        name=f"independence-test-{slug(scale)}-{slug(generator)}",
        title=f"Verifiers of other families against others (scale: {scale}, generator: {generator})",
        header=["trained under", "against", "prompts", "difference", "any seed", "p", "verdict"],
        groups=[group for group in groups if group],
        notes=[
            conclusion(generator, found, scale),
            "Difference: mean true quality (0 to 1) of the trained policies' greedy responses to the evaluation "
            "prompts, less the other side's on the same prompts, with the 95 % interval over prompts, for these "
            "models; p tests 0 over prompts. Any seed: its 95 % interval about other seeds and other prompts both, "
            "the runs of all verifiers of a side being its seeds. Bold: it excludes 0.",
            "Only the first block was stated before the runs and has a verdict. The verifiers of a kinship are few: "
            "the interval is about other trainings, not about other families.",
        ],
    )


def outcome_table(generator: str, found: Sequence[Outcome], course: pd.DataFrame, scale: str) -> Table:
    """A row a verifier: what came of training under it."""
    by_label = {row["label"]: row for row in course.to_dict("records")}
    rows = [
        [
            *(Entry(text) for text in (of.label, of.kin, own_text(of.own, of.knowledge), seeds_of(of.runs))),
            gain_entry(of),
            win_entry(of),
            Entry(str(by_label[of.label]["collapse_steps"])),
            Entry(by_label[of.label]["stopped"] or "-"),
        ]
        for of in found
    ]
    return Table(
        name=f"independence-{slug(scale)}-{slug(generator)}",
        title=(
            f"Training under each verifier (scale: {scale}, generator: {generator}, judge: {found[0].cell.judge})"
        ),
        header=[
            *(
                "verifier",
                "kinship",
                "its own quality",
                "seeds",
                "policy's gain in true quality",
                "win rate (%)",
            ),
            *("collapse by step", "stopped at"),
        ],
        groups=[rows],
        notes=[
            f"Gain: true quality of the trained policy less that of its untrained start. {ANY_SEED}",
            "Its own quality: true quality of the verifier's own greedy responses, with the 95 % interval over "
            "prompts; in words where it is not recorded.",
            f"{COLLAPSE} Stopped: the guard ended the training.",
        ],
    )


def gaming_table(generator: str, found: Sequence[Outcome], course: pd.DataFrame, scale: str) -> Table:
    """A row a verifier: rise of reward and of the held-out verifier, and what quality did meanwhile."""
    by_label = {row["label"]: row for row in course.to_dict("records")}

    def entry(row: Mapping[Any, Any], name: str) -> Entry:
        return Entry(spread_text(spread_of(row, name), 2 if name != "rise_quality" and name != "fall" else 3))

    names = ("rise_reward_beside", "rise_heldout", "rise_gap", "rise_quality", "fall")
    rows = [
        [
            *(Entry(text) for text in (of.label, of.kin)),
            *(entry(by_label[of.label], name) for name in names),
            Entry(gamed(of, by_label[of.label])),
        ]
        for of in found
    ]
    heldout = sort_names(run.heldout_checkpoint or "none" for of in found for run in of.runs)
    return Table(
        name=f"independence-gaming-{slug(scale)}-{slug(generator)}",
        title=f"What the reward rose by, and what it stood for (scale: {scale}, generator: {generator})",
        header=[
            *("verifier", "kinship", "reward's rise", "held-out's rise", "difference", "true quality's rise"),
            *("fall from the peak", "gamed"),
        ],
        groups=[rows],
        notes=[
            "Rise of the trained reward and of the likelihood under the held-out verifier "
            f"({', '.join(heldout)}), from the start to the last block of {BLOCK} steps, at the steps that have both, "
            "in nats per token of each model's own, and their difference. A verifier that finds the start's responses "
            "likely has little left to rise, and tokens differ in size: read signs, and not sizes, across rows.",
            "Gamed: the reward rose for certain while the policy's true quality on the evaluation prompts fell for "
            "certain (yes) or is not told from its start's (without gain); no: both rose; -: the reward is not known "
            "to have risen.",
            "True quality's rise, and its fall from the peak to the end, are of the same completions sampled in "
            "training; the peak of each seed is the block in which the other seeds' mean is highest.",
            f"{HOW} Means over seeds with 95 % t intervals over seeds, [n/a] below {MIN_SEEDS}.",
        ],
    )


def gamed(of: Outcome, row: Mapping[Any, Any]) -> str:
    """Whether the reward rose for certain without true quality, by the intervals of both."""
    if of.gain is None or isnan(of.gain.wide_lo) or isnan(spread_of(row, "rise_reward_beside")[1]):
        return "n/a"
    if spread_of(row, "rise_reward_beside")[1] <= 0:
        return "-"
    return "yes" if of.gain.wide_hi < 0 else "no" if of.gain.wide_lo > 0 else "without gain"


def outcome_plot(generator: str, found: Sequence[Outcome], course: pd.DataFrame, scale: str) -> Plot:
    """A row a verifier: the policy's gain, its win rate, and the rise of reward and held-out verifier."""
    by_label = {row["label"]: row for row in course.to_dict("records")}

    rises = [
        Dot(of.label, *spread_of(by_label[of.label], name), of.style, hollow=hollow, below=below)
        for of in found
        for name, hollow, below in (("rise_reward_beside", False, -0.15), ("rise_heldout", True, 0.15))
    ]
    block = Block(
        f"generator: {generator}, judge: {found[0].cell.judge}",
        [of.label for of in found],
        [
            *result_panels(found),
            Panel("rise in training (nats/token)", rises, at=0),
        ],
    )
    shown = sort_names((of.kin for of in found), tuple(KINSHIP))
    figure = forest(
        f"Kinship of verifier and generator (scale: {scale})",
        [block],
        {name: KINSHIP[name] for name in shown} | RISES,
        hollow=("held-out verifier",),
    )
    caption = (
        f"Training of {generator} at scale {scale} under verifiers of different kinship. Left: true quality of the "
        "trained policy less its start's; middle: win rate; both with 95 % intervals about other seeds and other "
        "prompts. Right: how far the trained reward (filled) and the held-out verifier's likelihood of the same "
        "completions (hollow) rose, 95 % t intervals over seeds, each in nats per token of its own model. A reward "
        "that rises while true quality does not is gamed."
    )
    return Plot(f"independence-{slug(scale)}-{slug(generator)}", caption, figure)
