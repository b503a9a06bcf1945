"""Verifiers from random weights up: how good a policy becomes, against how good its verifier is itself."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import isnan, nan
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import spearmanr

from analysis.experiments.base import FreeExperiment, column_table, group_by_generator
from analysis.experiments.verifiers import (
    COLUMNS,
    SEEDS_NOTE,
    Outcome,
    against_random,
    claim_verdict,
    dots,
    gain_entry,
    gain_text,
    quality_outcomes,
    relation_legend,
    result_panels,
    win_entry,
)
from analysis.experiments.verifiers import RELATIONS as STYLES
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import Plot
from analysis.records.published import read_published
from analysis.sections.base import Part, write_part
from analysis.tables.render import Table, slug
from cme.records import RunRecord

Found = Sequence[Sequence[Outcome]]
"""The outcomes of each generator, from the least able verifier to the most able one."""
PAPER = "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo"
SOURCE = (
    f"{PAPER}; generator Qwen2.5-0.5B, 1000 steps, judged by gpt-5.2, one training each, no intervals. The scale, the "
    "models and the judge differ: compare orders, not sizes."
)
PUBLISHED = ("verifier_sweep_quality.csv", "Qwen/Qwen2.5-0.5B")
"""File and generator of the published sweep."""
WIN_RATES = {
    "against the untrained model (%)": "win_rate_vs_base_pct",
    "against the instruct model (%)": "win_rate_vs_instruct_pct",
}
OWN_NOTE = (
    "of the verifier's own greedy responses to the evaluation prompts, with the 95 % interval over prompts; if the "
    "record does not have it, the training of the verifier's checkpoint, which then also gives the order."
)


def show(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """Write the sweep on instructions, and the published one."""
    found = [quality_outcomes(own) for _, own in group_by_generator(runs)]
    title = "Published: win rates by verifier (the paper's scale, generator Qwen2.5-0.5B, judge gpt-5.2)"
    published = published_table(
        "verifier-sweep-published", title, published_frame(*PUBLISHED), WIN_RATES, [SOURCE], 1
    )
    frame = pd.DataFrame([o.row for own in found for o in own])
    plots = [sweep_plot(own, scale) for own in found]
    tables = [sweep_table(found, scale), published]
    return write_part(f"{slug(scale)}-verifier-sweep", tables, frame, plots, out)


def sweep_plot(outcomes: Sequence[Outcome], scale: str) -> Plot:
    """From the least able verifier to the most able: own quality, gain, win rate; below, the published sweep."""
    published, generator = published_frame(*PUBLISHED), outcomes[0].generator
    quality = Panel("verifier's own quality\n(0 to 1)", dots(outcomes, lambda o: o.own))
    title = f"Ours, scale: {scale}, generator: {generator}, judge: {outcomes[0].judge}"
    ours = Block(title, {o.label: o.label for o in outcomes}, [quality, *result_panels(outcomes)])
    panels = [published_panel(published, c, f"win rate {name}", 50) for name, c in WIN_RATES.items()]
    title = "Published, the paper's scale: Qwen2.5-0.5B, judge gpt-5.2, no intervals"
    theirs = Block(title, rows_of(published), panels)
    legend = relation_legend([o.relation for o in outcomes] + list(published["relation"]))
    caption = (
        f"Above, at scale {scale}: training of {generator} with each verifier, from random weights through the least "
        "able to the most able one. Left: true quality (0 to 1) of the verifier's own responses, with its interval "
        "over prompts; middle and right: the result of training, with across-seed intervals. Below, on separate axes "
        f"and at another scale, the published sweep. {SOURCE} Markers: relation of the verifier to the generator."
    )
    figure = forest("Verifiers by capability", [ours, theirs], legend)
    return Plot(f"verifier-sweep-{slug(scale)}-{slug(generator)}", caption, figure)


def sweep_table(found: Found, scale: str) -> Table:
    """One row per verifier, from the least able to the most able."""
    return column_table(
        name=f"verifier-sweep-{slug(scale)}",
        title=f"Verifiers by their own capability (scale: {scale}, judge: {found[0][0].judge})",
        columns={
            **COLUMNS,
            "policy's gain in true quality": gain_entry,
            "win rate (%)": win_entry,
        },
        groups=found,
        notes=[
            *(f"{own[0].generator}: {trend(own, 'gains')}." for own in found),
            *(f"{own[0].generator}: {capability(own)}" for own in found),
            f"Its own quality: true quality (0 to 1) {OWN_NOTE}",
            f"Gain: true quality of the trained policy minus that of its untrained model. {SEEDS_NOTE}",
        ],
        once=("generator",),
    )


def trend(outcomes: Sequence[Outcome], what: str) -> str:
    """The rank correlation of the policies' gains with their verifiers' own quality."""
    known = [(o.own[0], o.gain.difference) for o in outcomes if o.gain is not None and not isnan(o.own[0])]
    number = len(known)
    if number < 3:
        return f"own quality is recorded for {number} verifiers, too few for a rank correlation with {what}"
    if min(map(len, map(set, zip(*known, strict=True)))) < 2:
        return f"all {number} verifiers have equal {what} or own quality, so there is no rank correlation"
    correlation = spearmanr(*zip(*known, strict=True)).statistic
    return f"over {number} verifiers, the rank correlation (Spearman) of {what} and own quality is {correlation:+.2f}"


def capability(outcomes: Sequence[Outcome]) -> str:
    """The most able verifier compared with random weights, with the verdict."""
    if (found := against_random(outcomes)) is None:
        return "no comparison of an able verifier with random weights."
    able, chance, difference = found
    text = (
        f"with random weights the win rate against the untrained model is {win_entry(chance).text} %, with the most "
        f"able verifier ({able.label}) {win_entry(able).text} %; published: 55.8 % and 70.0 %."
    )
    if difference is None:
        return f"{text} True quality was not measured, so there is no test."
    return (
        f'{text} "Capability matters" is {claim_verdict(difference)}: true quality with {able.label} minus that with '
        f"random weights is {gain_text(difference)}."
    )


def published_frame(file: str, generator: str) -> pd.DataFrame:
    """A published sweep with the relation of each verifier to its generator, a Qwen model."""
    frame = read_published(file)
    families = frame["verifier_family"].map({"random": "random weights", "qwen": "same family"})
    return frame.assign(
        relation=families.fillna("other family").where(frame["verifier"] != generator, "itself")
    )


def published_table(
    name: str, title: str, frame: pd.DataFrame, columns: dict[str, str], notes: Sequence[str], decimals: int
) -> Table:
    """A published sweep in full."""

    def number(column: str, row: Mapping[Any, Any]) -> str:
        return "n/a" if isnan(row[column]) else f"{row[column]:.{decimals}f}"

    names = {"verifier": itemgetter("verifier"), "relation": itemgetter("relation")}
    shown = {header: partial(number, column) for header, column in columns.items()}
    return column_table(name, title, {**names, **shown}, [frame.to_dict("records")], notes)


def published_panel(frame: pd.DataFrame, column: str, label: str, reference: float | None = None) -> Panel:
    """A published column without intervals, in the style of each verifier's relation."""
    columns = zip(frame["verifier"], frame[column].astype(float), frame["relation"], strict=True)
    return Panel(
        label, [Dot(name, value, nan, nan, STYLES[kind]) for name, value, kind in columns], reference
    )


def rows_of(frame: pd.DataFrame) -> dict[str, str]:
    """The rows of a published sweep."""
    return {verifier: verifier for verifier in frame["verifier"]}


VERIFIER_SWEEP = FreeExperiment(
    title="How able must a verifier be?",
    question=(
        "The same generator was trained with verifiers from random weights to one that knows more than any generator, "
        "of its own family and of another. If CME teaches what the verifier knows, policies gain with the verifier's "
        "own capability, and the result with random weights shows the worth of length and form alone. Stated before "
        "the runs: true quality with the most able verifier minus that with random weights; supported here if its "
        "across-seed 95 % interval lies above 0, refuted here if below, not supported if it covers 0. The rank "
        "correlation describes how gains order with capability in between. In the published sweep random weights win "
        "55.8 %."
    ),
    show=show,
)
