"""Win rates, quality differences and their intervals: pure functions of arrays.

Verdicts on one prompt are not independent (two orders, several seeds), so intervals come from a
percentile bootstrap that resamples prompts, each with all its verdicts (Field and Welsh 2007, the
cluster bootstrap). Win rates are in percent, scores in the judge's own unit.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import nan

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 20260527
MIN_PROMPTS = 10  # a percentile bootstrap of fewer clusters covers far less than it says


@dataclass(frozen=True)
class WinRate:
    """Tie-adjusted win rate of the trained policy against its start, in percent.

    `lo` and `hi` bound the 95 % interval (NaN below `MIN_PROMPTS`); `worst_lo` and `worst_hi` are the rate
    were every unscored verdict lost, or won. `verdicts` counts all of them, the unscored too.
    """

    rate: float
    lo: float
    hi: float
    prompts: int
    verdicts: int
    unscored: int
    worst_lo: float
    worst_hi: float


@dataclass(frozen=True)
class Quality:
    """Mean score before and after training, and the paired difference with its 95 % interval."""

    start: float
    policy: float
    difference: float
    lo: float
    hi: float


@dataclass(frozen=True)
class SeedSpread:
    """Win rates of single seeds, in percent; `std` has n - 1 in its denominator, NaN for one seed."""

    rates: dict[int, float]
    mean: float
    std: float
    low: float
    high: float


def win_rate(points: Floats, prompts: NDArray[np.object_], seed: int = SEED) -> WinRate:
    """Win rate from the policy's points (1, 0.5, 0, NaN where unscored) and the prompt of each verdict."""
    if not len(points):
        raise ValueError("a win rate needs at least one verdict")
    unscored = int(np.isnan(points).sum())
    total = float(np.nansum(points))
    scored = len(points) - unscored
    lo, hi = clustered_interval(100 * points, prompts, seed)
    return WinRate(
        rate=100 * total / scored if scored else nan,
        lo=lo,
        hi=hi,
        prompts=len(set(prompts)),
        verdicts=len(points),
        unscored=unscored,
        worst_lo=100 * total / len(points),
        worst_hi=100 * (total + unscored) / len(points),
    )


def quality_change(
    start: Floats, policy: Floats, prompts: NDArray[np.object_], seed: int = SEED
) -> Quality | None:
    """Mean scores and their paired difference over the verdicts that carry both; None if none does."""
    scored = ~np.isnan(policy - start)
    if not scored.any():
        return None
    before, after = start[scored], policy[scored]
    lo, hi = clustered_interval(after - before, prompts[scored], seed)
    return Quality(
        start=float(before.mean()),
        policy=float(after.mean()),
        difference=float((after - before).mean()),
        lo=lo,
        hi=hi,
    )


def seed_spread(points: Floats, seeds: NDArray[np.int64]) -> SeedSpread:
    """Each seed's win rate apart: how far training repeats itself, which the pooled interval doesn't say."""
    rates = {}
    for seed in sorted({int(seed) for seed in seeds}):
        scored = points[(seeds == seed) & ~np.isnan(points)]
        rates[seed] = 100 * float(scored.mean()) if len(scored) else nan
    known = np.array([rate for rate in rates.values() if not np.isnan(rate)])
    if not len(known):
        return SeedSpread(rates, nan, nan, nan, nan)
    std = float(known.std(ddof=1)) if len(known) > 1 else nan
    return SeedSpread(rates, float(known.mean()), std, float(known.min()), float(known.max()))


def first_shown_share(points: Floats, policy_first: NDArray[np.bool_]) -> float:
    """Percent of decided verdicts that went to the response shown first; 50 is a judge blind to order."""
    decided = (points == 0) | (points == 1)
    if not decided.any():
        return nan
    return 100 * float(((points[decided] == 1) == policy_first[decided]).mean())


def clustered_interval(
    values: Floats, clusters: NDArray[np.object_], seed: int = SEED
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of the known values, resampling whole clusters."""
    known = ~np.isnan(values)
    _, index = np.unique(clusters[known], return_inverse=True)
    counts = np.bincount(index)
    if len(counts) < MIN_PROMPTS:
        return nan, nan
    sums = np.bincount(index, weights=values[known])
    weights = bootstrap_weights(len(counts), RESAMPLES, seed)
    means = (weights @ sums) / (weights @ counts)
    lo, hi = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(lo), float(hi)


@lru_cache(maxsize=2)
def bootstrap_weights(clusters: int, resamples: int, seed: int) -> Floats:
    """How often each resample draws each cluster, (resamples, clusters); the same draw for every cell."""
    draws = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    return draws.astype(np.float64)


def interval_covers_half(win: WinRate) -> bool:
    """Whether 50 % is within the interval; a rate without an interval is not told from 50 % either."""
    return not (win.lo > 50 or win.hi < 50)
