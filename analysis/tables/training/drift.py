"""Drift of a policy from its start, as a frame of cells by metric and as a table.

Responses of start and policy are paired. Diversity is that of sets of responses with matched lengths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


BY_PROMPT = ("length", "verifier_similarity")
"""The metrics that are means over prompts."""


def measure_drift(run: RunRecord) -> dict[str, Floats]:
    """The metrics of a run by name for start and policy, (2, P) by prompt or (2, 1), without those without a value.

    `length`, `most_common` and `verifier_similarity` use whole responses. `distinct_*`, `self_bleu` and `compression`
    use all responses, each truncated to the shorter of start's and policy's. `entropy` (nats per token) and `sqrt_kl`
    (root nats per response) use completions sampled in training: entropy over the first and over the last WINDOW steps
    with a value, KL at the last one (the root of an estimate below 0 is 0).
    """
    responses = [
        [pair.start.response for pair in run.pairs],
        [pair.policy.response for pair in run.pairs],
    ]
    words = [[split_words(text) for text in side] for side in responses]
    matched = match_lengths(*words)
    metrics: dict[str, Any] = {
        "distinct_1": [[distinct_n(side, 1)] for side in matched],
        "distinct_2": [[distinct_n(side, 2)] for side in matched],
        "self_bleu": [[self_bleu(side)] for side in matched],
        "compression": [[compression_ratio(side)] for side in matched],
        "most_common": [[most_common_count(side) / len(side)] for side in responses],
        "length": [list(map(len, side)) for side in words],
    }
    entropy, kl = (
        [value for value in run.history.get(column, []) if value is not None] for column in ("entropy", "kl")
    )
    if entropy:
        metrics["entropy"] = [[np.mean(entropy[:WINDOW])], [np.mean(entropy[-WINDOW:])]]
    if kl:
        metrics["sqrt_kl"] = [[0], [sqrt(max(0.0, kl[-1]))]]
    if run.verifier_responses is not None:
        verifier = [split_words(generation.response) for generation in run.verifier_responses]
        metrics["verifier_similarity"] = [rouge_l(side, verifier) for side in words]
    arrays = {name: np.array(sides, dtype=float) for name, sides in metrics.items()}
    return {name: sides for name, sides in arrays.items() if not np.isnan(sides).any()}


def drift_frame(runs: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One row per cell (family, regime, method) and metric with a value in any of its runs.

    Runs that differ only in their judge count once. `labels` gives the runs' methods by run id, by default
    `method_names`. docs/csv-columns.md explains the columns.
    """
    cells, rows = group_runs(runs, CELL, labels), []
    for cell in sorted(cells, key=lambda c: (c[0], order_key(c[1], REGIMES), order_key(c[2], REWARDS), c[3])):
        measured = [(run, measure_drift(run)) for run in {run.seed: run for run in cells[cell]}.values()]
        for metric in METRICS:
            if sides := [(run, metrics[metric.name]) for run, metrics in measured if metric.name in metrics]:
                place = dict(zip(CELL, cell, strict=True))
                named = {"metric": metric.name, "unit": metric.unit}
                rows.append(place | named | metric_columns(sides, metric.name in BY_PROMPT))
    return pd.DataFrame(rows)


def metric_columns(measured: Sequence[tuple[RunRecord, Floats]], by_prompt: bool) -> dict[str, float]:
    """A metric of a cell's runs as columns of its row."""
    start, policy = np.array([sides.mean(axis=1) for _, sides in measured]).T
    changes = policy - start
    prompts = np.array([pair.prompt_id for run, _ in measured for pair in run.pairs], dtype=object)
    lo, hi = UNDEFINED
    if by_prompt:
        before, after = np.concatenate([sides for _, sides in measured], axis=1)
        paired = quality_change(before, after, prompts)
        assert paired is not None  # no side has a NaN
        lo, hi = paired.lo, paired.hi
    seed_lo, seed_hi = UNDEFINED
    if len(changes) >= MIN_SEEDS:
        seed_lo, seed_hi = t_interval(float(changes.mean()), standard_error(changes), len(changes))
    return {
        "start": float(start.mean()),
        "policy": float(policy.mean()),
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

    def change(row: dict[str, Any]) -> Entry:
        lo, hi, digits = row["lo"], row["hi"], decimals[row["metric"]]
        text = format_estimate(row["change"], lo, hi, digits, "+").removesuffix(" [n/a]")
        return Entry(text, interval_excludes(lo, hi, 0, row["prompts"], digits))

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
            Column("start", lambda row: f"{row['start']:.{decimals[row['metric']]}f}"),
            Column("policy", lambda row: f"{row['policy']:.{decimals[row['metric']]}f}"),
            Column("change", change),
            Column(
                "over seeds",
                lambda row: format_interval(row["seed_lo"], row["seed_hi"], decimals[row["metric"]]),
            ),
            Column("seeds", lambda row: str(row["seeds"])),
        ],
        groups=[frame[frame["metric"] == metric.name].to_dict("records") for metric in METRICS],
        notes=notes,
    )
