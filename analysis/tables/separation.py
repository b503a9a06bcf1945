"""Separation: AUROC of each signal for wrong against right responses, of our records and as published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.names import generator_name, plain_name, sort_names, verifier_name
from analysis.stats.auroc import Bools, Estimate, Wins, count_wins, pooled_auroc, within_auroc
from analysis.stats.intervals import Floats
from analysis.tables.render import slug
from cme.records import SeparationRecord
from cme.runtime import shipped

PUBLISHED = shipped.PUBLISHED / "separation_math500.csv"
PUBLISHED_AMC23 = shipped.PUBLISHED / "separation_amc23.csv"
SOURCE = (
    "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo; MATH-500, 100 problems x 8 "
    "samples, four generators, at the paper's scale. Not comparable in size with ours: other models, other problems."
)
MEASURES = {"ce": "cross_entropy", "h": "predictive_entropy"}
"""Measures by their name in the published file."""
SPANS = {"full": "response", "answer": "answer"}
LENGTH = "length generator response"
SIGNALS = (
    "cross_entropy verifier response",
    "cross_entropy generator response",
    "cross_entropy verifier answer",
    "cross_entropy generator answer",
    "predictive_entropy verifier response",
    "predictive_entropy generator response",
    "predictive_entropy verifier answer",
    "predictive_entropy generator answer",
    LENGTH,
)
"""Signals in the order of tables and figures."""
IDENTITY = ("separation_id", "scale", "data", "family", "regime", "verifier", "seed")


@dataclass(frozen=True, eq=False)
class Separation:
    """A record's responses that have an answer and a grade, as arrays (N,).

    `values` by signal, in the order of the tables: nats per token, `length` in the generator's tokens.
    """

    record: SeparationRecord

    @property
    def name(self) -> str:
        """The generator, and the seed unless it is the first."""
        seed = f", seed {self.record.seed}" if self.record.seed else ""
        return f"{generator_name(self.record.family, self.record.regime)}{seed}"

    @cached_property
    def counted(self) -> Bools:
        """Mask of the record's responses with an answer and a grade."""
        pairs = zip(self.record.correct, self.record.answered, strict=True)
        return np.array([c is not None and answered for c, answered in pairs], dtype=bool)

    @cached_property
    def correct(self) -> Bools:
        """Whether each response is right."""
        every = np.array([c is True for c in self.record.correct], dtype=bool)
        return every[self.counted]

    @cached_property
    def prompts(self) -> NDArray[np.object_]:
        """The prompt of each response."""
        ids = np.array([p.id for p in self.record.prompts], dtype=object)
        return np.repeat(ids, self.record.samples)[self.counted]

    @cached_property
    def values(self) -> dict[str, Floats]:
        """Values by signal, NaN where unmeasured."""
        lengths: list[float | None] = [r.tokens for r in self.record.responses]
        columns = self.record.signals | {LENGTH: lengths}
        return {s: np.array(columns[s], dtype=float)[self.counted] for s in sort_names(columns, SIGNALS)}

    @property
    def accuracy(self) -> float:
        """Share of right responses among all graded ones, including those without an answer."""
        graded = [c for c in self.record.correct if c is not None]
        return sum(graded) / len(graded) if graded else float("nan")

    def wins(self, *signals: str) -> list[Wins]:
        """The pairs under each signal, over the responses with a value under all of them."""
        known = ~np.isnan(np.array([self.values[s] for s in signals])).any(axis=0)
        return [count_wins(self.values[s][known], self.correct[known], self.prompts[known]) for s in signals]

    @cached_property
    def estimates(self) -> dict[str, tuple[Estimate, Estimate]]:
        """Pooled and within AUROC by signal."""
        return {s: (pooled_auroc(w), within_auroc(w)) for s in self.values for w in self.wins(s)}


def display_names(separations: Sequence[Separation]) -> list[str]:
    """Display names: the generator, and the end of the id where two of one verifier have the same name."""
    keys = [(each.name, each.record.verifier) for each in separations]
    return [
        each.name if keys.count(key) == 1 else f"{each.name} ({each.record.separation_id[-8:]})"
        for each, key in zip(separations, keys, strict=True)
    ]


def data_label(record: SeparationRecord) -> str:
    """Scale and data, for a title."""
    return f"scale: {record.scale}, data: {plain_name(record.data)}"


def setting_label(separations: Sequence[Separation]) -> str:
    """Scale, data and verifier, for a title."""
    record = separations[0].record
    return f"{data_label(record)}, verifier: {verifier_name(record.verifier)}"


def file_stem(separations: Sequence[Separation]) -> str:
    """Scale and data, for a file's name."""
    return f"{slug(separations[0].record.scale)}-{slug(separations[0].record.data)}"


def signal_label(signal: str) -> str:
    """A signal in words, such as `cross-entropy, verifier, answer`."""
    if signal == LENGTH:
        return "length"
    return ", ".join(signal.replace("cross_entropy", "cross-entropy").split()).replace("_", " ")


def published_frame(file: Path = PUBLISHED) -> pd.DataFrame:
    """The published figures of a file, one row per generator and signal, with our names of the signals."""
    frame = pd.read_csv(file)
    parts = frame["metric"].str.split("_", expand=True)
    signal = parts[0].map(MEASURES) + " " + parts[1] + " " + parts[2].map(SPANS)
    return frame.assign(signal=signal, auroc=frame["auroc_wrong_gt_correct"])


def separation_frame(separations: Sequence[Separation]) -> pd.DataFrame:
    """One row per record and signal: AUROC pooled and within prompts with intervals, and both classes' mean and std."""
    rows = []
    for each in separations:
        identity = dict(zip(IDENTITY, attrgetter(*IDENTITY)(each.record), strict=True))
        for signal, (pooled, within) in each.estimates.items():
            known = ~np.isnan(each.values[signal])
            right, wrong = (
                pd.Series(each.values[signal][known & (each.correct == c)]) for c in (True, False)
            )
            rows.append(
                identity
                | {"signal": signal, "accuracy": each.accuracy}
                | {"auroc": pooled.value, "lo": pooled.lo, "hi": pooled.hi, "prompts": pooled.prompts}
                | {"within": within.value, "within_lo": within.lo, "within_hi": within.hi}
                | {"mixed_prompts": within.prompts, "unscored": int((~known).sum())}
                | {"right": len(right), "right_mean": right.mean(), "right_std": right.std()}
                | {"wrong": len(wrong), "wrong_mean": wrong.mean(), "wrong_std": wrong.std()}
            )
    return pd.DataFrame(rows)


def group_by_data(records: Sequence[SeparationRecord]) -> Iterator[list[Separation]]:
    """The records of one data set after the other."""
    for data in sort_names(record.data for record in records):
        yield [Separation(record) for record in records if record.data == data]
