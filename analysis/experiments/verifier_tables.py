"""Columns and panels of the experiments on verifiers, one row per verifier, and the published sweeps."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isnan, nan
from typing import Any

import pandas as pd

from analysis.experiments.base import Column, Estimate, build_table
from analysis.experiments.verifiers import RELATIONS, GeneratorOutcomes, Outcome
from analysis.figures.forest import Block, Dot, Panel
from analysis.figures.style import Style
from analysis.records.builds import seed_names
from analysis.records.names import sort_names
from analysis.records.published import read_published
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import Entry, Table, format_interval, format_percent


def own_text(outcome: Outcome) -> str:
    """The verifier's own quality with its interval, or the training of its checkpoint."""
    return f"({outcome.knowledge})" if isnan(outcome.own.value) else outcome.own.text(3, "")


def gain_entry(outcome: Outcome) -> Entry:
    """The gain with its across-seed interval."""
    gain, measure = outcome.gain, outcome.measure
    _, lo, hi = measure.across_seeds(gain)
    bold = gain is not None and interval_excludes(lo, hi, 0, gain.prompts, measure.decimals)
    return Entry(measure.text(gain), bold)


def win_entry(outcome: Outcome) -> Entry:
    """The win rate with its across-seed interval."""
    assert outcome.cell is not None
    win, seeds = outcome.cell.win, outcome.cell.seeds
    text = f"{format_percent(seeds.mean)} {format_interval(seeds.across_seeds_lo, seeds.across_seeds_hi)}"
    bounds = seeds.across_seeds_lo, seeds.across_seeds_hi
    return Entry(text, bold=interval_excludes(*bounds, 50, win.scored, decimals=1))


def dots(
    outcomes: Sequence[Outcome], values: Callable[[Outcome], Estimate], reference: float = nan
) -> list[Dot]:
    """One dot per outcome, in the style of the verifier's relation; hollow if its interval covers the reference."""
    estimates = [(one, values(one)) for one in outcomes]
    return [
        Dot(one.label, *estimate, one.style, hollow=estimate.lo <= reference <= estimate.hi)
        for one, estimate in estimates
    ]


def gain_panel(label: str, outcomes: Sequence[Outcome]) -> Panel:
    """The policies' gains with across-seed intervals."""
    return Panel(label, dots(outcomes, lambda one: one.measure.across_seeds(one.gain), 0), 0)


def win_panel(outcomes: Sequence[Outcome]) -> Panel:
    """The policies' win rates with across-seed intervals."""

    def rate(one: Outcome) -> Estimate:
        assert one.cell is not None
        return Estimate(one.cell.seeds.mean, one.cell.seeds.across_seeds_lo, one.cell.seeds.across_seeds_hi)

    return Panel("win rate against the\nuntrained model (%)", dots(outcomes, rate, 50), 50)


def relation_legend(relations: Iterable[str]) -> dict[str, Style]:
    """The legend of the relations that are drawn."""
    return {name: RELATIONS[name] for name in sort_names(relations, tuple(RELATIONS))}


OutcomeColumn = Column[Outcome]
SEEDS_NOTE = (
    f"In brackets: across-seed 95 % intervals (for other seeds and other prompts), [n/a] below {MIN_SEEDS} seeds. "
    f"Bold: the interval excludes no effect, on {FEW_PROMPTS} prompts or more."
)
VERIFIER = OutcomeColumn("verifier", lambda one: one.label)
RELATION = OutcomeColumn("relation", lambda one: one.relation)
OWN_QUALITY = OutcomeColumn(
    "its own quality",
    own_text,
    "Its own quality: true quality (0 to 1) of the verifier's own greedy responses to the evaluation prompts, with the "
    "95 % interval over prompts; if the record does not have it, the training of the verifier's checkpoint, which then "
    "also gives the order.",
)
SEEDS = OutcomeColumn("seeds", lambda one: seed_names(sorted(run.seed for run in one.runs)))
QUALITY_GAIN = OutcomeColumn(
    "policy's gain in true quality",
    gain_entry,
    f"Gain: true quality of the trained policy minus that of its untrained model. {SEEDS_NOTE}",
)
ACCURACY_CHANGE = OutcomeColumn("change", gain_entry, f"Change: in percentage points. {SEEDS_NOTE}")
WIN_RATE = OutcomeColumn("win rate (%)", win_entry)
QUALITY_COLUMNS = (VERIFIER, RELATION, OWN_QUALITY, SEEDS, QUALITY_GAIN, WIN_RATE)
"""The verifier and the result of training with it on instructions."""


