"""Drift of a policy from its start, as a frame of cells by metric and as a table.

Responses of start and policy are paired. Diversity is that of sets of responses with matched lengths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.frames import WINDOW, group_runs
from analysis.records.names import REGIMES, REWARDS, order_key
from analysis.stats.intervals import UNDEFINED, Floats, interval_excludes, standard_error, t_interval
from analysis.stats.seeds import MIN_SEEDS
from analysis.stats.text import (
    compression_ratio,
    distinct_n,
    match_lengths,
    most_common_count,
    rouge_l,
    self_bleu,
    split_words,
)
from analysis.stats.win_rates import quality_change
from analysis.tables.accuracy import CELL, PLACE
from analysis.tables.cell_tables import NEVER_BOLD
from analysis.tables.render import Column, Entry, Table, build_table, format_estimate, format_interval, slug
from cme.records import RunRecord

FRAME = (
    *CELL,
    *("metric", "unit", "start", "policy", "change", "lo", "hi", "prompts"),
    *("seeds", "seed_low", "seed_high", "seed_lo", "seed_hi"),
)
MATCHED = (
    "Distinct-1 and -2 (distinct n-grams over n-grams), self-BLEU (BLEU-4 of each response with all others as its "
    "references) and compression (bytes over bytes after DEFLATE) are of all responses together, each truncated to the "
    "shorter of start's and policy's response to its prompt, so that length has no effect."
)
OTHERS = (
    "Most common response: the share of prompts that get it. "
    "Similarity to verifier: ROUGE-L F1 of a whole response and the frozen verifier's greedy response to the prompt. "
    f"Entropy (first and last {WINDOW} steps with a value) and the root of the KL divergence from the start (last "
    "value) are of completions sampled in training; the others are of greedy responses to the evaluation prompts."
)


@dataclass(frozen=True)
class Metric:
    """A metric of drift: its name in the frame, its label, its unit, and the number of decimals shown."""

    name: str
    label: str
    unit: str
    decimals: int


METRICS = (
    Metric("length", "length", "words", 2),
    Metric("distinct_1", "distinct-1", "share", 3),
    Metric("distinct_2", "distinct-2", "share", 3),
    Metric("self_bleu", "self-BLEU", "0 to 100", 1),
    Metric("compression", "compression", "ratio", 2),
    Metric("most_common", "most common response", "share of prompts", 3),
    Metric("verifier_similarity", "similarity to verifier", "ROUGE-L, 0 to 1", 3),
    Metric("entropy", "entropy", "nats/token", 3),
    Metric("sqrt_kl", "√KL from start", "√nats", 2),
)


@dataclass(frozen=True, eq=False)
class Sides:
    """A metric of one run for start and policy: by prompt (P,) if it is a mean over prompts, otherwise (1,)."""

    start: Floats
    policy: Floats
    by_prompt: bool = field(default=False, kw_only=True)

    @property
    def change(self) -> float:
        """The policy's mean minus the start's."""
        return float(self.policy.mean() - self.start.mean())


def measure_drift(run: RunRecord) -> dict[str, Sides]:
    """The metrics of a run by name; metrics without a value are left out.

    `length`, `most_common` and `verifier_similarity` use whole responses. `distinct_*`, `self_bleu` and `compression`
    use all responses, each truncated to the shorter of start's and policy's. `entropy` (nats per token) and `sqrt_kl`
    (root nats per response) use completions sampled in training: entropy over the first and over the last WINDOW steps
    with a value, KL at the last one (the root of an estimate below 0 is 0).
    """
    start = [split_words(pair.start.response) for pair in run.pairs]
    policy = [split_words(pair.policy.response) for pair in run.pairs]
    before, after = match_lengths(start, policy)
    numbers = {
        "distinct_1": (distinct_n(before, 1), distinct_n(after, 1)),
        "distinct_2": (distinct_n(before, 2), distinct_n(after, 2)),
        "self_bleu": (self_bleu(before), self_bleu(after)),
        "compression": (compression_ratio(before), compression_ratio(after)),
    }
    numbers["most_common"] = (
        most_common_count([pair.start.response for pair in run.pairs]) / len(run.pairs),
        most_common_count([pair.policy.response for pair in run.pairs]) / len(run.pairs),
    )
    entropy, kl = (
        [value for value in run.history.get(column, []) if value is not None] for column in ("entropy", "kl")
    )
    if entropy:
        numbers["entropy"] = float(np.mean(entropy[:WINDOW])), float(np.mean(entropy[-WINDOW:]))
    if kl:
        numbers["sqrt_kl"] = 0.0, sqrt(max(0.0, kl[-1]))
    metrics = {name: Sides(np.array([a]), np.array([b])) for name, (a, b) in numbers.items()}
    lengths = [np.array([len(words) for words in side], dtype=float) for side in (start, policy)]
    metrics["length"] = Sides(*lengths, by_prompt=True)
    if run.verifier_responses is not None:
        verifier = [split_words(generation.response) for generation in run.verifier_responses]
        similarity = [np.array(rouge_l(side, verifier)) for side in (start, policy)]
        metrics["verifier_similarity"] = Sides(*similarity, by_prompt=True)
    return {name: sides for name, sides in metrics.items() if not np.isnan(sides.change)}


def drift_frame(runs: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One row per cell (family, regime, method) and metric with a value in any of its runs.

    `start`, `policy` and `change` are means over seeds. `lo` and `hi`: 95 % interval over prompts of a mean over
    prompts that keeps the seeds of a prompt together; NaN for other metrics. `seed_lo` and `seed_hi`: t interval over
    the seeds' changes with these prompts fixed; NaN below MIN_SEEDS. `seed_low` and `seed_high`: their range. Runs that
    differ only in their judge count once. `labels` gives the runs' methods by run id, by default `method_names`.
    """

    cells, rows = group_runs(runs, CELL, labels), []
    for cell in sorted(cells, key=lambda c: (c[0], order_key(c[1], REGIMES), order_key(c[2], REWARDS), c[3])):
        measured = [(run, measure_drift(run)) for run in {run.seed: run for run in cells[cell]}.values()]
        place = dict(zip(CELL, cell, strict=True))
        for metric in METRICS:
            if sides := [(run, metrics[metric.name]) for run, metrics in measured if metric.name in metrics]:
                rows.append(place | {"metric": metric.name, "unit": metric.unit} | metric_columns(sides))
    return pd.DataFrame(rows, columns=list(FRAME))


