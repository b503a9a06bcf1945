"""Mathematics: accuracy before and after training by reward, and how good the votes' labels are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments._blocks import (
    BLOCK,
    Spread,
    at,
    blocks_frame,
    last_blocks,
    over_seeds,
    table_of,
    with_gap,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.overview import Plot
from analysis.figures.style import Style
from analysis.records.published import read_published
from analysis.sections.accuracy import accuracy_frame, accuracy_table
from analysis.sections.base import NothingToShow, Part, write_part
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import Entry, Table, slug
from cme.records import RunRecord

SOURCE = (
    "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo; CME under eight verifiers, one "
    "training each, no intervals; which verifier gave what is in the section on the verifier sweep. Another scale and "
    "other problems: compare directions, not sizes."
)
TITLE = "Mathematics: are the answers right?"
INTRO = (
    "The same generators were trained on problems with one right answer, by each reward; pass@1 is of greedy responses "
    "to other problems. If CME is a correctness signal, training on it raises accuracy, at least as much as the vote "
    "of the policy's own samples does (TTRL), and towards the ground truth's. Refuted here if the interval of the "
    "change lies below 0, not supported if it covers 0."
)
SHARES = {
    "majority_share": "majority share: the most common answer's share of its group",
    "label_accuracy": "label accuracy: how often that answer is right",
}
BEFORE_AFTER = {
    "before training": Style("#767676", "o", ()),
    "after training": Style("#000000", "o", ()),
}
VOTES = {"first block": Style("#767676", "^", ()), "last block": Style("#5D3A9B", "^", ())}
HOLLOW = ("before training", "first block")


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """Accuracy and votes of one scale, and the published change. Raises NothingToShow without any graded run."""
    graded = [run for run in runs if run.accuracy is not None]
    if not graded:
        raise NothingToShow("none of the runs is graded")
    votes = votes_frame(graded)
    own = replace(accuracy_table(graded), name=f"math-accuracy-{slug(scale)}")
    tables = [own, *([] if votes.empty else [votes_table(votes, scale)]), published_table()]
    frame = accuracy_frame(graded).merge(
        votes, on=["data", "family", "regime", "reward", "method"], how="left"
    )
    plots = [
        math_plot(own, scale) for _, own in frame[frame["policy"] == "final"].groupby("data", sort=False)
    ]
    made = write_part(f"{slug(scale)}-math", tables, frame, plots, out)
    short = (
        f"Scale {scale}: no training lasts a whole block of {BLOCK} steps, so the votes' course is not shown."
    )
    return replace(made, notes=[short]) if votes.empty else made


def votes_frame(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """One row a cell: majority share and label accuracy in the first and the last block, means over seeds.

    Shares in 0..1 with 95 % t intervals over seeds, `{share}_{when}`, `_lo` and `_hi`; NaN where not measured.
    """
    data = {run.run_id: str(run.config["data"]["name"]) for run in runs}
    blocks = blocks_frame(with_gap(runs))
    blocks = blocks[blocks["block"] > 0]
    keys = ["data", "family", "regime", "reward", "method"]
    rows = []
    for key, own in blocks.assign(data=blocks["run_id"].map(data)).groupby(keys, sort=False):
        row: dict[str, Any] = dict(zip(keys, key, strict=True))
        for share in SHARES:
            table, last = table_of(own, share), last_blocks(own)
            for when, block in (("first", pd.Series(1, index=last.index)), ("last", last)):
                found = over_seeds(at(table, block))
                row |= dict(zip((f"{share}_{when}{end}" for end in ("", "_lo", "_hi")), found, strict=True))
        rows.append(row)
    whole = [f"{s}_{w}{e}" for s in SHARES for w in ("first", "last") for e in ("", "_lo", "_hi")]
    return pd.DataFrame(rows, columns=[*keys, *whole])


def spread_of(row: Mapping[Any, Any], name: str) -> Spread:
    """A share with its interval from a row of the frame, in percent."""
    return 100 * row[name], 100 * row[f"{name}_lo"], 100 * row[f"{name}_hi"]


def percent(of: Spread) -> str:
    """A share in percent with its interval."""
    value, lo, hi = of
    if isnan(value):
        return "n/a"
    return f"{value:.1f} [n/a]" if isnan(lo) else f"{value:.1f} [{lo:.1f}, {hi:.1f}]"


def votes_table(votes: pd.DataFrame, scale: str) -> Table:
    """Majority share and label accuracy at the beginning and at the end of training."""
    groups = []
    for _, own in votes.groupby("data", sort=False):
        groups.append(
            [
                [
                    *(Entry(str(row[f])) for f in ("data", "family", "regime", "method")),
                    *(Entry(percent(spread_of(row, f"{s}_{when}"))) for s in SHARES for when in ("first", "last")),
                ]
                for row in own.to_dict("records")
            ]
        )  # fmt: skip
    return Table(
        name=f"math-votes-{slug(scale)}",
        title=f"The vote of the policy's own samples, whatever it is trained on (scale: {scale})",
        header=[
            *("data", "family", "regime", "reward", "majority share (%), first", "last"),
            *("label accuracy (%), first", "last"),
        ],
        groups=groups,
        notes=[
            f"{'; '.join(SHARES.values())}. Of the completions sampled in training, in the first and the last block of "
            f"{BLOCK} steps.",
            f"Means over seeds with 95 % t intervals over seeds, [n/a] below {MIN_SEEDS}.",
            "A share that rises while label accuracy does not is a policy that agrees with itself, no more right.",
        ],
    )


def math_plot(frame: pd.DataFrame, scale: str) -> Plot:
    """Pass@1 before and after by reward, the votes beside it, and the published change below."""
    data = str(frame["data"].iloc[0])
    several = len(frame[["family", "regime"]].drop_duplicates()) > 1
    votes = [share for share in SHARES if frame[f"{share}_first"].notna().any()]
    rows = frame.to_dict("records")
    names = [f"{r['method']} ({r['family']} {r['regime']})" if several else r["method"] for r in rows]
    accuracy = [
        Dot(name, *spread_of(row, when), style, hollow=when == "before", below=below)
        for name, row in zip(names, rows, strict=True)
        for (when, below), style in zip(
            (("before", -0.15), ("after", 0.15)), BEFORE_AFTER.values(), strict=True
        )
    ]
    panels = [Panel("pass@1 (%)", accuracy)] + [
        Panel(
            f"{share.replace('_', ' ')} (%)",
            [
                Dot(name, *spread_of(row, f"{share}_{when}"), style, hollow=when == "first", below=below)
                for name, row in zip(names, rows, strict=True)
                for (when, below), style in zip(
                    (("first", -0.15), ("last", 0.15)), VOTES.values(), strict=True
                )
            ],
        )
        for share in votes
    ]
    place = "" if several else f", generator: {rows[0]['family']} {rows[0]['regime']}"
    ours = Block(f"Ours, scale: {scale}, data: {data}{place}", names, panels)
    there = published_rows()
    published_dots = [
        Dot(row, share, nan, nan, style, hollow=when == "before", below=below)
        for row, *shares in there
        for share, when, below, style in zip(
            shares, ("before", "after"), (-0.15, 0.15), BEFORE_AFTER.values(), strict=True
        )
    ]
    theirs = Block(
        "Published, the paper's scale: Qwen2.5-Math-1.5B on MATH-500, no intervals",
        [row for row, *_ in there],
        [Panel("pass@1 (%)", published_dots)],
    )
    legend = BEFORE_AFTER | (VOTES if votes else {})
    figure = forest("Mathematics", [ours, theirs], legend, HOLLOW)
    of_votes = (
        f", and the policy's own votes in the first and the last block of {BLOCK} steps (95 % t intervals over seeds): "
        f"{'; '.join(SHARES[share] for share in votes)}"
        if votes
        else ""
    )
    caption = (
        f"Above, at scale {scale} on {data}: pass@1 before and after training with each reward (95 % intervals over "
        f"problems){of_votes}. Below, on an axis of its own and at another scale, the published pass@1 before and "
        f"after. {SOURCE}"
    )
    return Plot(f"math-{slug(scale)}-{slug(data)}", caption, figure)


def published_rows() -> list[tuple[str, float, float]]:
    """The published pass@1 before and after training, in percent, under the least and the most fortunate verifier."""
    row = read_published("math_accuracy.csv").iloc[0]
    return [
        (f"cme, {which} of eight verifiers", 100 * row["before"], 100 * row[f"after_{which}"])
        for which in ("lowest", "highest")
    ]


def published_table() -> Table:
    """The published change."""
    row = read_published("math_accuracy.csv").iloc[0]
    return Table(
        name="math-published",
        title=f"Published: {row['benchmark']} pass@1 (the paper's scale, generator {row['generator']})",
        header=["reward", "problems", "before (%)", "after (%)"],
        groups=[
            [
                [*map(Entry, (name, str(row["problems"]), f"{before:.0f}", f"{after:.0f}"))]
                for name, before, after in published_rows()
            ]
        ],
        notes=[SOURCE],
    )
