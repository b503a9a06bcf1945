"""Mathematics: accuracy before and after training by reward, and the quality of the labels from majority votes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import pandas as pd

from analysis.experiments.base import Experiment, paired_dots
from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import UNTRAINED, Plot, Style
from analysis.figures.win_rates import TICKS
from analysis.records.frames import history_frame
from analysis.records.names import generator_name, plain_name
from analysis.records.published import read_published
from analysis.sections.base import NothingToShow
from analysis.stats.seeds import MIN_SEEDS
from analysis.tables.accuracy import CELL, DATA, PLACE, accuracy_frame, accuracy_table
from analysis.tables.render import Column, Estimate, Table, build_table, mean_over_seeds
from analysis.tables.training.courses import BLOCK, block_means
from cme.records import RunRecord

SOURCE = (
    "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo; CME with eight verifiers, one "
    "training each, no intervals; the section on the verifier sweep lists them. The scale and the problems differ: "
    "compare directions, not sizes."
)
SHARES = {
    "majority_share": "majority share: the share of the most common answer in its group",
    "label_accuracy": "label accuracy: how often that answer is right",
}
BEFORE_AFTER = {"before training": UNTRAINED, "after training": Style("#000000", "o")}
VOTES = {f"first {BLOCK} steps": Style("#767676", "^"), f"last {BLOCK} steps": Style("#5D3A9B", "^")}
AccuracyRow = Mapping[Any, Any]
"""A row of `GradedRuns.frame`."""


@dataclass(frozen=True, eq=False)
class GradedRuns:
    """The graded runs of one data set at one scale."""

    runs: Sequence[RunRecord]

    @property
    def scale(self) -> str:
        """The scale of all runs."""
        return self.runs[0].scale

    @property
    def data(self) -> str:
        """The data set of all runs."""
        return self.runs[0].data

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Pass@1 before and after training, one row per cell and policy, with the policy's own votes in training.

        The votes are the SHARES (0 to 1) in the first and the last block, means over seeds; NaN if no training lasts a
        whole block.
        """
        blocks = block_means(history_frame(self.runs))
        by_run = blocks[blocks["block"] > 0].groupby("run_id")
        frame = accuracy_frame(self.runs)
        for when, ends in (("first", by_run.head(1)), ("last", by_run.tail(1))):
            votes = dict(iter(ends.groupby(list(CELL))))
            for share in SHARES:
                means = [
                    mean_over_seeds(votes[key][share] if key in votes else [])
                    for key in frame[list(CELL)].itertuples(index=False, name=None)
                ]
                columns = pd.DataFrame(means).set_axis(list(Estimate(0).columns(f"{share}_{when}")), axis=1)
                frame = frame.join(columns)
        return frame

    @property
    def rows(self) -> Sequence[AccuracyRow]:
        """The rows of the final policies."""
        return self.frame[self.frame["policy"] == "final"].to_dict("records")

    @property
    def votes(self) -> list[str]:
        """The measured shares."""
        return [share for share in SHARES if self.frame[f"{share}_first"].notna().any()]


def select_graded(runs: Sequence[RunRecord]) -> list[GradedRuns]:
    """The graded runs. Raises NothingToShow without any."""
    graded = [run for run in runs if run.accuracy is not None]
    if not graded:
        raise NothingToShow("none of the runs is graded")
    return [GradedRuns(graded)]


def pass_at_1_table(view: GradedRuns) -> Iterator[Table]:
    """Pass@1 before and after training by reward."""
    table = accuracy_table(view.runs)
    short = f"No training lasts a whole block of {BLOCK} steps, so the votes are not shown."
    notes = table.notes if view.votes else [*table.notes, short]
    yield replace(table, name=f"accuracy {view.scale} {view.data}", notes=notes)


def votes_table(view: GradedRuns) -> Iterator[Table]:
    """Majority share and label accuracy at the beginning and at the end of training."""
    if not view.votes:
        return

    def share(name: str, row: AccuracyRow) -> str:
        return Estimate.from_row(row, name).percent.text(1, "")

    yield build_table(
        name=f"votes {view.scale} {view.data}",
        title=f"The majority vote of the policy's own samples, whatever it is trained on (scale: {view.scale})",
        columns=[
            DATA,
            *PLACE,
            *(
                Column(f"{name.replace('_', ' ')} (%), {when}", partial(share, f"{name}_{when}"))
                for name in SHARES
                for when in ("first", "last")
            ),
        ],
        groups=[view.rows],
        notes=[
            f"{'; '.join(SHARES.values())}. Measured on the completions sampled in training, in the first and the last "
            f"block of {BLOCK} steps.",
            f"Means over seeds with 95 % t intervals over seeds, [n/a] below {MIN_SEEDS}.",
            "If the share rises and label accuracy does not, the policy agrees with itself more often without being "
            "right more often.",
        ],
    )


