"""Mathematics: accuracy before and after training by reward, and the quality of the labels from majority votes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan
from operator import itemgetter
from typing import Any

import pandas as pd

from analysis.experiments.base import UNKNOWN, Column, Estimate, Experiment, build_table, file_name
from analysis.experiments.courses import (
    BLOCK,
    Course,
    block_means,
    flatten,
    last_blocks,
    mean_over_seeds,
    monitored_history,
    runs_by_block,
    values_at,
)
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import UNTRAINED, Plot, Style
from analysis.records.names import family_name, generator_name, plain_name, regime_name
from analysis.records.published import read_published
from analysis.sections.base import NothingToShow
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.accuracy import accuracy_frame
from analysis.tables.accuracy import accuracy_table as pass_at_1_table
from analysis.tables.render import Table
from cme.records import RunRecord

SOURCE = (
    "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo; CME with eight verifiers, one "
    "training each, no intervals; the section on the verifier sweep lists them. The scale and the problems differ: "
    "compare directions, not sizes."
)
KEYS = ("data", "family", "regime", "reward", "method")
SHARES = {
    "majority_share": "majority share: the share of the most common answer in its group",
    "label_accuracy": "label accuracy: how often that answer is right",
}
BEFORE_AFTER = {"before training": UNTRAINED, "after training": Style("#000000", "o")}
VOTES = {"first block": Style("#767676", "^"), "last block": Style("#5D3A9B", "^")}
Ends = Sequence[tuple[str, Estimate, Estimate]]
"""Rows of a figure with two values each."""


@dataclass(frozen=True, eq=False)
class Graded:
    """The graded runs of one data set at one scale."""

    data: str
    runs: Sequence[RunRecord]

    @property
    def scale(self) -> str:
        """The scale of all runs."""
        return self.runs[0].scale

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """Pass@1 before and after training, one row per cell and policy."""
        return accuracy_frame(self.runs)

    @cached_property
    def votes(self) -> list[Course]:
        """By cell, majority share and label accuracy (0 to 1) in the first and the last block, means over seeds.

        Empty if no training lasts a whole block.
        """
        blocks = block_means(monitored_history(self.runs))
        rows = []
        for key, own in blocks[blocks["block"] > 0].assign(data=self.data).groupby(list(KEYS), sort=False):
            row: Course = dict(zip(KEYS, key, strict=True))
            last = last_blocks(own)
            for share in SHARES:
                table = runs_by_block(own, share)
                for when, block in (("first", pd.Series(1, index=last.index)), ("last", last)):
                    row[f"{share}_{when}"] = mean_over_seeds(values_at(table, block))
            rows.append(row)
        return rows

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Accuracy with the votes, one row per cell and policy."""
        unknown = {f"{share}_{when}": UNKNOWN for share in SHARES for when in ("first", "last")}
        columns = [*KEYS, *flatten(unknown)]
        votes = pd.DataFrame(map(flatten, self.votes), columns=columns)
        return self.accuracy.merge(votes, on=list(KEYS), how="left")


def views(runs: Sequence[RunRecord]) -> list[Graded]:
    """The graded runs of each data set. Raises NothingToShow without any."""
    by_data: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.accuracy is not None:
            by_data.setdefault(str(run.config["data"]["name"]), []).append(run)
    if not by_data:
        raise NothingToShow("none of the runs is graded")
    return [Graded(data, own) for data, own in by_data.items()]


def accuracy_table(view: Graded) -> Iterator[Table]:
    """Pass@1 before and after training by reward."""
    table = pass_at_1_table(view.runs)
    short = f"No training lasts a whole block of {BLOCK} steps, so the votes are not shown."
    notes = table.notes if view.votes else [*table.notes, short]
    yield replace(table, name=file_name("accuracy", view.scale, view.data), notes=notes)


def votes_table(view: Graded) -> Iterator[Table]:
    """Majority share and label accuracy at the beginning and at the end of training."""
    if not view.votes:
        return

    def share(name: str, when: str) -> Column[Course]:
        header = f"{name.replace('_', ' ')} (%), {when}"
        return Column(header, lambda row: row[f"{name}_{when}"].percent.text(1, ""))

    yield build_table(
        name=file_name("votes", view.scale, view.data),
        title=f"The majority vote of the policy's own samples, whatever it is trained on (scale: {view.scale})",
        columns=[
            Column("data", lambda row: plain_name(row["data"])),
            Column("family", lambda row: family_name(row["family"])),
            Column("regime", lambda row: regime_name(row["regime"])),
            Column("reward", itemgetter("method")),
            *(share(name, when) for name in SHARES for when in ("first", "last")),
        ],
        groups=[view.votes],
        notes=[
            f"{'; '.join(SHARES.values())}. Measured on the completions sampled in training, in the first and the last "
            f"block of {BLOCK} steps.",
            f"Means over seeds with 95 % t intervals over seeds, [n/a] below {MIN_SEEDS}.",
            "If the share rises and label accuracy does not, the policy agrees with itself more often without being "
            "right more often.",
        ],
    )


