"""Separation: AUROC of each signal for wrong against right responses, of our records and as published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.names import generator_name, plain_name, sort_names, verifier_name
from analysis.stats.auroc import (
    Estimate,
    Wins,
    count_wins,
    pooled_auroc,
    pooled_difference,
    within_auroc,
    within_difference,
)
from analysis.stats.intervals import FEW_PROMPTS, MIN_PROMPTS, Bools, Floats, interval_excludes
from analysis.tables.published_separation import LENGTH, SIGNALS, SOURCE, published_frame, signal_label
from analysis.tables.render import Entry, Table, format_estimate, group_rows, pick, slug
from cme.records import SeparationRecord

AUROC_NOTE = (
    "AUROC: the probability that a wrong response has a higher value than a right one, ties counting half; 0.5 is "
    "chance, and below it wrong responses have the lower values. Perplexity ranks as cross-entropy does. Pooled: any "
    "wrong response against any right one, as published, so that separating hard prompts from easy ones counts; "
    "within: only responses to the same prompt, the mean over prompts that have both, as GRPO compares them."
)


@dataclass(frozen=True, eq=False)
class Separation:
    """A record's responses that have an answer and a grade, as arrays (N,).

    `values` by signal, in the order of the tables: nats per token, `length` in the generator's tokens.
    """

    record: SeparationRecord

    @property
    def name(self) -> str:
        """The generator, and its build and the seed unless they are the first."""
        build = f", build {self.record.build}" if self.record.build > 1 else ""
        return f"{self.generator}{build}"

    @property
    def generator(self) -> str:
        """The generator of any build, and the seed unless it is the first."""
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
        return np.array([c is True for c in self.record.correct], dtype=bool)[self.counted]

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
        return sum(graded) / len(graded) if graded else nan

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


def separation_frame(separations: Sequence[Separation]) -> pd.DataFrame:
    """One row per record and signal: AUROC pooled and within prompts with intervals, and both classes' mean and std."""
    rows = []
    for each in separations:
        for signal, (pooled, within) in each.estimates.items():
            known = ~np.isnan(each.values[signal])
            right, wrong = (
                pd.Series(each.values[signal][known & (each.correct == c)]) for c in (True, False)
            )
            rows.append(
                pick(each.record, "separation_id scale data family regime verifier build seed")
                | {"signal": signal, "accuracy": each.accuracy, "auroc": pooled.value}
                | pick(pooled, "lo hi prompts")
                | {"within": within.value}
                | pick(within, "lo hi", "within_")
                | {"mixed_prompts": within.prompts, "unscored": int((~known).sum())}
                | {"right": len(right), "right_mean": right.mean(), "right_std": right.std()}
                | {"wrong": len(wrong), "wrong_mean": wrong.mean(), "wrong_std": wrong.std()}
            )
    return pd.DataFrame(rows)


def group_by_data(records: Sequence[SeparationRecord]) -> Iterator[list[Separation]]:
    """The records of one data set after the other."""
    for data in sort_names(record.data for record in records):
        own = [record for record in records if record.data == data]
        own.sort(
            key=lambda record: (record.family, record.regime, record.verifier, record.build, record.seed)
        )
        yield [Separation(record) for record in own]


def signal_tables(records: Sequence[SeparationRecord]) -> list[Table]:
    """The tables of signals of the records of one scale, by data."""
    return [signal_table(own) for own in group_by_data(records)]


