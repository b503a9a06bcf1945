"""Comparison of two methods on the same prompts and builds.

The seeds of each build of the checkpoints are numbered as in `records.builds`.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import hypot, isnan, nan

import numpy as np
from numpy.typing import NDArray

from analysis.records.builds import OFFSET
from analysis.stats.intervals import (
    LEVEL,
    Floats,
    half_width,
    share_interval,
    share_p_value,
    standard_error,
    t_interval,
    t_p_value,
    t_quantile,
)
from analysis.stats.seeds import Component, combine_components, seed_component
from analysis.stats.ties import decided_counts, tied_interval, tied_p_value
from analysis.stats.win_rates import Tally


@dataclass(frozen=True)
class Contrast:
    """Difference of two win rates on the prompts that both methods have scored, in percentage points.

    `lo` and `hi` bound the paired 95 % interval over prompts, `across_seeds_lo` and `across_seeds_hi` the one over
    prompts and training seeds together (NaN below `MIN_SEEDS`); `p` tests a true difference of 0. `improvement` is the
    probability, in percent, that on a random prompt a random seed of the first method gets more points than one of the
    second, equal points counting half (Agarwal et al. 2021, prompts as tasks). `freedom` has the degrees of freedom of
    the widest interval. `floored`: the seeds' part of it is at its floor, as in `seeds.Component`.
    """

    prompts: int
    floored: bool
    difference: float
    lo: float
    hi: float
    across_seeds_lo: float
    across_seeds_hi: float
    p: float
    improvement: float
    improvement_lo: float
    improvement_hi: float
    freedom: float

    @property
    def across_seeds_p(self) -> float:
        """Two-sided p-value of a true difference of 0, over prompts and training seeds; NaN below `MIN_SEEDS`."""
        error = (self.across_seeds_hi - self.across_seeds_lo) / (2 * t_quantile(LEVEL, self.freedom))
        return t_p_value(self.difference / error, self.freedom) if error else nan

    @property
    def widest(self) -> tuple[float, float, float]:
        """Bounds and p-value over prompts and training seeds; below `MIN_SEEDS`, over prompts alone."""
        if isnan(self.across_seeds_lo):
            return self.lo, self.hi, self.p
        return self.across_seeds_lo, self.across_seeds_hi, self.across_seeds_p


def contrast(one: Tally, other: Tally) -> Contrast:
    """The win rate of `one` minus that of `other`, on the prompts that both have scored."""
    shared, one_rows, other_rows = np.intersect1d(one.prompts, other.prompts, return_indices=True)
    prompts = len(shared)
    if not prompts:
        return Contrast(0, False, *[nan] * 10)
    one, other = tally_rows(one, one_rows), tally_rows(other, other_rows)
    difference = one.rate - other.rate
    over_prompts = Component(standard_error(one.deviations - other.deviations), prompts - 1)
    error = over_prompts.error
    if decided := decided_counts((one.gains - other.gains) / 2):  # few prompts with a difference
        lo, hi = (2 * bound - 1 for bound in tied_interval(*decided, prompts))
        p = tied_p_value(*decided, prompts)
    elif error:
        lo, hi = t_interval(difference, error, prompts)
        p = t_p_value(difference / error, prompts - 1)
    else:  # the same difference (-1 to 1) on every prompt
        lo, hi = (2 * bound - 1 for bound in share_interval((difference + 1) / 2, 0.0, prompts))
        p = share_p_value((difference + 1) / 2, 0.0, prompts)
    over_seeds = combine_components(seed_component(one), seed_component(other))
    half = hypot(max(hi - difference, difference - lo), over_seeds.half_width)
    width = over_prompts if isnan(half) else combine_components(over_prompts, over_seeds)
    better = probability_of_improvement(one.means, other.means)
    improvement = float(better.mean())
    spread = half_width(standard_error(better - improvement), prompts - 1)
    improvement_lo, improvement_hi = share_interval(improvement, spread, prompts)
    return Contrast(
        prompts=prompts,
        floored=width.floored,
        difference=100 * difference,
        lo=100 * lo,
        hi=100 * hi,
        across_seeds_lo=100 * (difference - half),
        across_seeds_hi=100 * (difference + half),
        p=p,
        improvement=100 * improvement,
        improvement_lo=100 * improvement_lo,
        improvement_hi=100 * improvement_hi,
        freedom=width.freedom,
    )


def paired_change(before: Tally, after: Tally) -> Contrast:
    """The change between two tallies of the same prompts and seeds; what a seed or a build has before cancels."""
    change = replace(after, sums=after.sums - before.sums)
    return contrast(change, replace(after, sums=np.zeros_like(after.sums)))


def tally_rows(scored: Tally, rows: NDArray[np.intp]) -> Tally:
    """The tally of some of its prompts, given by row."""
    sums, counts = scored.sums[rows], scored.counts[rows]
    seeds = counts.sum(axis=0) > 0
    return Tally(scored.prompts[rows], scored.seeds[seeds], sums[:, seeds], counts[:, seeds])


def probability_of_improvement(one: Floats, other: Floats) -> Floats:
    """By prompt (P,), the share of pairs of seeds, of points (P, S) and (P, T), that `one` wins; ties count half."""
    first, second = one[:, :, None], other[:, None, :]
    known = ~np.isnan(first + second)
    won = (first > second) + 0.5 * (first == second)
    return np.asarray((won * known).sum(axis=(1, 2)) / known.sum(axis=(1, 2)), dtype=np.float64)


def builds(tally: Tally) -> set[int]:
    """The builds of a tally's seeds, numbered from 0."""
    return {int(seed) // OFFSET for seed in tally.seeds}


def of_builds(tally: Tally, chosen: Collection[int]) -> Tally:
    """The tally of the seeds of some builds."""
    columns = np.isin(tally.seeds // OFFSET, list(chosen))
    kept = Tally(tally.prompts, tally.seeds[columns], tally.sums[:, columns], tally.counts[:, columns])
    return tally_rows(kept, np.flatnonzero(kept.counts.sum(axis=1) > 0))


def split_builds(tally: Tally) -> dict[int, Tally]:
    """The tally of each build."""
    return {build: of_builds(tally, {build}) for build in sorted(builds(tally))}


def on_common_builds(one: Tally, other: Tally) -> tuple[Tally, Tally]:
    """Both tallies on the builds that both have; empty if they have none in common."""
    common = builds(one) & builds(other)
    return of_builds(one, common), of_builds(other, common)


def number_of_seeds(tally: Tally) -> int:
    """The number of seeds of each build."""
    return len({int(seed) % OFFSET for seed in tally.seeds})