def published_rows() -> list[tuple[str, Estimate, Estimate]]:
    """The published pass@1 before and after training, in percent, with the least and the most fortunate verifier."""
    row = read_published("math_accuracy.csv").iloc[0]
    ends = ("lowest", "highest")
    shares = [(row["before"], row[f"after_{end}"]) for end in ends]
    return [
        (f"CME, {end} of eight verifiers", Estimate(100 * before, nan, nan), Estimate(100 * after, nan, nan))
        for end, (before, after) in zip(ends, shares, strict=True)
    ]


def published_table(_: Graded) -> Iterator[Table]:
    """The published change."""
    published = read_published("math_accuracy.csv").iloc[0]
    yield build_table(
        name="published",
        title=f"Published: {published['benchmark']} pass@1 (the paper's scale, generator {published['generator']})",
        columns=[
            Column("reward", lambda row: row[0]),
            Column("problems", lambda _: str(published["problems"])),
            Column("before (%)", lambda row: f"{row[1].value:.0f}"),
            Column("after (%)", lambda row: f"{row[2].value:.0f}"),
        ],
        groups=[published_rows()],
        notes=[SOURCE],
    )


def paired_dots(rows: Ends, styles: Mapping[str, Style]) -> list[Dot]:
    """Two dots per row, the first above the second."""
    first, second = styles.values()
    return [
        dot
        for name, before, after in rows
        for dot in (
            Dot(name, *before, first, below=-0.15),
            Dot(name, *after, second, below=0.15),
        )
    ]


def accuracy_plot(view: Graded) -> Iterator[Plot]:
    """Pass@1 before and after by reward, the votes next to it, and the published change below."""
    frame = view.frame[view.frame["policy"] == "final"]
    several = len(frame[["family", "regime"]].drop_duplicates()) > 1
    votes = [share for share in SHARES if frame[f"{share}_first"].notna().any()]
    rows: dict[str, Mapping[Any, Any]] = {
        f"{row['method']} ({generator_name(row['family'], row['regime'])})" if several else row["method"]: row
        for row in frame.to_dict("records")
    }

    def ends(first: str, last: str) -> Ends:
        def estimate(row: Mapping[Any, Any], name: str) -> Estimate:
            return Estimate(row[name], row[f"{name}_lo"], row[f"{name}_hi"]).percent

        return [(name, estimate(row, first), estimate(row, last)) for name, row in rows.items()]

    panels = [
        Panel("pass@1 (%)", paired_dots(ends("before", "after"), BEFORE_AFTER)),
        *(
            Panel(
                f"{share.replace('_', ' ')} (%)", paired_dots(ends(f"{share}_first", f"{share}_last"), VOTES)
            )
            for share in votes
        ),
    ]
    first, published = frame.iloc[0], published_rows()
    place = "" if several else f", generator: {generator_name(first['family'], first['regime'])}"
    setting = f"scale: {view.scale}, data: {plain_name(view.data)}{place}"
    blocks = [
        Block(
            f"Ours, {setting}",
            {name: name for name in rows},
            panels,
        ),
        Block(
            "Published, the paper's scale: Qwen2.5-Math-1.5B on MATH-500, no intervals",
            {name: name for name, *_ in published},
            [Panel("pass@1 (%)", paired_dots(published, BEFORE_AFTER))],
        ),
    ]
    legend = BEFORE_AFTER | (VOTES if votes else {})
    figure = forest(f"Mathematics (scale: {view.scale})", blocks, legend)
    of_votes = (
        f", and the policy's own votes in the first and the last block of {BLOCK} steps (95 % t intervals over seeds): "
        f"{'; '.join(SHARES[share] for share in votes)}"
    )
    caption = (
        f"Above, at scale {view.scale} on {plain_name(view.data)}: pass@1 before and after training with each reward "
        f"(95 % intervals over problems){of_votes if votes else ''}. Below, on a separate axis and at another scale, "
        f"the published pass@1 before and after. {SOURCE}"
    )
    yield Plot(file_name(view.scale, view.data), caption, figure)


MATH = Experiment(
    name="math",
    title="Mathematics: are the answers right?",
    question=(
        "The same generators were trained on problems with one right answer, by each reward; pass@1 is measured on "
        "greedy responses to other problems. If CME is a correctness signal, training on it raises accuracy, at least "
        "as much as the majority vote of the policy's own samples (TTRL), and towards ground truth's. Refuted here if "
        "the interval of the change lies below 0, not supported if it covers 0."
    ),
    views=views,
    tables=(accuracy_table, votes_table, published_table),
    figures=(accuracy_plot,),
    frame=lambda views: pd.concat([view.frame for view in views]),
)
