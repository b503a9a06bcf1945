"""The verifier sweep on mathematics: how often a policy is right, against how able its verifier is."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr

from analysis.experiments.base import FreeExperiment, column_table, group_by_generator
from analysis.experiments.verifier_sweep import (
    OWN_NOTE,
    PAPER,
    Found,
    published_frame,
    published_panel,
    published_table,
    rows_of,
    trend,
)
from analysis.experiments.verifiers import (
    COLUMNS,
    SEEDS_NOTE,
    Interval3,
    Outcome,
    accuracy_outcomes,
    across_seeds,
    against_random,
    claim_verdict,
    dots,
    gain_entry,
    gain_text,
    relation_legend,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import Plot, Style
from analysis.sections.base import NothingToShow, Part, write_part
from analysis.tables.accuracy import percent
from analysis.tables.render import Table, slug
from cme.records import RunRecord

START_PUBLISHED = 44.0  # pass@1 of Qwen2.5-Math-1.5B before training, from the same source
SOURCE_MATH = (
    f"{PAPER}; generator Qwen2.5-Math-1.5B, MATH-500 (100 problems), {START_PUBLISHED:.0f} % before training, one "
    "training each, no intervals. The scale, the models and the problems differ: compare orders, not sizes."
)
OLMO = "OLMo's own 0 % is a parsing failure of the source and is left out."


def show(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """Write the sweep on mathematics, and the published one. Raises NothingToShow without any graded run."""
    graded = [run for run in runs if run.accuracy is not None]
    if not graded:
        raise NothingToShow("none of the runs is graded")
    found = [accuracy_outcomes(own) for _, own in group_by_generator(graded)]
    title = "Published: MATH-500 pass@1 by verifier (the paper's scale, generator Qwen2.5-Math-1.5B)"
    columns = {"its own pass@1 (%)": "own", "generator's after training (%)": "after"}
    notes, published = [SOURCE_MATH, OLMO], published_math_frame()
    theirs = published_table("verifier-sweep-math-published", title, published, columns, notes, 0)
    frame = pd.DataFrame(
        [
            {"generator": o.generator, "verifier": o.label}
            | o.row
            | {name: value for name, value in o.shares.items() if name not in ("policy", "method")}
            | dict(zip(("any_seed", "any_seed_lo", "any_seed_hi"), across_seeds(o.gain), strict=True))
            for own in found
            for o in own
        ]
    )
    plots = [math_plot(own, scale, published) for own in found]
    tables = [math_table(found, scale), theirs]
    return write_part(f"{slug(scale)}-verifier-sweep-math", tables, frame, plots, out)


def math_table(found: Found, scale: str) -> Table:
    """One row per verifier, from the least able to the most able."""
    data = ", ".join(dict.fromkeys(str(o.shares["data"]) for own in found for o in own))
    return column_table(
        name=f"verifier-sweep-math-{slug(scale)}",
        title=f"Verifiers by their own capability: pass@1 before and after (scale: {scale}, data: {data})",
        columns={
            **COLUMNS,
            "prompts": lambda o: str(o.shares["prompts"]),
            "left out": lambda o: f"{o.shares['no_answer']} + {o.shares['undecided']}",
            "before (%)": lambda o: share_text(o, "before"),
            "after (%)": lambda o: share_text(o, "after"),
            "change": lambda o: gain_entry(o, 1, 1),
        },
        groups=found,
        notes=[
            *(f"{own[0].generator}: {whichever_verifier(own)}" for own in found),
            *(f"{own[0].generator}: {able_verifier(own)}" for own in found),
            *(f"{own[0].generator}: {trend(own, 'changes')}; {published_trend()}." for own in found),
            f"Its own quality: true quality (0 to 1, not pass@1) {OWN_NOTE}",
            "Before and after: pass@1 of one greedy response per prompt, with 95 % intervals over prompts. Left out, "
            "counted over seeds: prompts without a gold answer + comparisons that were undecided on either side.",
            f"Change: in percentage points. {SEEDS_NOTE}",
        ],
        once=("generator",),
    )


def share_text(outcome: Outcome, when: str) -> str:
    """Pass@1 before or after training, in percent with its interval."""
    shares = outcome.shares
    return (
        percent(shares[when], shares[f"{when}_lo"], shares[f"{when}_hi"]) if shares["prompts"] > 1 else "n/a"
    )


def whichever_verifier(outcomes: Sequence[Outcome]) -> str:
    """Whether accuracy rose with every verifier except random weights, by the rule stated before the runs."""
    trained = [o for o in outcomes if o.relation != "random weights"]
    verdicts = {o.label: claim_verdict(o.gain) for o in trained if o.gain is not None}
    if not verdicts:
        return "no verifier except random weights."
    rose = [label for label, verdict in verdicts.items() if verdict == "supported here"]
    fell = [label for label, verdict in verdicts.items() if verdict == "refuted here"]
    untestable = [verdict for verdict in verdicts.values() if verdict.startswith("not testable")]
    overall = "supported here" if len(rose) == len(verdicts) else "not supported"
    overall = "refuted here" if fell else untestable[0] if untestable else overall
    below = f"; its interval lies below 0 with {', '.join(fell)}" if fell else ""
    return (
        f'"accuracy rises whichever verifier is used" is {overall}: the interval of the change lies above 0 with '
        f"{len(rose)} of {len(verdicts)} verifiers, without random weights{below}. Published: rises with eight of "
        "eight, without intervals."
    )


def able_verifier(outcomes: Sequence[Outcome]) -> str:
    """The most able verifier compared with random weights, with the verdict."""
    able, _, difference = against_random(outcomes) or (None, None, None)
    if able is None or difference is None:
        return "no comparison of an able verifier with random weights."
    return (
        f'"a verifier must be able" is {claim_verdict(difference)}: pass@1 with {able.label} minus that with random '
        f"weights is {gain_text(difference, 1, 1)} points. The published sweep has no random weights."
    )


def published_trend() -> str:
    """The rank correlation in the published sweep."""
    known = published_math_frame().dropna(subset="own")
    correlation = spearmanr(known["own"], known["after"]).statistic
    return (
        f"of pass@1 after training and the verifier's own, published, over {len(known)}: {correlation:+.2f}"
    )


def math_plot(outcomes: Sequence[Outcome], scale: str, published: pd.DataFrame) -> Plot:
    """From the least able verifier to the most able: own quality, pass@1, its change; below, the published sweep."""
    data = ", ".join(dict.fromkeys(str(o.shares["data"]) for o in outcomes))
    generator = outcomes[0].generator
    before = Style("#767676", "o")

    def share(of: Outcome, when: str) -> Interval3:
        value, lo, hi = (100 * of.shares[f"{when}{end}"] for end in ("", "_lo", "_hi"))
        return value, lo, hi

    accuracy = [
        Dot(o.label, *share(o, when), style, hollow=when == "before", below=below)
        for o in outcomes
        for when, style, below in (("before", before, -0.15), ("after", o.style, 0.15))
    ]
    ours = [
        Panel("verifier's own quality\n(0 to 1)", dots(outcomes, lambda o: o.own)),
        Panel("generator's pass@1 (%)", accuracy),
        Panel("its change (points)", dots(outcomes, lambda o: across_seeds(o.gain)), 0),
    ]
    theirs = [
        published_panel(published, "own", "verifier's own pass@1 (%)"),
        published_panel(published, "after", "generator's pass@1 after (%)", START_PUBLISHED),
    ]
    title = "Published, the paper's scale: verifiers of Qwen2.5-Math-1.5B on MATH-500, no intervals"
    blocks = [
        Block(
            f"Ours, scale: {scale}, data: {data}, generator: {generator}",
            {o.label: o.label for o in outcomes},
            ours,
        ),
        Block(title, rows_of(published), theirs),
    ]
    legend = relation_legend([o.relation for o in outcomes] + list(published["relation"])) | {
        "before training": before
    }
    figure = forest("Mathematics: verifiers by capability", blocks, legend, hollow=("before training",))
    caption = (
        f"Above, at scale {scale} on {data}: training of {generator} with each verifier, from random weights through "
        "the least able to the most able one. Left: true quality (0 to 1, not pass@1) of the verifier's own responses; "
        "middle: pass@1 before (hollow) and after training, both with 95 % intervals over prompts; right: the change, "
        "with across-seed intervals. Below, on separate axes and at another scale, the published sweep; dashed: before "
        f"training. {SOURCE_MATH} {OLMO} Markers: relation of the verifier to the generator."
    )
    return Plot(f"verifier-sweep-math-{slug(scale)}-{slug(generator)}", caption, figure)


def published_math_frame() -> pd.DataFrame:
    """The published sweep on mathematics, from the least able verifier to the most able one, unknown ability first.

    `own` and `after` are pass@1 in percent of the verifier itself (NaN if the source failed to parse it) and of the
    generator trained with it.
    """
    frame = published_frame("verifier_sweep_math.csv", "Qwen/Qwen2.5-Math-1.5B")
    own = frame["verifier_math500_pass1_pct"].where(frame["note"].isna()).astype(float)
    frame = frame.assign(own=own, after=frame["generator_math500_pass1_pct"])
    return frame.sort_values("own", na_position="first", ignore_index=True)


VERIFIER_SWEEP_MATH = FreeExperiment(
    title="Mathematics: must the verifier be right?",
    question=(
        "The same generator was trained on problems with one right answer, by the likelihood that each of several "
        "verifiers gives to its answers; pass@1 is measured on greedy responses to other problems. In the published "
        "sweep training raises accuracy whichever verifier is used, even one worse at mathematics than the generator. "
        "Stated before the runs: the claim holds here if the across-seed 95 % interval of the change lies above 0 with "
        "every verifier except random weights; it is refuted here if any of them lies below 0, and not supported "
        "otherwise. A second claim is that a verifier must be able: supported if the interval of pass@1 with the most "
        "able verifier minus that with random weights lies above 0, refuted if below, not supported if it covers 0."
    ),
    show=show,
)
