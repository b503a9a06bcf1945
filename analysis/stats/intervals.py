"""Intervals and tests over prompts: pure functions of arrays, standard library and numpy only.

Verdicts on one prompt are not independent (two orders, judges, seeds), so every interval here takes the prompt
as its unit (the cluster). It is about other prompts of the same kind; what else is held fixed, the caller says.

- `share_interval`, for a mean of values from 0 to 1 such as a win rate: Wilson's interval with the effective
  sample size of the cluster-robust variance and Student's t (Dean and Pagano 2015). Near 0 and 1 and for few
  prompts it covers what it says, where the percentile bootstrap does not: `python -m tests.benchmarks.coverage`.
- `t_interval`, for a difference: the estimate and Student's t times the cluster-robust standard error.
- `bootstrap_interval`, for anything computed from sums over prompts: the percentile bootstrap of whole prompts
  (Field and Welsh 2007), its quantiles moved outwards as Student's t has them (Hesterberg 2015, "expanded").
"""

from collections.abc import Callable
from functools import lru_cache
from math import atan, isnan, nan, pi, sqrt, tan
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 20260527
MIN_PROMPTS = 10  # a bootstrap of fewer prompts is not given
FEW_PROMPTS = 30  # an interval over fewer prompts is given with a warning
CHUNK = 250  # resamples in memory at once beyond the cached counts
UNDEFINED = (nan, nan)
ROUNDING = 1e-12
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(64)


def t_p_value(statistic: float, freedom: float) -> float:
    """Two-sided p-value of Student's t: the integral of cos(x)^(freedom - 1) beyond atan(|t| / sqrt(freedom))."""
    end = min(pi / 2, 12 / sqrt(freedom))  # nothing beyond 12 standard deviations is left to add
    start = min(atan(abs(statistic) / sqrt(freedom)), end)
    return cosine_power(start, end, freedom - 1) / cosine_power(0, end, freedom - 1)


def cosine_power(start: float, end: float, power: float) -> float:
    """The integral of cos(x)^power from start to end, by Gauss and Legendre."""
    half = (end - start) / 2
    return float(half * NODE_WEIGHTS @ np.cos(start + half * (1 + NODES)) ** power)


@lru_cache(maxsize=256)
def t_quantile(level: float, freedom: float) -> float:
    """The value that |t| stays below with probability `level`, by bisection over atan(t / sqrt(freedom))."""
    low, high = 0.0, pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if t_p_value(sqrt(freedom) * tan(middle), freedom) > 1 - level else (low, middle)
        )
    return sqrt(freedom) * tan(low)


def influence(sums: Floats, counts: Floats) -> Floats:
    """What each prompt (P,) adds to the mean sums.sum() / counts.sum(): deviations whose own mean is 0."""
    mean = float(sums.sum() / counts.sum())
    return (sums - mean * counts) / float(counts.mean())


def standard_error(deviations: Floats) -> float:
    """Standard error of an estimate from the prompts' influences (P,), P >= 2; the cluster-robust one, with P - 1.

    Rounding is not spread: influences that are equal but for it give 0.
    """
    error = float(deviations.std(ddof=1)) / sqrt(len(deviations))
    return 0.0 if error < ROUNDING else error


def t_interval(estimate: float, error: float, prompts: int) -> Interval:
    """95 % interval of a difference from its cluster-robust standard error; nowhere for one prompt."""
    if prompts < 2:
        return UNDEFINED
    half = t_quantile(LEVEL, prompts - 1) * error
    return estimate - half, estimate + half


def share_interval(share: float, half: float, prompts: int) -> Interval:
    """95 % interval of a mean of values in 0..1, from the half width `half` of its t interval.

    Wilson's: all p with (share - p)^2 <= half^2 p (1 - p) / (share (1 - share)). Where all prompts have one value
    and `half` is 0, the binomial bound on how many others do not (Clopper and Pearson 1934). Nowhere for NaN.
    """
    if isnan(half):
        return UNDEFINED
    if half == 0 or not 0 < share < 1:
        others = 1 - ((1 - LEVEL) / 2) ** (1 / prompts)
        return share * (1 - others), share * (1 - others) + others
    variance = share * (1 - share)
    k = half**2 / variance
    centre, reach = (share + k / 2) / (1 + k), sqrt(k * variance + k**2 / 4) / (1 + k)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def share_p_value(share: float, error: float, prompts: int) -> float:
    """Two-sided p-value of a true share of 1/2: below 0.05 exactly where `share_interval` excludes 1/2."""
    if error == 0 or not 0 < share < 1:
        return min(1.0, 2 * (0.5 / max(share, 1 - share)) ** prompts)
    return t_p_value((share - 0.5) / error_at_half(share, error), prompts - 1)


