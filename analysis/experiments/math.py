"""Mathematics: accuracy before and after training by reward, and the quality of the labels from majority votes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isnan, nan
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments.base import FreeExperiment, column_table
from analysis.experiments.courses import (
    BLOCK,
    Spread,
    block_means,
    columns_of,
    last_blocks,
    mean_over_seeds,
    monitored_history,
    runs_by_block,
    spread_of,
    values_at,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import Plot, Style
from analysis.records.published import read_published
from analysis.sections.base import NothingToShow, Part, write_part
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.accuracy import accuracy_frame, accuracy_table
from analysis.tables.render import Table, format_interval, slug
from cme.records import RunRecord

SOURCE = (
    "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo; CME with eight verifiers, one "
    "training each, no intervals; the section on the verifier sweep lists them. The scale and the problems differ: "
    "compare directions, not sizes."
)
KEYS = ["data", "family", "regime", "reward", "method"]
SHARES = {
    "majority_share": "majority share: the share of the most common answer in its group",
    "label_accuracy": "label accuracy: how often that answer is right",
}
BEFORE_AFTER = {"before training": Style("#767676", "o"), "after training": Style("#000000", "o")}
VOTES = {"first block": Style("#767676", "^"), "last block": Style("#5D3A9B", "^")}


def show(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """Write accuracy and votes of one scale, and the published change. Raises NothingToShow without any graded run."""
    graded = [run for run in runs if run.accuracy is not None]
    if not graded:
        raise NothingToShow("none of the runs is graded")
    votes = votes_frame(graded)
    accuracy = replace(accuracy_table(graded), name=f"math-accuracy-{slug(scale)}")
    tables = [accuracy, *([] if votes.empty else [votes_table(votes, scale)]), published_table()]
    frame = accuracy_frame(graded).merge(votes, on=KEYS, how="left")
    final = frame[frame["policy"] == "final"]
    plots = [math_plot(own, scale) for _, own in final.groupby("data", sort=False)]
    part = write_part(f"{slug(scale)}-math", tables, frame, plots, out)
    short = f"Scale {scale}: no training lasts a whole block of {BLOCK} steps, so the votes are not shown."
    return replace(part, notes=[short]) if votes.empty else part


def votes_frame(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per cell: majority share and label accuracy in the first and the last block, means over seeds.

    Shares are 0 to 1 with 95 % t intervals over seeds (`{share}_{when}`, `_lo` and `_hi`), NaN if not measured.
    """
    data = {run.run_id: str(run.config["data"]["name"]) for run in runs}
    blocks = block_means(monitored_history(runs))
    blocks = blocks[blocks["block"] > 0]
    rows = []
    for key, own in blocks.assign(data=blocks["run_id"].map(data)).groupby(KEYS, sort=False):
        row: dict[str, Any] = dict(zip(KEYS, key, strict=True))
        last = last_blocks(own)
        for share in SHARES:
            table = runs_by_block(own, share)
            for when, block in (("first", pd.Series(1, index=last.index)), ("last", last)):
                row |= columns_of(f"{share}_{when}", mean_over_seeds(values_at(table, block)))
        rows.append(row)
    shares = [
        name
        for share in SHARES
        for when in ("first", "last")
        for name in columns_of(f"{share}_{when}", (0, 0, 0))
    ]
    return pd.DataFrame(rows, columns=[*KEYS, *shares])


def percent_of(row: Mapping[Any, Any], name: str) -> Spread:
    """A share with its interval, in percent."""
    value, lo, hi = spread_of(row, name)
    return 100 * value, 100 * lo, 100 * hi


def share_text(name: str, row: Mapping[Any, Any]) -> str:
    """A share in percent with its interval."""
    value, lo, hi = percent_of(row, name)
    return "n/a" if isnan(value) else f"{value:.1f} {format_interval(lo, hi)}"


def votes_table(votes: pd.DataFrame, scale: str) -> Table:
    """Majority share and label accuracy at the beginning and at the end of training."""
    identity = {"data": "data", "family": "family", "regime": "regime", "reward": "method"}
    shares = {
        f"{share.replace('_', ' ')} (%), {when}": f"{share}_{when}"
        for share in SHARES
        for when in ("first", "last")
    }
    return column_table(
        name=f"math-votes-{slug(scale)}",
        title=f"The majority vote of the policy's own samples, whatever it is trained on (scale: {scale})",
        columns={
            **{header: itemgetter(column) for header, column in identity.items()},
            **{header: partial(share_text, column) for header, column in shares.items()},
        },
        groups=[own.to_dict("records") for _, own in votes.groupby("data", sort=False)],
        notes=[
            f"{'; '.join(SHARES.values())}. Measured on the completions sampled in training, in the first and the last "
            f"block of {BLOCK} steps.",
            f"Means over seeds with 95 % t intervals over seeds, [n/a] below {MIN_SEEDS}.",
            "If the share rises and label accuracy does not, the policy agrees with itself more often without being "
            "right more often.",
        ],
    )