def signal_table(separations: Sequence[Separation]) -> Table:
    """One group per record, one row per signal, with the published range in a separate column."""
    published = published_frame().groupby("signal")["auroc"].agg(["min", "max"])
    values = separation_frame(separations).set_index(["separation_id", "signal"]).to_dict("index")
    rows: list[Sequence[Entry | str]] = []
    for each, name in zip(separations, display_names(separations), strict=True):
        for signal, estimates in each.estimates.items():
            row = values[each.record.separation_id, signal]
            means = [f"{row[f'{c}_mean']:.3g} ({row[f'{c}_std']:.2g})" for c in ("right", "wrong")]
            place = [name, verifier_name(each.record.verifier), f"{each.accuracy:.3f}", signal_label(signal)]
            span = "{:.3f} to {:.3f}".format(*published.loc[signal]) if signal in published.index else "-"
            rows.append([*place, *map(auroc_entry, estimates), *means, span])
    notes = [
        AUROC_NOTE,
        *count_notes(separations),
        "In brackets 95 % CIs over prompts, the responses to a prompt kept together; a pooled AUROC close to 1 depends "
        "on the few prompts with a pair in the wrong order. Bold: excludes 0.5, on "
        f"{FEW_PROMPTS} prompts or more; °: fewer prompts; [n/a]: fewer than {MIN_PROMPTS}. Means are in nats per "
        "token, of length in tokens.",
    ]
    if not any(" answer" in signal for each in separations for signal in each.values):
        notes.append(
            "The whole response is the answer in these data, so there is no separate answer span, and a response that "
            "continues after the right answer is wrong: a signal that only penalises continuing separates these too."
        )
    return Table(
        name=f"separation-{file_stem(separations)}",
        title=f"AUROC of each signal for wrong against right responses, {data_label(separations[0].record)}",
        header=[
            *("generator", "verifier", "accuracy", "signal", "AUROC, pooled", "AUROC, within prompts"),
            *("right: mean (sd)", "wrong: mean (sd)", "published, other scale"),
        ],
        groups=group_rows(rows, 3),
        notes=[*notes, f"Last column: lowest and highest. {SOURCE}"],
    )


def auroc_entry(estimate: Estimate, chance: float = 0.5) -> Entry:
    """An AUROC or a difference with its interval, bold where the interval excludes chance."""
    text = format_estimate(estimate.value, estimate.lo, estimate.hi, 3)
    few = "°" if estimate.prompts < FEW_PROMPTS else ""
    bold = interval_excludes(estimate.lo, estimate.hi, chance, estimate.prompts, decimals=3)
    return Entry(f"{text}{few}", bold=bold)


def count_notes(separations: Sequence[Separation]) -> list[str]:
    """For each record, the number of responses and of those left out."""
    notes = []
    for each, name in zip(separations, display_names(separations), strict=True):
        record, graded = each.record, sum(c is not None for c in each.record.correct)
        [wins] = each.wins(LENGTH)
        text = (
            f"{name}, verifier {verifier_name(record.verifier)}: {record.samples} samples of {len(record.prompts)} "
            f"prompts; {int(wins.right.sum())} right and {int(wins.wrong.sum())} wrong, both in "
            f"{int(wins.mixed.sum())} prompts"
        )
        unanswered = record.answered.count(False)
        missing = {
            "prompts without a right answer left out": record.left_out,
            "responses could not be graded": len(record.correct) - graded,
            "responses without an answer, wrong in the accuracy and in no AUROC": unanswered,
        }
        missing |= {f"responses cut under the {model}": number for model, number in record.cut.items()}
        notes.append("; ".join([text, *(f"{n} {what}" for what, n in missing.items() if n)]) + ".")
    return notes


def contrast_table(separations: Sequence[Separation]) -> Table:
    """Whether the verifier separates better than the generator: differences of AUROC, with the published ones."""
    rows: list[Sequence[Entry | str]] = []
    published = published_frame().pivot(index="generator", columns="signal", values="auroc")
    for each, name in zip(separations, display_names(separations), strict=True):
        for verifier in (signal for signal in each.values if " verifier " in signal):
            generator = verifier.replace("verifier", "generator")
            if generator not in each.values:
                continue
            pair = each.wins(verifier, generator)
            known = {verifier, generator} <= set(published)
            differences = (published[verifier] - published[generator]).tolist() if known else []
            measure, _, span = verifier.split()
            rows.append(
                [
                    *(name, verifier_name(each.record.verifier), f"{signal_label(measure)}, {span}"),
                    auroc_entry(pooled_difference(*pair), 0),
                    auroc_entry(within_difference(*pair), 0),
                    ", ".join(f"{value:+.3f}" for value in differences) or "-",
                ]
            )
    return Table(
        name=f"separation-contrast-{file_stem(separations)}",
        title=f"AUROC under the verifier minus that under the generator, {data_label(separations[0].record)}",
        header=["generator", "verifier", "signal", "pooled", "within prompts", "published, other scale"],
        groups=group_rows(rows, 2),
        notes=[
            "Above 0: the verifier separates wrong from right better than the generator itself. Intervals as in the "
            "table of signals, paired by response; bold: excludes 0. Where one of the two is 1.000, no resample can "
            "lower it: a bound next to 0 is then uninformative.",
            f"Last column: of {', '.join(published.index)}. {SOURCE}",
        ],
    )