def error_at_half(share: float, error: float) -> float:
    """The standard error that the same effective sample size has at a true share of 1/2."""
    return error / sqrt(4 * share * (1 - share))


def interval_excludes(lo: float, hi: float, value: float, units: int) -> bool:
    """Whether an interval over so many prompts (or items) excludes a value; over `FEW_PROMPTS` or more, or it is False.

    What a table has in bold is this and nothing else.
    """
    return units >= FEW_PROMPTS and (lo > value or hi < value)


def clustered_interval(values: Floats, clusters: NDArray[np.object_], seed: int = SEED) -> Interval:
    """95 % bootstrap interval of the mean of the known values, resampling whole clusters.

    Nowhere (NaN, NaN) for fewer than `MIN_PROMPTS` clusters.
    """
    known = ~np.isnan(values)
    _, index = np.unique(clusters[known], return_inverse=True)
    counts = np.bincount(index).astype(float)
    sums = np.bincount(index, weights=values[known])
    return bootstrap_interval(np.stack([sums, counts], axis=1), lambda of: of[:, 0] / of[:, 1], seed)


def bootstrap_interval(sums: Floats, statistic: Callable[[Floats], Floats], seed: int = SEED) -> Interval:
    """95 % bootstrap interval of a statistic of sums over prompts.

    `sums` (P, K) are each prompt's; `statistic` maps totals (R, K) to values (R,). Resamples where the statistic is
    not defined (NaN) are left out. Nowhere for fewer than `MIN_PROMPTS` prompts or nothing defined.
    """
    return UNDEFINED if len(sums) < MIN_PROMPTS else quantiles(statistic(resampled(sums, seed)), len(sums))


def weighted_bootstrap_interval(
    prompts: int, statistic: Callable[[Floats], Floats], seed: int = SEED
) -> Interval:
    """As `bootstrap_interval`, of a statistic that maps how often each prompt was drawn (R, P) to values (R,)."""
    if prompts < MIN_PROMPTS:
        return UNDEFINED
    drawn = draws(prompts, RESAMPLES, seed)
    parts = [statistic(drawn[i : i + CHUNK].astype(float)) for i in range(0, len(drawn), CHUNK)]
    return quantiles(np.concatenate(parts), prompts)


def quantiles(values: Floats, prompts: int) -> Interval:
    """The 95 % interval of resampled values, widened as Student's t is for so few prompts."""
    values = values[~np.isnan(values)]
    if not len(values):
        return UNDEFINED
    tail = NormalDist().cdf(-t_quantile(LEVEL, prompts - 1) * sqrt(prompts / (prompts - 1)))
    lo, hi = np.quantile(values, [tail, 1 - tail])
    return float(lo), float(hi)


def resampled(sums: Floats, seed: int = SEED) -> Floats:
    """Totals (R, K) of sums (P, K) over each of `RESAMPLES` resamples of prompts; the same draw for every cell."""
    drawn = draws(len(sums), RESAMPLES, seed)
    return np.concatenate([drawn[i : i + CHUNK].astype(float) @ sums for i in range(0, len(drawn), CHUNK)])


@lru_cache(maxsize=8)
def draws(prompts: int, resamples: int, seed: int) -> NDArray[np.uint8]:
    """How often each resample draws each prompt, (resamples, prompts), a byte each.

    No prompt is drawn 256 times: the chance is below 1e-500.
    """
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, prompts), dtype=np.uint8)
    for row in drawn:
        row[:] = np.bincount(rng.integers(0, prompts, prompts), minlength=prompts)
    return drawn


def holm_adjusted(p_values: Floats) -> Floats:
    """Holm's (1979) adjusted p-values: the chance of any false finding among all is kept. NaN is not counted."""
    adjusted = np.full(len(p_values), nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p_values[order]))
    return adjusted