@dataclass(frozen=True)
class PublishedSweep:
    """A published sweep: its file and generator, a Qwen model, and the columns to show by header, without intervals.

    `references` are the values of no effect in the figure, by header. With `sort_by`, the verifiers are in the order of
    this column, unknown values first.
    """

    file: str
    generator: str
    title: str
    columns: Mapping[str, str]
    references: Mapping[str, float]
    source: str
    decimals: int
    sort_by: str = ""

    def frame(self) -> pd.DataFrame:
        """One row per verifier with its relation to the generator; a value that the source failed to parse is NaN."""
        frame = read_published(self.file)
        families = frame["verifier_family"].map({"random": "random weights", "qwen": "same family"})
        relations = families.fillna("other family").where(frame["verifier"] != self.generator, "itself")
        frame = frame.assign(relation=relations)
        if self.sort_by:
            known = frame[self.sort_by].where(frame["verifier_note"].isna()).astype(float)
            frame = frame.assign(**{self.sort_by: known})
            frame = frame.sort_values(self.sort_by, na_position="first", ignore_index=True)
        return frame

    def table(self, _: GeneratorOutcomes) -> Iterator[Table]:
        """The sweep in full."""

        def number(column: str, row: Mapping[str, Any]) -> str:
            return "n/a" if isnan(row[column]) else f"{row[column]:.{self.decimals}f}"

        columns = [
            Column("verifier", lambda row: row["verifier"]),
            Column("relation", lambda row: row["relation"]),
            *(Column(header, partial(number, column)) for header, column in self.columns.items()),
        ]
        rows = self.frame().to_dict("records")
        yield build_table("published", f"Published: {self.title}", columns, [rows], [self.source])

    def block(self) -> Block:
        """The sweep as a block of a figure, in the style of each verifier's relation."""
        rows = self.frame().to_dict("records")
        panels = [
            Panel(
                header.replace(" (%)", "\n(%)"),
                [Dot(r["verifier"], float(r[column]), nan, nan, RELATIONS[r["relation"]]) for r in rows],
                self.references.get(header),
            )
            for header, column in self.columns.items()
        ]
        title = f"Published, the paper's scale: generator {self.generator.split('/')[1]}, no intervals"
        return Block(title, {row["verifier"]: row["verifier"] for row in rows}, panels)


PAPER = "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo"
PUBLISHED_QUALITY = PublishedSweep(
    file="verifier_sweep_quality.csv",
    generator="Qwen/Qwen2.5-0.5B",
    title="win rates by verifier (the paper's scale, generator Qwen2.5-0.5B, judge gpt-5.2)",
    columns={
        "win rate against the untrained model (%)": "win_rate_vs_base_pct",
        "win rate against the instruct model (%)": "win_rate_vs_instruct_pct",
    },
    references={
        "win rate against the untrained model (%)": 50,
        "win rate against the instruct model (%)": 50,
    },
    source=(
        f"{PAPER}; generator Qwen2.5-0.5B, 1000 steps, judged by gpt-5.2, one training each, no intervals. The scale, "
        "the models and the judge differ: compare orders, not sizes."
    ),
    decimals=1,
)
PUBLISHED_START = 44.0  # pass@1 of Qwen2.5-Math-1.5B before training, from the same source
PUBLISHED_ACCURACY = PublishedSweep(
    file="verifier_sweep_math.csv",
    generator="Qwen/Qwen2.5-Math-1.5B",
    title="MATH-500 pass@1 by verifier (the paper's scale, generator Qwen2.5-Math-1.5B)",
    columns={
        "its own pass@1 (%)": "verifier_math500_pass1_pct",
        "generator's pass@1 after training (%)": "generator_math500_pass1_pct",
    },
    references={"generator's pass@1 after training (%)": PUBLISHED_START},
    source=(
        f"{PAPER}; generator Qwen2.5-Math-1.5B, MATH-500 (100 problems), {PUBLISHED_START:.0f} % before training, one "
        "training each, no intervals. The scale, the models and the problems differ: compare orders, not sizes. OLMo's "
        "own 0 % is a parsing failure of the source and is left out. Accuracies after the last step; the author's "
        "scatter plot has 59 for Llama, its peak at step 400."
    ),
    decimals=0,
    sort_by="verifier_math500_pass1_pct",
)
