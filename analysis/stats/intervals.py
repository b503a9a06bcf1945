"""Intervals, tests and power with the prompt as the unit, since verdicts on one prompt are not independent.

docs/statistics.md states the method behind each interval and its measured coverage.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import count
from math import isnan, nan, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr, stdtrit

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Interval = tuple[float, float]

RESAMPLES = 10_000
LEVEL = 0.95
POWER = 0.8
SEED = 20260527
MIN_PROMPTS = 10  # no bootstrap interval over fewer prompts
FEW_PROMPTS = 30  # an interval over fewer prompts is shown with a warning
CHUNK = 250  # resamples in memory at once, beyond the cached counts
UNDEFINED = (nan, nan)
ROUNDING = 1e-12


def t_p_value(statistic: float, freedom: float) -> float:
    """Two-sided p-value of Student's t."""
    return 2 * float(stdtr(freedom, -abs(statistic)))


def t_quantile(level: float, freedom: float) -> float:
    """The value that |t| stays below with probability `level`."""
    return float(stdtrit(freedom, (1 + level) / 2))


def standard_error(deviations: Floats) -> float:
    """Cluster-robust standard error of an estimate from the prompts' influences (P,), with P - 1 in its denominator.

    0 for a single prompt, and for influences that differ by rounding alone.
    """
    if len(deviations) < 2:
        return 0.0
    error = float(deviations.std(ddof=1)) / sqrt(len(deviations))
    return 0.0 if error < ROUNDING else error


def half_width(error: float, freedom: float) -> float:
    """Half the 95 % t interval of an estimate; 0 where the standard error is 0."""
    return t_quantile(LEVEL, freedom) * error if error else 0.0


def t_interval(estimate: float, error: float, prompts: int) -> Interval:
    """95 % interval of a difference from its cluster-robust standard error; undefined for one prompt."""
    if prompts < 2:
        return UNDEFINED
    half = half_width(error, prompts - 1)
    return estimate - half, estimate + half


def share_interval(share: float, half: float, prompts: int) -> Interval:
    """95 % interval of a mean of values in 0..1, from the half width `half` of its cluster-robust t interval.

    Wilson's interval with the effective sample size (Dean and Pagano 2015): all p with
    (share - p)^2 <= half^2 p (1 - p) / (share (1 - share)). Where `half` is 0, since all prompts have one value, the
    binomial bound on the share of other values (Clopper and Pearson 1934). NaN for NaN.
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
    """Standard error at a true share of 1/2 with the same effective sample size."""
    return error / sqrt(4 * share * (1 - share))


def detectable_difference(error: float, freedom: float) -> float:
    """The difference that a t test at the 5 % level detects with 80 % power, from the standard error of an estimate.

    The sum of two quantiles of Student's t is within 0.2 % of the exact noncentral distribution from 10 prompts on.
    """
    return (t_quantile(LEVEL, freedom) + t_quantile(2 * POWER - 1, freedom)) * error


def prompts_needed(sd: float, difference: float) -> int:
    """The fewest prompts, 3 or more, on which a difference is detected with 80 % power.

    `sd` is the standard deviation over prompts of one prompt's mean. Raises ValueError unless the difference is
    positive.
    """
    if difference <= 0:
        raise ValueError(f"difference is {difference}; it must be above 0")
    return next(n for n in count(3) if detectable_difference(sd / sqrt(n), n - 1) <= difference)


def interval_excludes(lo: float, hi: float, value: float, units: int, decimals: int | None = None) -> bool:
    """Whether an interval over `units` prompts (or items) excludes a value; False below `FEW_PROMPTS` units.

    This is the one rule for bold entries in tables and for filled marks in figures. `decimals` are those with which the
    bounds are printed: bounds that print as the value do not exclude it.
    """
    if decimals is not None:
        lo, hi = round(lo, decimals), round(hi, decimals)
    return units >= FEW_PROMPTS and (lo > value or hi < value)


def clustered_interval(values: Floats, clusters: NDArray[np.object_]) -> Interval:
    """95 % bootstrap interval of the mean of the known values, resampling whole clusters.

    (NaN, NaN) for fewer than `MIN_PROMPTS` clusters.
    """
    known = ~np.isnan(values)
    _, index = np.unique(clusters[known], return_inverse=True)
    counts = np.bincount(index).astype(float)
    sums = np.bincount(index, weights=values[known])
    return bootstrap_interval(len(sums), lambda weights: (weights @ sums) / (weights @ counts))


def bootstrap_estimate(prompts: int, statistic: Callable[[Floats], Floats]) -> tuple[float, float, float]:
    """The statistic of all prompts, each counted once, with its `bootstrap_interval`."""
    [value] = statistic(np.ones((1, prompts)))
    return float(value), *bootstrap_interval(prompts, statistic)


def bootstrap_interval(prompts: int, statistic: Callable[[Floats], Floats]) -> Interval:
    """95 % bootstrap interval of a statistic that maps the prompts' counts in each resample (R, P) to values (R,).

    The percentile bootstrap of whole prompts (Field and Welsh 2007) with quantiles expanded as for Student's t
    (Hesterberg 2015). Resamples with an undefined statistic (NaN) are left out. (NaN, NaN) for fewer than
    `MIN_PROMPTS` prompts or without a defined value.
    """
    if prompts < MIN_PROMPTS:
        return UNDEFINED
    drawn = resample_counts(prompts, RESAMPLES)
    parts = [statistic(drawn[i : i + CHUNK].astype(float)) for i in range(0, len(drawn), CHUNK)]
    values = np.concatenate(parts)
    values = values[~np.isnan(values)]
    if not len(values):
        return UNDEFINED
    tail = float(ndtr(-t_quantile(LEVEL, prompts - 1) * sqrt(prompts / (prompts - 1))))
    lo, hi = np.quantile(values, [tail, 1 - tail])
    return float(lo), float(hi)


@lru_cache(maxsize=8)
def resample_counts(prompts: int, resamples: int) -> NDArray[np.uint8]:
    """Number of times that each resample draws each prompt, (resamples, prompts); the same for every cell.

    One byte is enough: the chance that a prompt is drawn 256 times is below 1e-500.
    """
    rng = np.random.default_rng(SEED)
    drawn = np.empty((resamples, prompts), dtype=np.uint8)
    for row in drawn:
        row[:] = np.bincount(rng.integers(0, prompts, prompts), minlength=prompts)
    return drawn


def holm_adjusted(p_values: Floats) -> Floats:
    """Holm's (1979) adjusted p-values, which control the familywise error rate; NaN is left out and stays NaN."""
    from statsmodels.stats.multitest import multipletests  # slow to import

    adjusted = np.full(len(p_values), nan)
    known = ~np.isnan(p_values)
    if known.any():
        adjusted[known] = multipletests(p_values[known], method="holm")[1]
    return adjusted
