"""The published sweeps over verifiers, as tables and as blocks of figures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import isnan
from typing import Any

import pandas as pd

from analysis.experiments.verifiers import GeneratorOutcomes
from analysis.figures.forest import Block, Dot, Panel
from analysis.figures.style import RELATIONS
from analysis.records.published import read_published
from analysis.tables.render import Column, Estimate, Table, build_table


@dataclass(frozen=True)
class PublishedSweep:
    """A published sweep: its file and generator, a Qwen model, and the columns to show, without intervals.

    `columns` gives the column and the value of no effect, None if there is none, by header. With `sort_by`, the
    verifiers are in the order of this column, unknown values first.
    """

    file: str
    generator: str
    title: str
    columns: Mapping[str, tuple[str, float | None]]
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

    def tables(self, _: GeneratorOutcomes) -> Iterator[Table]:
        """The sweep in full."""

        def number(column: str, row: Mapping[str, Any]) -> str:
            return "n/a" if isnan(row[column]) else f"{row[column]:.{self.decimals}f}"

        columns = [
            Column("verifier", lambda row: row["verifier"]),
            Column("relation", lambda row: row["relation"]),
            *(Column(header, partial(number, column)) for header, (column, _) in self.columns.items()),
        ]
        rows = self.frame().to_dict("records")
        yield build_table("published", f"Published: {self.title}", columns, [rows], [self.source])

    def block(self) -> Block:
        """The sweep as a block of a figure, in the style of each verifier's relation."""
        rows = self.frame().to_dict("records")
        panels = [
            Panel(
                header.replace(" (%)", "\n(%)"),
                [Dot(r["verifier"], *Estimate(float(r[column])), RELATIONS[r["relation"]]) for r in rows],
                reference,
            )
            for header, (column, reference) in self.columns.items()
        ]
        title = f"Published, the paper's scale: generator {self.generator.split('/')[1]}, no intervals"
        return Block(title, {row["verifier"]: row["verifier"] for row in rows}, panels)


PAPER = "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo"
PUBLISHED_QUALITY = PublishedSweep(
    file="verifier_sweep_quality.csv",
    generator="Qwen/Qwen2.5-0.5B",
    title="win rates by verifier (the paper's scale, generator Qwen2.5-0.5B, judge gpt-5.2)",
    columns={
        "win rate against the untrained model (%)": ("win_rate_vs_base_pct", 50),
        "win rate against the instruct model (%)": ("win_rate_vs_instruct_pct", 50),
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
        "its own pass@1 (%)": ("verifier_math500_pass1_pct", None),
        "generator's pass@1 after training (%)": ("generator_math500_pass1_pct", PUBLISHED_START),
    },
    source=(
        f"{PAPER}; generator Qwen2.5-Math-1.5B, MATH-500 (100 problems), {PUBLISHED_START:.0f} % before training, one "
        "training each, no intervals. The scale, the models and the problems differ: compare orders, not sizes. OLMo's "
        "own 0 % is a parsing failure of the source and is left out. Accuracies after the last step; the author's "
        "scatter plot has 59 for Llama, its peak at step 400."
    ),
    decimals=0,
    sort_by="verifier_math500_pass1_pct",
)
