"""Win rates and quality differences, with 95 % intervals over prompts.

All verdicts on a prompt (orders, judges, seeds) stay together, so an interval generalises to other prompts of the same
kind, for these trained models. Only the across-seed intervals of `seeds` generalise to other training seeds too.
Win rates are in percent, scores in the judge's own unit.
"""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import (
    FEW_PROMPTS,
    UNDEFINED,
    Bools,
    Floats,
    clustered_interval,
    detectable_difference,
    error_at_half,
    half_width,
    interval_excludes,
    share_interval,
    share_p_value,
    standard_error,
    t_interval,
)
from analysis.stats.ties import decided_counts, tied_interval, tied_p_value


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums of points and counts of the scored verdicts by prompt and seed (P, S).

    Prompts and seeds without a scored verdict are left out.
    """

    prompts: NDArray[np.object_]
    seeds: NDArray[np.int64]
    sums: Floats
    counts: Floats

    @property
    def means(self) -> Floats:
        """Mean points by prompt and seed (P, S), NaN where nothing is scored."""
        return np.where(self.counts > 0, self.sums / np.maximum(self.counts, 1), nan)

    @property
    def rate(self) -> float:
        """Mean points over all scored verdicts; NaN without any."""
        return float(self.sums.sum() / self.counts.sum()) if len(self.prompts) else nan

    @property
    def deviations(self) -> Floats:
        """Contribution of each prompt (P,) to the rate, as deviations with mean 0."""
        sums, counts = self.sums.sum(axis=1), self.counts.sum(axis=1)
        mean = float(sums.sum() / counts.sum())
        return np.asarray((sums - mean * counts) / float(counts.mean()), dtype=np.float64)

    @property
    def gains(self) -> Floats:
        """How far each prompt (P,) is from a tie, -1 to 1; their mean is twice the rate's distance from 1/2."""
        counts = self.counts.sum(axis=1)
        return np.asarray((2 * self.sums.sum(axis=1) - counts) / counts.mean(), dtype=np.float64)


@dataclass(frozen=True)
class WinRate:
    """Tie-adjusted win rate of the trained policy against its start, in percent.

    `lo`, `hi`: 95 % interval (NaN where nothing is scored); `boot_lo`, `boot_hi`: that of the bootstrap (NaN below
    `MIN_PROMPTS`). `p` tests a true rate of 50 %. `detectable` is the distance from 50 that this many prompts detect
    with 80 % power, `sd` the standard deviation over prompts behind it. `worst_lo`, `worst_hi`: the rate of all pairs
    if every unscored verdict were lost, or won. `prompts` and `verdicts` count all, including the unscored;
    `half_scored` counts the scored verdicts left out because their pair is unscored in the other order; `scored` counts
    the prompts with a verdict that counts.
    """

    rate: float
    lo: float
    hi: float
    prompts: int
    verdicts: int
    unscored: int
    half_scored: int
    worst_lo: float
    worst_hi: float
    scored: int
    boot_lo: float
    boot_hi: float
    p: float
    sd: float
    detectable: float

    @property
    def few(self) -> bool:
        """Whether the interval is over too few scored prompts."""
        return self.scored < FEW_PROMPTS

    @property
    def open(self) -> bool:
        """Whether the interval lies on one side of 50 % and the unscored verdicts could bring the rate to the other."""
        return self.lo > 50 >= self.worst_lo or self.hi < 50 <= self.worst_hi


@dataclass(frozen=True)
class Quality:
    """Mean score before and after training, and the paired difference with its 95 % interval over `prompts`."""

    start: float
    policy: float
    difference: float
    lo: float
    hi: float
    prompts: int


