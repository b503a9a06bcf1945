"""The verifier sweep on mathematics: how right a policy becomes against how able its verifier is."""

from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path

import pandas as pd

from analysis.experiments._arms import Arm, arms
from analysis.experiments._verifiers import (
    ANY_SEED,
    KINSHIP,
    by_generator,
    own_columns,
    own_text,
    seeds_of,
    verdict,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.overview import Plot
from analysis.figures.style import Style
from analysis.records.names import sort_names
from analysis.records.published import read_published
from analysis.sections.accuracy import percent
from analysis.sections.base import NothingToShow, Part, write_part
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.metrics import interval_excludes
from analysis.tables.render import Entry, Table, slug
from analysis.tables.win_rates import format_interval
from cme.records import RunRecord

START_PUBLISHED = 44.0  # pass@1 of Qwen2.5-Math-1.5B before training, from the same source
SOURCE = (
    "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo; generator Qwen2.5-Math-1.5B, "
    f"MATH-500 (100 problems), {START_PUBLISHED:.0f} % before training, one training each, no intervals. Another "
    "scale, other models, other problems: compare orders, not sizes."
)
OLMO = "OLMo's own 0 % is a parsing failure of the source and is left out."
TITLE = "Mathematics: must the verifier be right?"
INTRO = (
    "The same generator was trained on problems with one right answer, by the likelihood that each of several "
    "verifiers gives to its answers; pass@1 is of greedy responses to other problems. The published sweep says that "
    "training raises accuracy whichever verifier is used, even one worse at mathematics than the generator. Stated "
    "before the runs: that holds here if the 95 % interval of the change, over seeds and problems, lies above 0 under "
    "every verifier but random weights; it is refuted here if any of these lies below 0, and not supported otherwise. "
    "And to be right, a verifier must be able: supported if pass@1 under the most able one exceeds that under random "
    "weights for certain, refuted if it falls short of it, not supported if the interval covers 0."
)
BEFORE = "before training"
START = Style("#767676", "o", ())


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The table and figures of one scale, and the published sweep. Raises NothingToShow without any graded run."""
    measured = [run for run in runs if run.accuracy is not None]
    if not measured:
        raise NothingToShow("none of the runs is graded")
    found = [(generator, arms(own)) for generator, own in by_generator(measured)]
    tables = [sweep_table(found, scale), published_table()]
    plots = [sweep_plot(generator, own, scale) for generator, own in found]
    return write_part(f"{slug(scale)}-verifier-sweep-math", tables, sweep_frame(found), plots, out)


def sweep_frame(found: Sequence[tuple[str, Sequence[Arm]]]) -> pd.DataFrame:
    """One row a verifier: kinship, own true quality, pass@1 (shares), the change for any seed (points)."""
    return pd.DataFrame(
        [
            {"generator": generator, "verifier": of.label, "kinship": of.kin, "knowledge": of.knowledge}
            | own_columns(of.own)
            | {name: value for name, value in of.shares.items() if name not in ("policy", "method")}
            | dict(zip(("any_seed", "any_seed_lo", "any_seed_hi"), wide(of.change), strict=True))
            for generator, own in found
            for of in own
        ]
    )


def wide(of: Contrast | None) -> tuple[float, float, float]:
    """A difference in points and its interval about other seeds and prompts; NaN without any."""
    return (nan, nan, nan) if of is None else (of.difference, of.wide_lo, of.wide_hi)


def points(of: Contrast | None) -> str:
    """A difference in points with its interval about other seeds and prompts."""
    return "n/a" if of is None else f"{of.difference:+.1f} {format_interval(of.wide_lo, of.wide_hi)}"


def sweep_table(found: Sequence[tuple[str, Sequence[Arm]]], scale: str) -> Table:
    """A row a verifier, from the least able to the most able."""
    groups = []
    for generator, own in found:
        rows: list[list[Entry]] = []
        for of in own:
            texts = [
                "" if rows else generator,
                of.label,
                of.kin,
                own_text(of.own, of.knowledge),
                seeds_of(of.runs),
            ]
            texts += [str(of.shares["prompts"]), f"{of.shares['no_answer']} + {of.shares['undecided']}"]
            texts += [share_text(of, "before"), share_text(of, "after")]
            bold = of.change is not None and interval_excludes(
                of.change.wide_lo, of.change.wide_hi, 0, of.change.prompts
            )
            rows.append([*map(Entry, texts), Entry(points(of.change), bold)])
        groups.append(rows)
    data = ", ".join(dict.fromkeys(str(of.shares["data"]) for _, own in found for of in own))
    return Table(
        name=f"verifier-sweep-math-{slug(scale)}",
        title=f"Verifiers by their own capability: pass@1 before and after (scale: {scale}, data: {data})",
        header=[
            *("generator", "verifier", "kinship", "its own quality", "seeds", "prompts", "left out"),
            *("before (%)", "after (%)", "change"),
        ],
        groups=groups,
        notes=[
            *(whichever(generator, own) for generator, own in found),
            *(against_random(generator, own) for generator, own in found),
            *(trend(generator, own) for generator, own in found),
            "Its own quality: true quality (0 to 1, not pass@1) of the verifier's own greedy responses to the "
            "evaluation prompts, with the 95 % interval over prompts; in words, and in the order of what it was made "
            "to know, where the record does not have it.",
            "Before and after: pass@1 of one greedy response a prompt, with 95 % intervals over prompts. Left out, "
            "counted over seeds: prompts without a gold answer + comparisons that were undecided on either side.",
            f"Change: in percentage points. {ANY_SEED}",
        ],
    )


def share_text(of: Arm, when: str) -> str:
    """Pass@1 before or after, in percent with its interval."""
    row = of.shares
    return percent(row[when], row[f"{when}_lo"], row[f"{when}_hi"]) if row["prompts"] > 1 else "n/a"


def whichever(generator: str, own: Sequence[Arm]) -> str:
    """Whether accuracy rose under every verifier but random weights, by the rule stated before the runs."""
    said = {
        of.label: verdict(of.change) for of in own if of.kin != "random weights" and of.change is not None
    }
    if not said:
        return f"{generator}: no verifier but random weights."
    rose = [label for label, word in said.items() if word == "supported here"]
    fell = [label for label, word in said.items() if word == "refuted here"]
    untestable = [word for word in said.values() if word.startswith("not testable")]
    whole = (
        "refuted here"
        if fell
        else untestable[0]
        if untestable
        else "supported here"
        if len(rose) == len(said)
        else "not supported"
    )
    below = f"; it falls under {', '.join(fell)}" if fell else ""
    return (
        f"{generator}: that accuracy rises whichever verifier is used is {whole}: it rises for certain under "
        f"{len(rose)} of {len(said)} verifiers, random weights apart{below}. Published: under eight of eight, without "
        "intervals."
    )


def against_random(generator: str, own: Sequence[Arm]) -> str:
    """The most able verifier held against random weights, with the verdict, in a sentence."""
    chance = next((of for of in own if of.kin == "random weights"), None)
    able = own[-1]
    if chance is None or able is chance or chance.after is None or able.after is None:
        return f"{generator}: no random weights and an able verifier to hold against each other."
    of = contrast(able.after, chance.after)
    return (
        f"{generator}: that a verifier must be able is {verdict(of)}: pass@1 under {able.label} less that under random "
        f"weights is {points(of)} points. The published sweep has no random weights."
    )


def trend(generator: str, own: Sequence[Arm]) -> str:
    """How changes order with the verifiers' own quality, and how the published ones do, in a sentence."""
    known = [
        (of.own[0], of.change.difference) for of in own if of.change is not None and not isnan(of.own[0])
    ]
    there = published_frame().dropna(subset="own")
    theirs = f"published, over {len(there)}: {spearman(there['own'], there['after']):+.2f}"
    if len(known) < 3:
        return (
            f"{generator}: own quality is recorded of {len(known)} verifiers, too few to order changes by it; "
            f"rank correlation (Spearman) of pass@1 after with the verifier's own, {theirs}."
        )
    frame = pd.DataFrame(known)
    return (
        f"{generator}: over {len(known)} verifiers, changes and the verifier's own quality have a rank correlation "
        f"(Spearman) of {spearman(frame[0], frame[1]):+.2f}; pass@1 after and the verifier's own, {theirs}."
    )


def spearman(one: "pd.Series[float]", other: "pd.Series[float]") -> float:
    """Spearman's rank correlation."""
    return float(one.rank().corr(other.rank()))


def sweep_plot(generator: str, own: Sequence[Arm], scale: str) -> Plot:
    """From the least able verifier to the most able: own quality, pass@1, its change; below, the published sweep."""
    data = ", ".join(dict.fromkeys(str(of.shares["data"]) for of in own))
    accuracy = [
        Dot(of.label, *in_percent(of, when), style, hollow=when == "before", below=below)
        for of in own
        for when, style, below in (("before", START, -0.15), ("after", of.style, 0.15))
    ]
    ours = Block(
        f"Ours, scale: {scale}, data: {data}, generator: {generator}",
        [of.label for of in own],
        [
            Panel("verifier's own quality (0 to 1)", [Dot(of.label, *of.own, of.style) for of in own]),
            Panel("generator's pass@1 (%)", accuracy),
            Panel("its change (points)", [Dot(of.label, *wide(of.change), of.style) for of in own], at=0),
        ],
    )
    there = published_frame()
    theirs = Block(
        "Published, the paper's scale: verifiers of Qwen2.5-Math-1.5B on MATH-500, no intervals",
        list(there["verifier"]),
        [
            Panel("verifier's own pass@1 (%)", published_dots(there, "own")),
            Panel("generator's pass@1 after (%)", published_dots(there, "after"), at=START_PUBLISHED),
        ],
    )
    kinds = sort_names([of.kin for of in own] + list(there["kinship"]), tuple(KINSHIP))
    legend = {name: KINSHIP[name] for name in kinds} | {BEFORE: START}
    figure = forest("Mathematics: verifiers by capability", [ours, theirs], legend, hollow=(BEFORE,))
    caption = (
        f"Above, at scale {scale} on {data}: training of {generator} under each verifier, from random weights through "
        "the least able to the most able one. Left: true quality (0 to 1, not pass@1) of the verifier's own responses; "
        "middle: pass@1 before (hollow) and after training, both with 95 % intervals over prompts; right: the change, "
        "intervals about other seeds and other prompts both. Below, on axes of its own and at another scale, the "
        f"published sweep; dashed: before training. {SOURCE} {OLMO} Markers: kinship of verifier and generator."
    )
    return Plot(f"verifier-sweep-math-{slug(scale)}-{slug(generator)}", caption, figure)


def in_percent(of: Arm, when: str) -> tuple[float, float, float]:
    """Pass@1 before or after with its interval, in percent."""
    return 100 * of.shares[when], 100 * of.shares[f"{when}_lo"], 100 * of.shares[f"{when}_hi"]


def published_frame() -> pd.DataFrame:
    """The published sweep from the least able verifier to the most able one, the one of unknown ability first.

    `own` and `after`: pass@1 of the verifier itself, NaN where the source failed to parse it, and of the generator
    trained under it, in percent. `kinship` is to the generator, Qwen2.5-Math-1.5B.
    """
    frame = read_published("verifier_sweep_math.csv").rename(columns={"generator_math500_pass1_pct": "after"})
    kin = frame["verifier_family"].map({"qwen": "same family"}).fillna("other family")
    frame = frame.assign(
        own=frame["verifier_math500_pass1_pct"].where(frame["note"].isna()).astype(float),
        kinship=kin.where(frame["verifier"] != "Qwen/Qwen2.5-Math-1.5B", "itself"),
    )
    return frame.sort_values("own", na_position="first", ignore_index=True)


def published_dots(frame: pd.DataFrame, column: str) -> list[Dot]:
    """A published column's dots, without intervals, in the style of each verifier's kinship."""
    rows = frame.to_dict("records")
    return [Dot(str(r["verifier"]), float(r[column]), nan, nan, KINSHIP[r["kinship"]]) for r in rows]


def published_table() -> Table:
    """The published sweep in full."""
    rows = [
        [
            Entry(str(row["verifier"])),
            Entry(str(row["kinship"])),
            Entry("n/a" if isnan(row["own"]) else f"{row['own']:.0f}"),
            Entry(f"{row['after']:.0f}"),
        ]
        for row in published_frame().to_dict("records")
    ]
    return Table(
        name="verifier-sweep-math-published",
        title="Published: MATH-500 pass@1 by verifier (the paper's scale, generator Qwen2.5-Math-1.5B)",
        header=["verifier", "kinship", "its own pass@1 (%)", "generator's after training (%)"],
        groups=[rows],
        notes=[SOURCE, OLMO],
    )
