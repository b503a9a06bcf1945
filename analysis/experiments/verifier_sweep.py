"""Verifiers from random weights up: how good a policy becomes, against how good its verifier is itself."""

from collections.abc import Iterator, Sequence
from math import isnan

import pandas as pd
from scipy.stats import spearmanr

from analysis.experiments.base import Estimate, Experiment, build_table, file_name
from analysis.experiments.knowledge import knowledge_effect
from analysis.experiments.verifier_tables import (
    ACCURACY_CHANGE,
    OWN_QUALITY,
    PUBLISHED_ACCURACY,
    PUBLISHED_QUALITY,
    QUALITY_COLUMNS,
    RELATION,
    SEEDS,
    VERIFIER,
    OutcomeColumn,
    PublishedSweep,
    dots,
    gain_panel,
    relation_legend,
    win_entry,
    win_panel,
)
from analysis.experiments.verifiers import (
    CONTROLS,
    GeneratorOutcomes,
    Outcome,
    accuracy_views,
    claim_verdict,
    quality_views,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import UNTRAINED, Plot
from analysis.records.names import STATED, judge_label, plain_name
from analysis.stats.contrasts import Contrast, contrast
from analysis.tables.accuracy import percent
from analysis.tables.cells import on_common_builds
from analysis.tables.render import Table


def quality_table(view: GeneratorOutcomes) -> Iterator[Table]:
    """The results on instructions, one row per verifier, from the least able to the most able."""
    yield build_table(
        name=file_name(view.scale, view.generator),
        title=f"Verifiers by their own capability ({view.where}, judge: {judge_label(view.judge)})",
        columns=QUALITY_COLUMNS,
        groups=[view.outcomes],
        notes=[
            knowledge_effect(view.outcomes),
            f"{correlation(view.outcomes)}.",
            ability_of_quality(view.outcomes),
        ],
    )


def accuracy_table(view: GeneratorOutcomes) -> Iterator[Table]:
    """The results on mathematics, one row per verifier, from the least able to the most able."""
    yield build_table(
        name=file_name(view.scale, view.generator),
        title=(
            "Verifiers by their own capability: pass@1 before and after "
            f"({view.where}, data: {data_names(view.outcomes)})"
        ),
        columns=[
            VERIFIER,
            RELATION,
            OWN_QUALITY,
            SEEDS,
            OutcomeColumn("prompts", lambda one: str(one.shares["prompts"])),
            OutcomeColumn(
                "left out",
                lambda one: f"{one.shares['no_answer']} + {one.shares['undecided']}",
                "Left out, counted over seeds: prompts without a gold answer + comparisons that were undecided on "
                "either side.",
            ),
            OutcomeColumn(
                "before (%)",
                lambda one: share_text(one, "before"),
                "Before and after: pass@1 of one greedy response per prompt, with 95 % intervals over prompts.",
            ),
            OutcomeColumn("after (%)", lambda one: share_text(one, "after")),
            ACCURACY_CHANGE,
        ],
        groups=[view.outcomes],
        notes=[
            every_verifier(view.outcomes),
            f"{ability(view.outcomes)} The published sweep has no random weights.",
            f"{correlation(view.outcomes)}; {published_correlation()}.",
        ],
    )


def data_names(outcomes: Sequence[Outcome]) -> str:
    """The data sets of the outcomes on mathematics."""
    return ", ".join(dict.fromkeys(plain_name(one.shares["data"]) for one in outcomes))


def share_text(outcome: Outcome, when: str) -> str:
    """Pass@1 before or after training, in percent with its interval."""
    shares = outcome.shares
    return (
        percent(shares[when], shares[f"{when}_lo"], shares[f"{when}_hi"]) if shares["prompts"] > 1 else "n/a"
    )


def correlation(outcomes: Sequence[Outcome]) -> str:
    """The rank correlation of the policies' gains with their verifiers' own quality."""
    known = [
        (o.own.value, o.gain.difference)
        for o in outcomes
        if o.gain is not None and not isnan(o.own.value) and o.relation not in CONTROLS.values()
    ]
    number = len(known)
    if number < 3:
        return f"Own quality is recorded for {number} verifiers, too few for a rank correlation with gains"
    if min(map(len, map(set, zip(*known, strict=True)))) < 2:
        return f"All {number} verifiers have equal gains or own quality, so there is no rank correlation"
    rho = spearmanr(*zip(*known, strict=True)).statistic
    return f"Over {number} verifiers, the rank correlation (Spearman) of gains and own quality is {rho:+.2f}"


def published_correlation() -> str:
    """The rank correlation in the published sweep on mathematics."""
    own, after = PUBLISHED_ACCURACY.columns.values()
    known = PUBLISHED_ACCURACY.frame().dropna(subset=own)
    rho = spearmanr(known[own], known[after]).statistic
    return f"of pass@1 after training and the verifier's own, published, over {len(known)}: {rho:+.2f}"


def against_random(outcomes: Sequence[Outcome]) -> tuple[Outcome, Outcome, Contrast | None] | None:
    """The most able verifier, random weights, and their difference if it was measured; None without both of them."""
    able, chance = outcomes[-1], next((o for o in outcomes if o.relation == "random weights"), None)
    if chance is None or able is chance or able.relation in CONTROLS.values():
        return None
    if able.after is None or chance.after is None:
        return able, chance, None
    return able, chance, contrast(*on_common_builds(able.after, chance.after))


def ability(outcomes: Sequence[Outcome]) -> str:
    """The most able verifier compared with random weights, with the verdict."""
    able, _, difference = against_random(outcomes) or (None, None, None)
    if able is None:
        return "No comparison of an able verifier with random weights."
    if difference is None:
        return "True quality was not measured, so there is no test."
    measure = able.measure
    return (
        f'"A verifier must be able" is {claim_verdict(difference)}: {measure.name} with {able.label} minus that with '
        f"random weights is {measure.text(difference)}."
    )


def ability_of_quality(outcomes: Sequence[Outcome]) -> str:
    """The same on instructions, with the win rates next to the published ones."""
    if (compared := against_random(outcomes)) is None:
        return ability(outcomes)
    able, chance, _ = compared
    published = PUBLISHED_QUALITY.frame().set_index("verifier")["win_rate_vs_base_pct"]
    return (
        f"With random weights the win rate against the untrained model is {win_entry(chance).text} %, with the most "
        f"able verifier ({able.label}) {win_entry(able).text} %; published: {published.iloc[0]} % and "
        f"{published.max()} %. {ability(outcomes)}"
    )


def every_verifier(outcomes: Sequence[Outcome]) -> str:
    """Whether accuracy rose with every verifier except random weights, by the rule stated before the runs."""
    trained = [o for o in outcomes if o.relation not in ("random weights", *CONTROLS.values())]
    verdicts = {one.label: claim_verdict(one.gain) for one in trained if one.gain is not None}
    if not verdicts:
        return "No verifier except random weights."
    rose = [label for label, verdict in verdicts.items() if verdict == "supported here"]
    fell = [label for label, verdict in verdicts.items() if verdict == "refuted here"]
    untestable = [verdict for verdict in verdicts.values() if verdict.startswith("not testable")]
    overall = "supported here" if len(rose) == len(verdicts) else "not supported"
    overall = "refuted here" if fell else untestable[0] if untestable else overall
    below = f"; its interval lies below 0 with {', '.join(fell)}" if fell else ""
    return (
        f'"Accuracy rises whichever verifier is used" is {overall}: the interval of the change lies above 0 with '
        f"{len(rose)} of {len(verdicts)} verifiers, without random weights{below}. Published: rises with eight of "
        "eight, without intervals."
    )


def sweep_plot(
    title: str, view: GeneratorOutcomes, panels: Sequence[Panel], published: PublishedSweep, caption: str
) -> Plot:
    """From the least able verifier to the most able, the panels; below, on separate axes, the published sweep."""
    details = f", judge: {judge_label(view.judge)}" if view.judge else f", data: {data_names(view.outcomes)}"
    ours = Block(f"Ours, {view.where}{details}", view.rows, panels)
    drawn = [one.relation for one in view.outcomes] + list(published.frame()["relation"])
    legend = relation_legend(drawn) | ({} if view.judge else {"before training": UNTRAINED})
    figure = forest(title, [ours, published.block()], legend)
    caption = (
        f"Above, at scale {view.scale}: training of {view.generator} with each verifier, from random weights through "
        f"the least able to the most able one. Left: true quality (0 to 1) of the verifier's own responses, with its "
        f"interval over prompts; {caption} Below, on separate axes and at another scale, the published sweep. "
        f"{published.source} Markers: relation of the verifier to the generator; a number behind its name is {STATED}."
    )
    return Plot(file_name(view.scale, view.generator), caption, figure)


def own_panel(outcomes: Sequence[Outcome]) -> Panel:
    """The verifiers' own quality."""
    return Panel("verifier's own quality\n(0 to 1)", dots(outcomes, lambda one: one.own))


def quality_plot(view: GeneratorOutcomes) -> Iterator[Plot]:
    """Own quality, gain and win rate by verifier."""
    panels = [
        own_panel(view.outcomes),
        gain_panel("policy's gain in\ntrue quality (-1 to 1)", view.outcomes),
        win_panel(view.outcomes),
    ]
    caption = "middle and right: the result of training, with across-seed intervals."
    yield sweep_plot("Verifiers by capability", view, panels, PUBLISHED_QUALITY, caption)


def accuracy_plot(view: GeneratorOutcomes) -> Iterator[Plot]:
    """Own quality, pass@1 and its change by verifier."""

    def share(one: Outcome, when: str) -> Estimate:
        return Estimate(*(one.shares[f"{when}{end}"] for end in ("", "_lo", "_hi"))).percent

    accuracy = [
        Dot(one.label, *share(one, when), style, below=below)
        for one in view.outcomes
        for when, style, below in (("before", UNTRAINED, -0.15), ("after", one.style, 0.15))
    ]
    panels = [
        own_panel(view.outcomes),
        Panel("generator's pass@1 (%)", accuracy),
        gain_panel("its change (points)", view.outcomes),
    ]
    caption = (
        "middle: pass@1 before (gray) and after training, with 95 % intervals over prompts; right: the change, with "
        "across-seed intervals; dashed below: before training."
    )
    yield sweep_plot("Mathematics: verifiers by capability", view, panels, PUBLISHED_ACCURACY, caption)


def quality_frame(views: Sequence[GeneratorOutcomes]) -> pd.DataFrame:
    """One row per generator and verifier."""
    return pd.DataFrame([one.row for view in views for one in view.outcomes])


def accuracy_frame(views: Sequence[GeneratorOutcomes]) -> pd.DataFrame:
    """One row per generator and verifier; `across_seeds` is the change in points with its across-seed interval."""
    names = ("across_seeds", "across_seeds_lo", "across_seeds_hi")
    return pd.DataFrame(
        [
            {"generator": view.generator, "label": one.label, "verifier": one.runs[0].verifier}
            | one.row
            | {name: value for name, value in one.shares.items() if name not in ("policy", "method")}
            | dict(zip(names, one.measure.across_seeds(one.gain), strict=True))
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
    tables=(quality_table, PUBLISHED_QUALITY.table),
    figures=(quality_plot,),
    frame=quality_frame,
)

VERIFIER_SWEEP_MATH = Experiment(
    name="verifier_sweep_math",
    title="Mathematics: must the verifier be right?",
    question=(
        "The same generator was trained on problems with one right answer, by the likelihood that each of several "
        "verifiers gives to the whole response or to the answer alone, each with a table of its own; pass@1 is "
        "measured on greedy responses to other problems. In the published sweep training raises accuracy whichever "
        "verifier is used, even one worse at mathematics than the generator. "
        "Stated before the runs: the claim holds here if the across-seed 95 % interval of the change lies above 0 with "
        "every verifier except random weights; it is refuted here if any of them lies below 0, and not supported "
        "otherwise. A second claim is that a verifier must be able: supported if the interval of pass@1 with the most "
        "able verifier minus that with random weights lies above 0, refuted if below, not supported if it covers 0."
    ),
    views=accuracy_views,
    tables=(accuracy_table, PUBLISHED_ACCURACY.table),
    figures=(accuracy_plot,),
    frame=accuracy_frame,
)
