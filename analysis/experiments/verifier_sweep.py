"""Verifiers from random weights up: how good a policy becomes, against how good its verifier is itself."""

from collections.abc import Iterator, Sequence
from math import isnan

import pandas as pd

from analysis.experiments.base import Experiment, paired_dots
from analysis.experiments.published_sweeps import PUBLISHED_ACCURACY, PUBLISHED_QUALITY, PublishedSweep
from analysis.experiments.verifier_tests import (
    count_gains,
    describe_ability_effect,
    describe_knowledge_effect,
)
from analysis.experiments.verifiers import (
    GeneratorOutcomes,
    VerifierOutcome,
    accuracy_views,
    gain_panel,
    outcome_panel,
    quality_views,
    win_panel,
)
from analysis.figures.forest import Block, Panel, forest
from analysis.figures.style import RELATIONS, UNTRAINED, Plot
from analysis.figures.win_rates import TICKS, ceiling_legend, control_notes
from analysis.records.builds import seed_names
from analysis.records.names import STATED, judge_label, plain_name
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.stats.seeds import MIN_SEEDS
from analysis.tables.cell_tables import CONTROL_COLUMNS, without_absent_controls
from analysis.tables.render import Column, Entry, Table, build_table


def gain_entry(one: VerifierOutcome) -> Entry:
    """The gain with its across-seed interval."""
    bold = one.change is not None and interval_excludes(*one.gain[1:], 0, one.change.prompts, one.decimals)
    return Entry(one.gain.text(one.decimals), bold)


OutcomeColumn = Column[VerifierOutcome]
SEEDS_NOTE = (
    f"In brackets: across-seed 95 % intervals (for other seeds and other prompts), [n/a] below {MIN_SEEDS} seeds. "
    f"Bold: the interval excludes no effect, on {FEW_PROMPTS} prompts or more."
)
VERIFIER_COLUMNS = (
    OutcomeColumn("verifier", lambda one: one.label),
    OutcomeColumn("relation", lambda one: one.relation),
    OutcomeColumn(
        "its own quality",
        lambda one: f"({one.knowledge})" if isnan(one.own.value) else one.own.text(3, ""),
        "Its own quality: true quality (0 to 1) of the verifier's own greedy responses to the evaluation prompts, with "
        "the 95 % interval over prompts; if the record does not have it, the training of the verifier's checkpoint, "
        "which then also gives the order.",
    ),
    OutcomeColumn("seeds", lambda one: seed_names(sorted(run.seed for run in one.runs))),
)
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


def outcome_table(view: GeneratorOutcomes, title: str, notes: Sequence[str] = ()) -> Table:
    """The results of one generator on instructions, one row per verifier."""
    return build_table(
        name=f"{view.scale} {view.generator}",
        title=f"{title} ({view.where}, judge: {judge_label(view.judge)})",
        columns=without_absent_controls(QUALITY_COLUMNS, view.outcomes),
        groups=[view.outcomes],
        notes=notes,
    )


def quality_table(view: GeneratorOutcomes) -> Iterator[Table]:
    """The results on instructions, one row per verifier, from the least able to the most able."""
    notes = [describe_knowledge_effect(view.outcomes), describe_ability_effect(view.outcomes)]
    yield outcome_table(view, "Verifiers by their own capability", notes)


def accuracy_table(view: GeneratorOutcomes) -> Iterator[Table]:
    """The results on mathematics, one row per verifier, from the least able to the most able."""
    yield build_table(
        name=f"{view.scale} {view.generator}",
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
            count_gains(view.outcomes),
            f"{describe_ability_effect(view.outcomes)} The published sweep has no random weights.",
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
    own = outcome_panel("verifier's own quality\n(0 to 1)", view.outcomes, lambda one: one.own)
    details = f"judge: {judge_label(view.judge)}" if view.judge else f"data: {data_names(view)}"
    ours = Block(f"Ours, {view.where}, {details}", view.rows, [own, *panels])
    legend = view.legend(also=published.frame()["relation"])
    legend |= ceiling_legend(view.controls) if view.judge else {"before training": UNTRAINED}
    figure = forest(title, [ours, published.block()], legend)
    caption = (
        f"Above, at scale {view.scale}: training of {view.generator} with each verifier, from random weights through "
        f"the least able to the most able one. Left: true quality (0 to 1) of the verifier's own responses, with its "
        f"interval over prompts; {caption}{control_notes(view.controls)} Below, on separate axes and at another scale, "
        f"the published sweep. {published.source} Markers: relation of the verifier to the generator; a number behind "
        f"its name is {STATED}."
    )
    return Plot(f"{view.scale} {view.generator}", caption, figure)


def quality_plot(view: GeneratorOutcomes) -> Iterator[Plot]:
    """Own quality, gain and win rate by verifier."""
    panels = [gain_panel("policy's gain in\ntrue quality (-1 to 1)", view.outcomes), win_panel(view)]
    caption = f"middle and right: the result of training, with across-seed intervals; {TICKS}."
    yield sweep_plot("Verifiers by capability", view, panels, PUBLISHED_QUALITY, caption)


def accuracy_plot(view: GeneratorOutcomes) -> Iterator[Plot]:
    """Own quality, pass@1 and its change by verifier."""
    pass_at_1 = []
    for one in view.outcomes:
        seeds = [100 * float(share) for share in one.shares["seed_after"].split()]
        styles = UNTRAINED, RELATIONS[one.relation]
        pass_at_1 += paired_dots(one.label, one.share("before"), one.share("after"), styles, seeds)
    panels = [
        Panel("generator's pass@1 (%)", pass_at_1),
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
            | one.gain.columns("across_seeds")
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
