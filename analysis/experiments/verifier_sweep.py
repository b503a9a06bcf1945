"""Verifiers from random weights up: what the policy gains against what its verifier knows itself."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments._verifiers import (
    ANY_SEED,
    KINSHIP,
    Outcome,
    by_generator,
    hundredths,
    outcomes,
    own_columns,
    own_text,
    seeds_of,
    verdict,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.overview import Plot
from analysis.records.names import sort_names
from analysis.sections.base import Part, write_part
from analysis.stats.contrasts import contrast
from analysis.stats.metrics import interval_excludes
from analysis.tables.cells import row_of
from analysis.tables.render import Entry, Table, slug
from analysis.tables.win_rates import format_interval, format_percent
from cme.records import RunRecord
from cme.runtime import shipped

PUBLISHED = shipped.PUBLISHED / "verifier_sweep_quality.csv"
SOURCE = (
    "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo; generator Qwen2.5-0.5B, 1000 "
    "steps, judged by gpt-5.2, one training each, no intervals. Another scale, other models, another judge: compare "
    "orders, not sizes."
)
TITLE = "How able must a verifier be?"
INTRO = (
    "The same generator was trained under verifiers from random weights up to one that knows more than any generator, "
    "of its own family and of another. If CME teaches what the verifier knows, policies gain with the verifier's own "
    "capability, and what random weights reach is what length and form alone are worth. Stated before the runs: true "
    "quality under the most able verifier less that under random weights; supported here if its 95 % interval over "
    "seeds and prompts lies above 0, refuted here if below, not supported if it covers 0. How gains order with "
    "capability in between is described by their rank correlation. In the published sweep random weights win 55.8 %."
)


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The table and figures of one scale, and the published sweep."""
    found = [(generator, outcomes(own)) for generator, own in by_generator(runs)]
    tables = [sweep_table(found, scale), published_table()]
    plots = [sweep_plot(generator, own, scale) for generator, own in found]
    return write_part(f"{slug(scale)}-verifier-sweep", tables, sweep_frame(found), plots, out)


def sweep_frame(found: Sequence[tuple[str, Sequence[Outcome]]]) -> pd.DataFrame:
    """One row a verifier: kinship, own true quality, and its cell."""
    return pd.DataFrame(
        [
            {"kinship": of.kin, "knowledge": of.knowledge}
            | own_columns(of.own)
            | dict[str, Any](row_of(of.cell))
            for _, own in found
            for of in own
        ]
    )


def sweep_table(found: Sequence[tuple[str, Sequence[Outcome]]], scale: str) -> Table:
    """A row a verifier, from the least able to the most able."""
    groups = []
    for generator, own in found:
        rows: list[list[Entry]] = []
        for of in own:
            names = [
                "" if rows else generator,
                of.label,
                of.kin,
                own_text(of.own, of.knowledge),
                seeds_of(of.runs),
            ]
            rows.append([*map(Entry, names), gain_entry(of), win_entry(of)])
        groups.append(rows)
    judge = found[0][1][0].cell.judge
    return Table(
        name=f"verifier-sweep-{slug(scale)}",
        title=f"Verifiers by their own capability (scale: {scale}, judge: {judge})",
        header=[
            *("generator", "verifier", "kinship", "its own quality", "seeds"),
            *("policy's gain in true quality", "win rate (%)"),
        ],
        groups=groups,
        notes=[
            *(trend(generator, own) for generator, own in found),
            *(against_random(generator, own) for generator, own in found),
            "Its own quality: true quality (0 to 1) of the verifier's own greedy responses to the evaluation prompts, "
            "with the 95 % interval over prompts; in words, and in the order of what it was made to know, where the "
            "record does not have it.",
            f"Gain: true quality of the trained policy less that of its untrained start. {ANY_SEED}",
        ],
    )


def gain_entry(of: Outcome) -> Entry:
    """The policies' gain in true quality with its interval for any seed."""
    if of.gain is None:
        return Entry("n/a")
    return Entry(
        hundredths(of.gain), bold=interval_excludes(of.gain.wide_lo, of.gain.wide_hi, 0, of.gain.prompts)
    )


def win_entry(of: Outcome) -> Entry:
    """The win rate with its interval for any seed."""
    win, seeds = of.cell.win, of.cell.seeds
    return Entry(
        f"{format_percent(seeds.mean)} {format_interval(seeds.wide_lo, seeds.wide_hi)}",
        bold=interval_excludes(seeds.wide_lo, seeds.wide_hi, 50, win.scored),
    )


def trend(generator: str, own: Sequence[Outcome]) -> str:
    """How the gains of one generator's policies order with their verifiers' own quality, in a sentence."""
    known = [(of.own[0], of.gain.difference) for of in own if of.gain is not None and not isnan(of.own[0])]
    if len(known) < 3:
        return (
            f"{generator}: own quality is recorded of {len(known)} verifiers, too few to order gains by it."
        )
    ranks = pd.DataFrame(known).rank()
    return (
        f"{generator}: over {len(known)} verifiers, gains and the verifier's own quality have a rank correlation "
        f"(Spearman) of {ranks[0].corr(ranks[1]):+.2f}."
    )