def metric_columns(measured: Sequence[tuple[RunRecord, Sides]]) -> dict[str, float]:
    """A metric of a cell's runs as columns of its row."""
    sides = [side for _, side in measured]
    changes = np.array([side.change for side in sides])
    prompts = np.array([pair.prompt_id for run, _ in measured for pair in run.pairs], dtype=object)
    lo, hi = UNDEFINED
    if sides[0].by_prompt:
        start, policy = (np.concatenate(c) for c in ([s.start for s in sides], [s.policy for s in sides]))
        paired = quality_change(start, policy, prompts)
        assert paired is not None  # no side has a NaN
        lo, hi = paired.lo, paired.hi
    seed_lo, seed_hi = UNDEFINED
    if len(changes) >= MIN_SEEDS:
        seed_lo, seed_hi = t_interval(float(changes.mean()), standard_error(changes), len(changes))
    return {
        "start": float(np.mean([side.start.mean() for side in sides])),
        "policy": float(np.mean([side.policy.mean() for side in sides])),
        "change": float(changes.mean()),
        "lo": lo,
        "hi": hi,
        "prompts": len(set(prompts)),
        "seeds": len(changes),
        "seed_low": float(changes.min()),
        "seed_high": float(changes.max()),
        "seed_lo": seed_lo,
        "seed_hi": seed_hi,
    }


def drift_table(frame: pd.DataFrame, name: str, scale: str) -> Table:
    """Start, policy and change of each cell of a drift frame, grouped by metric."""
    decimals = {metric.name: metric.decimals for metric in METRICS}
    labels = {metric.name: f"{metric.label} ({metric.unit})" for metric in METRICS}

    def level(row: dict[str, Any], side: str) -> str:
        return f"{row[side]:.{decimals[row['metric']]}f}"

    def change(row: dict[str, Any]) -> Entry:
        lo, hi, digits = row["lo"], row["hi"], decimals[row["metric"]]
        text = format_estimate(row["change"], lo, hi, digits, "+").removesuffix(" [n/a]")
        return Entry(text, interval_excludes(lo, hi, 0, row["prompts"], digits))

    def over_seeds(row: dict[str, Any]) -> str:
        return format_interval(row["seed_lo"], row["seed_hi"], decimals[row["metric"]])

    notes = [
        "Means over seeds. Change: policy minus start; in brackets, if a metric is a mean over prompts, its paired "
        f"95 % CI over prompts for these models. Bold: that interval excludes 0, {NEVER_BOLD} prompts.",
        f"Over seeds: 95 % t interval of the seeds' changes on these prompts, [n/a] below {MIN_SEEDS} seeds.",
        MATCHED,
        OTHERS,
    ]
    similar = set(frame.loc[frame["metric"] == "verifier_similarity", "method"])
    if lacking := [method for method in dict.fromkeys(frame["method"]) if method not in similar]:
        notes.append(f"Without recorded responses of one verifier: {', '.join(lacking)}.")
    return build_table(
        name=f"drift-{slug(name)}-{slug(scale)}",
        title=f"Drift from the start, {name}, scale: {scale}",
        columns=[
            Column("metric", lambda row: labels[row["metric"]], once=True),
            *PLACE,
            Column("start", lambda row: level(row, "start")),
            Column("policy", lambda row: level(row, "policy")),
            Column("change", change),
            Column("over seeds", over_seeds),
            Column("seeds", lambda row: str(row["seeds"])),
        ],
        groups=[frame[frame["metric"] == metric.name].to_dict("records") for metric in METRICS],
        notes=notes,
    )