def paired_dots(rows: Sequence[tuple[str, Spread, Spread]], styles: Mapping[str, Style]) -> list[Dot]:
    """Two dots per row, the first hollow and above the second."""
    first, second = styles.values()
    return [
        dot
        for name, before, after in rows
        for dot in (
            Dot(name, *before, first, hollow=True, below=-0.15),
            Dot(name, *after, second, below=0.15),
        )
    ]


def math_plot(frame: pd.DataFrame, scale: str) -> Plot:
    """Pass@1 before and after by reward, the votes next to it, and the published change below."""
    data = str(frame["data"].iloc[0])
    several = len(frame[["family", "regime"]].drop_duplicates()) > 1
    votes = [share for share in SHARES if frame[f"{share}_first"].notna().any()]
    rows = {
        f"{row['method']} ({row['family']} {row['regime']})" if several else row["method"]: row
        for row in frame.to_dict("records")
    }
    accuracy = [(name, percent_of(row, "before"), percent_of(row, "after")) for name, row in rows.items()]
    panels = [Panel("pass@1 (%)", paired_dots(accuracy, BEFORE_AFTER))]
    for share in votes:
        ends = [
            (n, percent_of(row, f"{share}_first"), percent_of(row, f"{share}_last"))
            for n, row in rows.items()
        ]
        panels.append(Panel(f"{share.replace('_', ' ')} (%)", paired_dots(ends, VOTES)))
    first = frame.iloc[0]
    place = "" if several else f", generator: {first['family']} {first['regime']}"
    there = [(row, (before, nan, nan), (after, nan, nan)) for row, before, after in published_rows()]
    blocks = [
        Block(f"Ours, scale: {scale}, data: {data}{place}", {name: name for name in rows}, panels),
        Block(
            "Published, the paper's scale: Qwen2.5-Math-1.5B on MATH-500, no intervals",
            {name: name for name, *_ in there},
            [Panel("pass@1 (%)", paired_dots(there, BEFORE_AFTER))],
        ),
    ]
    legend = BEFORE_AFTER | (VOTES if votes else {})
    figure = forest("Mathematics", blocks, legend, hollow=("before training", "first block"))
    of_votes = (
        f", and the policy's own votes in the first and the last block of {BLOCK} steps (95 % t intervals over seeds): "
        f"{'; '.join(SHARES[share] for share in votes)}"
    )
    caption = (
        f"Above, at scale {scale} on {data}: pass@1 before and after training with each reward (95 % intervals over "
        f"problems){of_votes if votes else ''}. Below, on a separate axis and at another scale, the published pass@1 "
        f"before and after. {SOURCE}"
    )
    return Plot(f"math-{slug(scale)}-{slug(data)}", caption, figure)


def published_rows() -> list[tuple[str, float, float]]:
    """The published pass@1 before and after training, in percent, with the least and the most fortunate verifier."""
    row = read_published("math_accuracy.csv").iloc[0]
    return [
        (f"CME, {which} of eight verifiers", 100 * row["before"], 100 * row[f"after_{which}"])
        for which in ("lowest", "highest")
    ]


def published_table() -> Table:
    """The published change."""
    published = read_published("math_accuracy.csv").iloc[0]
    return column_table(
        name="math-published",
        title=f"Published: {published['benchmark']} pass@1 (the paper's scale, generator {published['generator']})",
        columns={
            "reward": lambda row: row[0],
            "problems": lambda _: str(published["problems"]),
            "before (%)": lambda row: f"{row[1]:.0f}",
            "after (%)": lambda row: f"{row[2]:.0f}",
        },
        groups=[published_rows()],
        notes=[SOURCE],
    )


MATH = FreeExperiment(
    title="Mathematics: are the answers right?",
    question=(
        "The same generators were trained on problems with one right answer, by each reward; pass@1 is measured on "
        "greedy responses to other problems. If CME is a correctness signal, training on it raises accuracy, at least "
        "as much as the majority vote of the policy's own samples (TTRL), and towards ground truth's. Refuted here if "
        "the interval of the change lies below 0, not supported if it covers 0."
    ),
    show=show,
)