def published_rows() -> dict[str, AccuracyRow]:
    """The published pass@1 with the least and the most fortunate verifier."""
    row = read_published("math_accuracy.csv").iloc[0]
    return {
        f"CME, {end} of eight verifiers": Estimate(row["before"]).columns("before")
        | Estimate(row[f"after_{end}"]).columns("after")
        for end in ("lowest", "highest")
    }


def published_table(_: GradedRuns) -> Iterator[Table]:
    """The published change."""
    published = read_published("math_accuracy.csv").iloc[0]
    yield build_table(
        name="published",
        title=f"Published: {published['benchmark']} pass@1 (the paper's scale, generator {published['generator']})",
        columns=[
            Column("reward", lambda row: row[0]),
            Column("problems", lambda _: str(published["problems"])),
            Column("before (%)", lambda row: f"{100 * row[1]['before']:.0f}"),
            Column("after (%)", lambda row: f"{100 * row[1]['after']:.0f}"),
        ],
        groups=[published_rows().items()],
        notes=[SOURCE],
    )


def paired_panel(
    label: str, ends: tuple[str, str], rows: Mapping[str, AccuracyRow], styles: Mapping[str, Style]
) -> Panel:
    """Two columns of each row, in percent; the second has ticks at single seeds where the row has them."""
    dots: list[Dot] = []
    for name, row in rows.items():
        before, after = (Estimate.from_row(row, end).percent for end in ends)
        seeds = [100 * float(share) for share in row.get(f"seed_{ends[1]}", "").split()]
        dots += paired_dots(name, before, after, styles.values(), seeds)
    return Panel(label, dots)


def pass_at_1_plot(view: GradedRuns) -> Iterator[Plot]:
    """Pass@1 before and after by reward, the votes next to it, and the published change below."""
    generators = {generator_name(row["family"], row["regime"]) for row in view.rows}
    several = len(generators) > 1
    rows = {
        f"{row['method']} ({generator_name(row['family'], row['regime'])})" if several else row["method"]: row
        for row in view.rows
    }
    published = published_rows()
    place = "" if several else f", generator: {generators.pop()}"
    blocks = [
        Block(
            f"Ours, scale: {view.scale}, data: {plain_name(view.data)}{place}",
            {name: name for name in rows},
            [
                paired_panel("pass@1 (%)", ("before", "after"), rows, BEFORE_AFTER),
                *(
                    paired_panel(
                        f"{share.replace('_', ' ')} (%)", (f"{share}_first", f"{share}_last"), rows, VOTES
                    )
                    for share in view.votes
                ),
            ],
        ),
        Block(
            "Published, the paper's scale: Qwen2.5-Math-1.5B on MATH-500, no intervals",
            {name: name for name in published},
            [paired_panel("pass@1 (%)", ("before", "after"), published, BEFORE_AFTER)],
        ),
    ]
    legend = BEFORE_AFTER | (VOTES if view.votes else {})
    figure = forest(f"Mathematics (scale: {view.scale})", blocks, legend)
    of_votes = (
        f", and the policy's own votes in the first and the last block of {BLOCK} steps (95 % t intervals over seeds): "
        f"{'; '.join(SHARES[share] for share in view.votes)}"
    )
    caption = (
        f"Above, at scale {view.scale} on {plain_name(view.data)}: pass@1 before and after training with each reward "
        f"(95 % intervals over problems; {TICKS}){of_votes if view.votes else ''}. Below, on a separate axis and at "
        f"another scale, the published pass@1 before and after. {SOURCE}"
    )
    yield Plot(f"{view.scale} {view.data}", caption, figure)


MATH = Experiment(
    name="math",
    title="Mathematics: are the answers right?",
    question=(
        "The same generators were trained on problems with one right answer, by each reward; pass@1 is measured on "
        "greedy responses to other problems. If CME is a correctness signal, training on it raises accuracy, at least "
        "as much as the majority vote of the policy's own samples (TTRL), and towards ground truth's. Refuted here if "
        "the interval of the change lies below 0, not supported if it covers 0."
    ),
    views=select_graded,
    tables=(pass_at_1_table, votes_table, published_table),
    figures=(pass_at_1_plot,),
    frame=lambda views: views[0].frame,
)
