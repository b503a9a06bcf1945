"""Drift of a policy from its start: a frame of cells by metric.

Responses of start and policy are paired. Diversity is that of sets of responses with matched lengths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.curves import WINDOW
from analysis.records.frames import run_identity
from analysis.records.names import REGIMES, REWARDS, method_names, order_key
from analysis.stats.intervals import UNDEFINED, Floats, standard_error, t_interval
from analysis.stats.metrics import MIN_SEEDS, quality_change
from analysis.stats.text import (
    Words,
    compression_ratio,
    distinct_n,
    match_lengths,
    rouge_l,
    self_bleu,
    split_words,
)
from cme.records import RunRecord

CELL = ("family", "regime", "reward", "method")


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
    Metric("verifier_similarity", "similarity to verifier", "ROUGE-L, 0 to 1", 3),
    Metric("entropy", "entropy", "nats/token", 3),
    Metric("sqrt_kl", "√KL from start", "√nats", 2),
)
FRAME = (
    *CELL,
    *("metric", "unit", "start", "policy", "change", "lo", "hi", "prompts"),
    *("seeds", "seed_low", "seed_high", "seed_lo", "seed_hi"),
)


@dataclass(frozen=True, eq=False)
class Sides:
    """A metric of one run for start and policy: by prompt (P,) if it is a mean over prompts, otherwise (1,)."""

    start: Floats
    policy: Floats
    by_prompt: bool = False

    @property
    def change(self) -> float:
        """The policy's mean minus the start's."""
        return float(self.policy.mean() - self.start.mean())


def drift_of(run: RunRecord) -> dict[str, Sides]:
    """The metrics of a run by name; metrics without a value are left out.

    `length` and `verifier_similarity` use whole responses. `distinct_*`, `self_bleu` and `compression` use all
    responses, each truncated to the shorter of start's and policy's. `entropy` (nats per token) and `sqrt_kl` (root
    nats per response) use completions sampled in training: entropy over the first and over the last WINDOW steps with a
    value, KL at the last one (the root of an estimate below 0 is 0).
    """
    start = [split_words(pair.start.response) for pair in run.pairs]
    policy = [split_words(pair.policy.response) for pair in run.pairs]
    before, after = match_lengths(start, policy)
    found = {
        "length": Sides(lengths(start), lengths(policy), True),
        "distinct_1": whole(distinct_n(before, 1), distinct_n(after, 1)),
        "distinct_2": whole(distinct_n(before, 2), distinct_n(after, 2)),
        "self_bleu": whole(self_bleu(before), self_bleu(after)),
        "compression": whole(compression_ratio(before), compression_ratio(after)),
    }
    if run.verifier_responses is not None:
        said = [split_words(g.response) for g in run.verifier_responses]
        found["verifier_similarity"] = Sides(
            np.array(rouge_l(start, said)), np.array(rouge_l(policy, said)), by_prompt=True
        )
    if entropy := known(run, "entropy"):
        found["entropy"] = whole(float(np.mean(entropy[:WINDOW])), float(np.mean(entropy[-WINDOW:])))
    if kl := known(run, "kl"):
        found["sqrt_kl"] = whole(0.0, sqrt(max(0.0, kl[-1])))
    return {name: sides for name, sides in found.items() if not np.isnan(sides.change)}


def lengths(responses: Sequence[Words]) -> Floats:
    """Number of words of each response (P,)."""
    return np.array([len(words) for words in responses], dtype=float)


def whole(start: float, policy: float) -> Sides:
    """The sides of a metric that is not a mean over prompts."""
    return Sides(np.array([start]), np.array([policy]))


def known(run: RunRecord, column: str) -> list[float]:
    """The known values of a column of the training history."""
    return [value for value in run.history.get(column, []) if value is not None]


def drift_frame(runs: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One row per cell (family, regime, method) and metric with a value in any of its runs.

    `start`, `policy` and `change` are means over seeds. `lo` and `hi`: 95 % interval over prompts of a mean over
    prompts that keeps the seeds of a prompt together; NaN for other metrics. `seed_lo` and `seed_hi`: t interval over
    the seeds' changes with these prompts fixed; NaN below MIN_SEEDS. `seed_low` and `seed_high`: their range. Runs that
    differ only in their judge count once. `labels` gives the runs' methods by run id, by default `method_names`.
    """
    names = dict(labels or method_names(runs))
    cells: dict[tuple[str, ...], dict[int, RunRecord]] = {}
    for run in runs:
        of = run_identity(run, names)
        cells.setdefault(tuple(of[field] for field in CELL), {})[run.seed] = run
    rows = []
    for cell in sorted(cells, key=cell_order):
        own = list(cells[cell].values())
        measured = [drift_of(run) for run in own]
        for metric in METRICS:
            having = [
                (run, found[metric.name])
                for run, found in zip(own, measured, strict=True)
                if metric.name in found
            ]
            if having:
                place = dict(zip(CELL, cell, strict=True))
                rows.append(place | {"metric": metric.name, "unit": metric.unit} | row_of(having))
    return pd.DataFrame(rows, columns=list(FRAME))


def cell_order(cell: tuple[str, ...]) -> tuple[Any, ...]:
    """Sort key of cells: family, regime, reward, method."""
    family, regime, reward, method = cell
    return family, order_key(regime, REGIMES), order_key(reward, REWARDS), method


def row_of(having: Sequence[tuple[RunRecord, Sides]]) -> dict[str, float]:
    """A metric of a cell's runs as columns of its row."""
    changes = np.array([sides.change for _, sides in having])
    prompts = np.array([pair.prompt_id for run, _ in having for pair in run.pairs], dtype=object)
    lo, hi = UNDEFINED
    if having[0][1].by_prompt:
        start = np.concatenate([sides.start for _, sides in having])
        policy = np.concatenate([sides.policy for _, sides in having])
        paired = quality_change(start, policy, prompts)
        assert paired is not None  # no side has a NaN
        lo, hi = paired.lo, paired.hi
    seed_lo, seed_hi = UNDEFINED
    if len(changes) >= MIN_SEEDS:
        seed_lo, seed_hi = t_interval(float(changes.mean()), standard_error(changes), len(changes))
    return {
        "start": float(np.mean([sides.start.mean() for _, sides in having])),
        "policy": float(np.mean([sides.policy.mean() for _, sides in having])),
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
