"""Two methods held against each other on the same prompts: pure functions of tallies."""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import (
    LEVEL,
    UNDEFINED,
    Floats,
    Interval,
    share_interval,
    share_p_value,
    standard_error,
    t_interval,
    t_p_value,
    t_quantile,
)
from analysis.stats.metrics import MIN_SEEDS, Tally, half_width, seed_error


@dataclass(frozen=True)
class Contrast:
    """One method's win rate less another's on the prompts that both have scored, in percentage points.

    `p` tests a true difference of 0. `wide_lo` and `wide_hi` are about other seeds of both too, NaN below
    `MIN_SEEDS`. `improvement` is the chance, in percent, that on a random prompt a random seed of the one gets more
    points than a random seed of the other, equal points counting half (Agarwal et al. 2021, prompts as tasks).
    """

    prompts: int
    difference: float
    lo: float
    hi: float
    wide_lo: float
    wide_hi: float
    p: float
    improvement: float
    improvement_lo: float
    improvement_hi: float


def contrast(one: Tally, other: Tally) -> Contrast:
    """How much more `one` wins than `other` does, on the prompts that both have scored."""
    names, mine, theirs = np.intersect1d(one.prompts, other.prompts, return_indices=True)
    if not len(names):
        return Contrast(0, *[nan] * 9)
    one, other = tally_rows(one, mine), tally_rows(other, theirs)
    difference, prompts = one.rate - other.rate, len(names)
    error = standard_error(one.deviations - other.deviations) if prompts > 1 else 0.0
    lo, hi = t_interval(difference, error, prompts) if error else constant_interval(difference, prompts)
    wide_lo, wide_hi = UNDEFINED
    if min(len(one.seeds), len(other.seeds)) >= MIN_SEEDS and prompts > 1:
        half = sqrt(max(hi - difference, difference - lo) ** 2 + seeds_half_width(one, other) ** 2)
        wide_lo, wide_hi = difference - half, difference + half
    p = (
        t_p_value(difference / error, prompts - 1)
        if error
        else share_p_value((difference + 1) / 2, 0.0, prompts)
    )
    better = probability_of_improvement(one.means, other.means)
    spread = standard_error(better - better.mean()) if prompts > 1 else 0.0
    chance = float(better.mean())
    bounds = share_interval(chance, half_width(spread, prompts), prompts)
    return Contrast(
        prompts=prompts,
        difference=100 * difference,
        lo=100 * lo,
        hi=100 * hi,
        wide_lo=100 * wide_lo,
        wide_hi=100 * wide_hi,
        p=p,
        improvement=100 * chance,
        improvement_lo=100 * bounds[0],
        improvement_hi=100 * bounds[1],
    )


def seeds_half_width(one: Tally, other: Tally) -> float:
    """Half the t interval of the difference from the seeds of both alone, prompts fixed (Welch 1947), or NaN."""
    mine, theirs = seed_error(one) ** 2, seed_error(other) ** 2
    if not mine + theirs > 0:
        return mine + theirs
    spread = mine**2 / (len(one.seeds) - 1) + theirs**2 / (len(other.seeds) - 1)
    return t_quantile(LEVEL, (mine + theirs) ** 2 / spread) * sqrt(mine + theirs)


def tally_rows(of: Tally, rows: NDArray[np.intp]) -> Tally:
    """The tally of some of its prompts, by row."""
    seeds = of.counts[rows].sum(axis=0) > 0
    return Tally(of.prompts[rows], of.seeds[seeds], of.sums[rows][:, seeds], of.counts[rows][:, seeds])


def constant_interval(difference: float, prompts: int) -> Interval:
    """Interval of a difference (-1 to 1) that is the same on every prompt: as `share_interval` bounds the others."""
    lo, hi = share_interval((difference + 1) / 2, 0.0, prompts)
    return 2 * lo - 1, 2 * hi - 1


def probability_of_improvement(one: Floats, other: Floats) -> Floats:
    """By prompt (P,), the share of pairs of seeds, of points (P, S) and (P, T), that the one wins; equal: half."""
    mine, theirs = one[:, :, None], other[:, None, :]
    known = ~np.isnan(mine + theirs)
    won = (mine > theirs) + 0.5 * (mine == theirs)
    return np.asarray((won * known).sum(axis=(1, 2)) / known.sum(axis=(1, 2)), dtype=np.float64)
