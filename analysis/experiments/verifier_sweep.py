"""Verifiers from random weights up: how good a policy becomes, against how good its verifier is itself."""

from collections.abc import Iterator, Sequence
from math import isnan

import numpy as np
import pandas as pd

from analysis.experiments.base import Experiment, file_name
from analysis.experiments.published_sweeps import PUBLISHED_ACCURACY, PUBLISHED_QUALITY, PublishedSweep
from analysis.experiments.verifiers import (
    SEEDS_NOTE,
    VERIFIER_COLUMNS,
    GeneratorOutcomes,
    Outcome,
    OutcomeColumn,
    accuracy_views,
    gain_entry,
    gain_panel,
    own_quality,
    panel,
    quality_views,
    win_panel,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import RELATIONS, UNTRAINED, Plot
from analysis.figures.win_rates import TICKS, ceiling_legend, control_notes
from analysis.records.names import STATED, judge_label, plain_name
from analysis.stats.contrasts import Contrast, contrast, on_common_builds, split_builds
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.stats.regression import partial_correlation
from analysis.stats.seeds import MIN_SEEDS
from analysis.tables.cell_tables import CONTROL_COLUMNS, without_absent_controls
from analysis.tables.render import Entry, Estimate, Table, build_table

QUALITY_COLUMNS = (
    *VERIFIER_COLUMNS,
    OutcomeColumn(
        "policy's gain in true quality",
        gain_entry,
        f"Gain: true quality of the trained policy minus that of its untrained model. {SEEDS_NOTE}",
    ),
    OutcomeColumn(
        "win rate (%)",
        lambda one: Entry(
            one.win.text(1, ""),
            one.cell is not None and interval_excludes(*one.win[1:], 50, one.cell.win.scored, decimals=1),
        ),
    ),
    *CONTROL_COLUMNS,
)
"""The verifier and the result of training with it on instructions."""


def knowledge_effect(outcomes: Sequence[Outcome]) -> str:
    """Whether a verifier that knows more trains a better policy, with the verdict by the rule stated before the runs.

    The test is the partial correlation of gain and own quality over verifiers and builds, given the family and the
    share of the verifier's own responses that end by themselves. Random weights, ensembles and controls do not count.
    """
    points = pd.DataFrame(
        knowledge_points(outcomes), columns=["gain", "own", "same_family", "ends"], dtype=float
    )
    if len(points) < 3:
        return f"{len(points)} verifiers have known quality, too few for a partial correlation."
    own, gain, ends = (points[name].to_numpy() for name in ("own", "gain", "ends"))
    r, lo, hi = partial_correlation(own, gain, points[["same_family", "ends"]].to_numpy())
    verdict = "supported here" if lo > 0 else "refuted here" if hi < 0 else "undecided"
    if isnan(lo):
        verdict = "not testable here: too few verifiers, or their own quality does not vary"
    varied = "" if np.ptp(ends) else ", which does not vary"
    return (
        f'"A verifier that knows more trains a better policy" is {verdict}: over {len(points)} verifiers and builds, '
        f"the partial correlation of gain and own quality is {Estimate(r, lo, hi).text(2)}, given whether the "
        f"verifier is of the generator's family and the share of its responses that end by themselves "
        f"({min(ends):.2f} to {max(ends):.2f}{varied})."
    )


def knowledge_points(outcomes: Sequence[Outcome]) -> Iterator[tuple[float, float, bool, float]]:
    """By verifier and build of known quality: gain, own quality, same family, share of responses that end."""
    for one in outcomes:
        if one.is_control or one.relation in ("random weights", "ensemble"):
            continue
        after, before = (split_builds(scored) if scored else {} for scored in (one.after, one.before))
        for build in sorted(after.keys() & before.keys()):
            runs = [run for run in one.runs if run.build == build + 1]
            responses = [response for run in runs for response in run.verifier_responses or []]
            ends = float(np.mean([bool(response.finished) for response in responses])) if responses else 1.0
            same, own = one.relation in ("same family", "itself"), own_quality(runs).value
            if not isnan(own):
                yield after[build].rate - before[build].rate, own, same, ends


def ability(outcomes: Sequence[Outcome]) -> str:
    """The most able verifier compared with random weights, with the verdict by the rule stated before the runs."""
    able, chance = outcomes[-1], next((o for o in outcomes if o.relation == "random weights"), None)
    if chance is None or able is chance or able.is_control:
        return "No comparison of an able verifier with random weights."
    if able.after is None or chance.after is None:
        return "True quality was not measured, so there is no test."
    difference = contrast(*on_common_builds(able.after, chance.after))
    return (
        f'"A verifier must be able" is {claim_verdict(difference)}: {able.measure.name} with {able.label} minus that '
        f"with random weights is {able.measure.text(difference)}."
    )


def every_verifier(outcomes: Sequence[Outcome]) -> str:
    """With which verifiers, random weights left out, the interval of the change lies above 0, below 0, or is unknown.

    It gives no verdict: that of `analysis.claims` has the variance between builds, which these intervals leave out.
    """
    gains = {
        one.label: one.gain
        for one in outcomes
        if one.relation != "random weights" and not one.is_control and one.gain is not None
    }
    if not gains:
        return "No verifier except random weights."
    rose = [label for label, gain in gains.items() if gain.across_seeds_lo > 0]
    fell = [label for label, gain in gains.items() if gain.across_seeds_hi < 0]
    unknown = [label for label, gain in gains.items() if isnan(gain.across_seeds_lo)]
    below = f", below 0 with {', '.join(fell)}" if fell else ""
    few = f"; it is unknown with {', '.join(unknown)}: fewer than {MIN_SEEDS} seeds" if unknown else ""
    return (
        f"The interval of the change over prompts and seeds lies above 0 with {len(rose)} of {len(gains)} verifiers, "
        f"without random weights{below}{few}. The verdict on the claim, with the variance between builds, is in "
        "reproduction.md. Published: rises with eight of eight, without intervals."
    )


def claim_verdict(difference: Contrast) -> str:
    """The verdict on one difference, by the rule stated before the runs."""
    if isnan(difference.across_seeds_lo):
        return f"not testable: fewer than {MIN_SEEDS} runs per side"
    if difference.prompts < FEW_PROMPTS:
        return f"not testable: fewer than {FEW_PROMPTS} prompts"
    if difference.across_seeds_lo > 0:
        return "supported here"
    return "refuted here" if difference.across_seeds_hi < 0 else "not supported"


def outcome_table(view: GeneratorOutcomes, title: str, notes: Sequence[str] = ()) -> Table:
    """The results of one generator on instructions, one row per verifier."""
    where = f"({view.where}, judge: {judge_label(view.judge)})"
    columns = without_absent_controls(QUALITY_COLUMNS, view.outcomes)
    return build_table(
        file_name(view.scale, view.generator), f"{title} {where}", columns, [view.outcomes], notes
    )


def quality_table(view: GeneratorOutcomes) -> Iterator[Table]:
    """The results on instructions, one row per verifier, from the least able to the most able."""
    notes = [knowledge_effect(view.outcomes), ability(view.outcomes)]
    yield outcome_table(view, "Verifiers by their own capability", notes)


def accuracy_table(view: GeneratorOutcomes) -> Iterator[Table]:
    """The results on mathematics, one row per verifier, from the least able to the most able."""

    yield build_table(
        name=file_name(view.scale, view.generator),
        title=f"Verifiers by their own capability: pass@1 before and after ({view.where}, data: {data_names(view)})",
        columns=[
            *VERIFIER_COLUMNS,
            OutcomeColumn("prompts", lambda one: str(one.shares["prompts"])),
            OutcomeColumn(
                "left out",
                lambda one: f"{one.shares['no_answer']} + {one.shares['undecided']}",
                "Left out, counted over seeds: prompts without a gold answer + comparisons that were undecided on "
                "either side.",
            ),
            OutcomeColumn(
                "before (%)",
                lambda one: one.share("before").text(1, ""),
                "Before and after: pass@1 of one greedy response per prompt, with 95 % intervals over prompts.",
            ),
            OutcomeColumn("after (%)", lambda one: one.share("after").text(1, "")),
            OutcomeColumn("change", gain_entry, f"Change: in percentage points. {SEEDS_NOTE}"),
        ],
        groups=[view.outcomes],
        notes=[
            every_verifier(view.outcomes),
            f"{ability(view.outcomes)} The published sweep has no random weights.",
        ],
    )


def data_names(view: GeneratorOutcomes) -> str:
    """The data sets of the outcomes on mathematics."""
    return ", ".join(dict.fromkeys(plain_name(one.shares["data"]) for one in view.outcomes))


def sweep_plot(
    title: str, view: GeneratorOutcomes, panels: Sequence[Panel], published: PublishedSweep, caption: str
) -> Plot:
    """From the least able verifier to the most able, the panels; below, on separate axes, the published sweep.

    The first panel, the verifiers' own quality, is added to `panels`.
    """
    own = panel("verifier's own quality\n(0 to 1)", view.outcomes, lambda one: one.own)
    details = f"judge: {judge_label(view.judge)}" if view.judge else f"data: {data_names(view)}"
    ours = Block(f"Ours, {view.where}, {details}", view.rows, [own, *panels])
    drawn = {one.relation for one in view.outcomes} | set(published.frame()["relation"])
    legend = {name: style for name, style in RELATIONS.items() if name in drawn}
    legend |= ceiling_legend(view.controls) if view.judge else {"before training": UNTRAINED}
    figure = forest(title, [ours, published.block()], legend)
    caption = (
        f"Above, at scale {view.scale}: training of {view.generator} with each verifier, from random weights through "
        f"the least able to the most able one. Left: true quality (0 to 1) of the verifier's own responses, with its "
        f"interval over prompts; {caption}{control_notes(view.controls)} Below, on separate axes and at another scale, "
        f"the published sweep. {published.source} Markers: relation of the verifier to the generator; a number behind "
        f"its name is {STATED}."
    )
    return Plot(file_name(view.scale, view.generator), caption, figure)


def quality_plot(view: GeneratorOutcomes) -> Iterator[Plot]:
    """Own quality, gain and win rate by verifier."""
    panels = [gain_panel("policy's gain in\ntrue quality (-1 to 1)", view.outcomes), win_panel(view)]
    caption = f"middle and right: the result of training, with across-seed intervals; {TICKS}."
    yield sweep_plot("Verifiers by capability", view, panels, PUBLISHED_QUALITY, caption)


def accuracy_plot(view: GeneratorOutcomes) -> Iterator[Plot]:
    """Own quality, pass@1 and its change by verifier."""

    accuracy = [
        dot
        for one in view.outcomes
        for dot in (
            Dot(one.label, *one.share("before"), UNTRAINED, below=-0.15),
            Dot(one.label, *one.share("after"), RELATIONS[one.relation], below=0.15, seeds=one.seed_shares),
        )
    ]
    panels = [
        Panel("generator's pass@1 (%)", accuracy),
        gain_panel("its change (points)", view.outcomes),
    ]
    caption = (
        "middle: pass@1 before (gray) and after training, with 95 % intervals over prompts; right: the change, with "
        f"across-seed intervals; {TICKS}; dashed below: before training."
    )
    yield sweep_plot("Mathematics: verifiers by capability", view, panels, PUBLISHED_ACCURACY, caption)


def accuracy_frame(views: Sequence[GeneratorOutcomes]) -> pd.DataFrame:
    """One row per generator and verifier; `across_seeds` is the change in points with its across-seed interval."""
    return pd.DataFrame(
        [
            {"generator": view.generator, "label": one.label, "verifier": one.runs[0].verifier}
            | one.row
            | {name: value for name, value in one.shares.items() if name not in ("policy", "method")}
            | one.measure.across_seeds(one.gain).columns("across_seeds")
            for view in views
            for one in view.outcomes
        ]
    )


VERIFIER_SWEEP = Experiment(
    name="verifier_sweep",
    title="How able must a verifier be?",
    question=(
        "The same generator was trained with verifiers that know more and more, of its own family and of another. All "
        "of them end their answers, so that only knowledge can explain a gain. The test was stated before the runs: "
        "the partial correlation of the policies' gain with the verifier's own quality over all verifiers and builds, "
        "given the family and the share of responses that the verifier ends by itself. The claim is supported here if "
        "the 95 % interval lies above 0, refuted here if it lies below, else undecided. Random weights, a random "
        "reward and the truth are drawn beside it. In the published sweep random weights win 55.8 %."
    ),
    views=quality_views,
    tables=(quality_table, PUBLISHED_QUALITY.tables),
    figures=(quality_plot,),
    frame=lambda views: pd.DataFrame([one.row for view in views for one in view.outcomes]),
)

VERIFIER_SWEEP_MATH = Experiment(
    name="verifier_sweep_math",
    title="Mathematics: must the verifier be right?",
    question=(
        "The same generator was trained on problems with one right answer, by the likelihood that each of several "
        "verifiers gives to the whole response or to the answer alone, each with a table of its own; pass@1 is "
        "measured on greedy responses to other problems. In the published sweep training raises accuracy whichever "
        "verifier is used, even one worse at mathematics than the generator. "
        "Stated before the runs: the claim holds here if the 95 % interval of the change lies above 0 with every "
        "verifier except random weights; it is refuted here if any of them lies below 0. Its verdict is in "
        "reproduction.md, with the variance between builds in the intervals; those of the tables are over prompts and "
        "seeds. A second claim is that a verifier must be able: supported if the interval of pass@1 with the most "
        "able verifier minus that with random weights lies above 0, refuted if below, not supported if it covers 0."
    ),
    views=accuracy_views,
    tables=(accuracy_table, PUBLISHED_ACCURACY.tables),
    figures=(accuracy_plot,),
    frame=accuracy_frame,
)