def tally(points: Floats, prompts: NDArray[np.object_], seeds: NDArray[np.int64] | None = None) -> Tally:
    """Sums and counts from points (1, 0.5, 0, NaN where unscored), prompt and seed of each verdict.

    Without `seeds` all verdicts count as of one seed.
    """
    known = ~np.isnan(points)
    if seeds is None:
        seeds = np.zeros(len(points), dtype=np.int64)
    names, row = np.unique(prompts[known], return_inverse=True)
    numbers, column = np.unique(seeds[known], return_inverse=True)
    sums, counts = np.zeros((2, len(names), len(numbers)))
    np.add.at(sums, (row, column), points[known])
    np.add.at(counts, (row, column), 1)
    return Tally(names, numbers, sums, counts)


def known_mean(values: Floats) -> float:
    """Mean of the values that are not NaN; NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else nan


def share_with_interval(scored: Tally) -> tuple[float, float, float]:
    """A mean of values in 0..1 with its cluster-robust Wilson interval; NaN without any value.

    Where nearly all prompts tie, the interval is that of `ties`.
    """
    number = len(scored.prompts)
    if not number:
        return nan, *UNDEFINED
    if decided := decided_counts(scored.gains):
        return scored.rate, *tied_interval(*decided, number)
    half = half_width(standard_error(scored.deviations), number - 1)
    return scored.rate, *share_interval(scored.rate, half, number)


def difference_with_interval(scored: Tally) -> tuple[float, float, float]:
    """A mean difference with its cluster-robust t interval; bounds are NaN for fewer than two prompts."""
    number = len(scored.prompts)
    if number < 2:
        return scored.rate, *UNDEFINED
    return scored.rate, *t_interval(scored.rate, standard_error(scored.deviations), number)


def win_rate(points: Floats, prompts: NDArray[np.object_], half: Bools | None = None) -> WinRate:
    """Win rate from the policy's points (1, 0.5, 0, NaN where unscored) and the prompt of each verdict.

    `half` (N,) marks verdicts that do not count, as found by `half_scored`. The rate is the mean of all points that
    count. There is at least one verdict.
    """
    unscored, total = int(np.isnan(points).sum()), float(np.nansum(points))
    if half is not None:
        points = np.where(half, nan, points)
    counted = tally(points, prompts)
    scored = len(counted.prompts)
    rate, lo, hi = share_with_interval(counted)
    boot_lo, boot_hi = clustered_interval(100 * points, prompts)
    error, p, sd, detectable = 0.0, nan, nan, nan
    if scored:
        error, decided = standard_error(counted.deviations), decided_counts(counted.gains)
        p = tied_p_value(*decided, scored) if decided else share_p_value(rate, error, scored)
    if error:
        at_half = 100 * error_at_half(rate, error)
        sd, detectable = at_half * sqrt(scored), detectable_difference(at_half, scored - 1)
    return WinRate(
        rate=100 * rate,
        lo=100 * lo,
        hi=100 * hi,
        prompts=len(set(prompts)),
        verdicts=len(points),
        unscored=unscored,
        half_scored=int(np.isnan(points).sum()) - unscored,
        worst_lo=100 * total / len(points),
        worst_hi=100 * (total + unscored) / len(points),
        scored=scored,
        boot_lo=boot_lo,
        boot_hi=boot_hi,
        p=p,
        sd=sd,
        detectable=detectable,
    )


def quality_change(start: Floats, policy: Floats, prompts: NDArray[np.object_]) -> Quality | None:
    """Mean scores and their paired difference over the verdicts that carry both; None without any."""
    scored = ~np.isnan(policy - start)
    if not scored.any():
        return None
    before, after = start[scored], policy[scored]
    change = tally(after - before, prompts[scored])
    interval = difference_with_interval(change)
    return Quality(float(before.mean()), float(after.mean()), *interval, prompts=len(change.prompts))


def is_undecided(win: WinRate) -> bool:
    """Whether a rate cannot be distinguished from 50 %.

    Its interval covers 50 or is over too few prompts, or the unscored verdicts could bring it past 50.
    """
    return win.open or not interval_excludes(win.lo, win.hi, 50, win.scored, decimals=1)