def against_random(generator: str, own: Sequence[Outcome]) -> str:
    """The most able verifier held against random weights, with the verdict, in a sentence."""
    chance = next((of for of in own if of.kin == "random weights"), None)
    able = own[-1]
    if chance is None or able is chance:
        return f"{generator}: no random weights and an able verifier to hold against each other."
    text = (
        f"{generator}: random weights win {win_entry(chance).text} % against the start, the most able verifier "
        f"({able.label}) {win_entry(able).text} %; the published random weights 55.8 %, its most able verifier 70.0 %."
    )
    if able.policies is None or chance.policies is None:
        return f"{text} No true quality to test by."
    of = contrast(able.policies, chance.policies)
    return (
        f"{text} That capability counts is {verdict(of)}: true quality under {able.label} less that under random "
        f"weights is {hundredths(of)}."
    )


def result_panels(own: Sequence[Outcome]) -> tuple[Panel, Panel]:
    """The policies' gains in true quality and their win rates, both with intervals for any seed."""
    gains = [
        Dot(of.label, of.gain.difference / 100, of.gain.wide_lo / 100, of.gain.wide_hi / 100, of.style)
        for of in own
        if of.gain is not None
    ]
    wins = [
        Dot(of.label, of.cell.seeds.mean, of.cell.seeds.wide_lo, of.cell.seeds.wide_hi, of.style)
        for of in own
    ]
    return (
        Panel("policy's gain in true quality", gains, at=0),
        Panel("win rate against the start (%)", wins, at=50),
    )


def sweep_plot(generator: str, own: Sequence[Outcome], scale: str) -> Plot:
    """Verifiers from the least able to the most able: own quality, policy's gain, win rate; then the published."""
    rows = [of.label for of in own]
    ours = Block(
        f"Ours, scale: {scale}, generator: {generator}, judge: {own[0].cell.judge}",
        rows,
        [
            Panel("verifier's own quality (0 to 1)", [Dot(of.label, *of.own, of.style) for of in own]),
            *result_panels(own),
        ],
    )
    there = published_frame()
    kin = there["kinship"].map(KINSHIP)
    panels = [
        Panel(
            f"win rate against the {other} (%)",
            [
                Dot(name, value, float("nan"), float("nan"), style)
                for name, value, style in zip(there["verifier"], there[column], kin, strict=True)
            ],
            at=50,
        )
        for other, column in (
            ("start", "win_rate_vs_base_pct"),
            ("instruct model", "win_rate_vs_instruct_pct"),
        )
    ]
    published = Block(
        "Published, the paper's scale: Qwen2.5-0.5B, judge gpt-5.2, no intervals",
        list(there["verifier"]),
        panels,
    )
    shown = sort_names([of.kin for of in own] + list(there["kinship"]), tuple(KINSHIP))
    figure = forest("Verifiers by capability", [ours, published], {name: KINSHIP[name] for name in shown})
    caption = (
        f"Above, at scale {scale}: training of {generator} under each verifier, from random weights through the least "
        "able to the most able one. Left: true quality (0 to 1) of the verifier's own responses, its interval over "
        "prompts; middle and right: what came of training, intervals about other seeds and other prompts both. "
        f"Below, on axes of its own and at another scale, the published sweep. {SOURCE} Markers: kinship of verifier "
        "and generator."
    )
    return Plot(f"verifier-sweep-{slug(scale)}-{slug(generator)}", caption, figure)


def published_frame() -> pd.DataFrame:
    """The published sweep in its order, with each verifier's kinship to its generator, a Qwen."""
    frame = pd.read_csv(PUBLISHED)
    kin = {"random": "random weights", "qwen": "same family"}
    frame["kinship"] = frame["verifier_family"].map(lambda family: kin.get(family, "other family"))
    frame.loc[frame["verifier"] == "Qwen/Qwen2.5-0.5B", "kinship"] = "itself"
    return frame


def published_table() -> Table:
    """The published sweep in full."""
    rows = [
        [
            Entry(str(row["verifier"])),
            Entry(str(row["kinship"])),
            Entry(format_percent(row["win_rate_vs_base_pct"])),
            Entry(format_percent(row["win_rate_vs_instruct_pct"])),
        ]
        for row in published_frame().to_dict("records")
    ]
    return Table(
        name="verifier-sweep-published",
        title="Published: win rates by verifier (the paper's scale, generator Qwen2.5-0.5B, judge gpt-5.2)",
        header=["verifier", "kinship", "against the start (%)", "against the instruct model (%)"],
        groups=[rows],
        notes=[SOURCE],
    )
