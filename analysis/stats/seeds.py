"""The spread over training seeds, and intervals over seeds and prompts together: components of variance."""

from dataclasses import dataclass
from math import hypot, isnan, nan, sqrt

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import Floats, Interval, half_width, share_interval, standard_error
from analysis.stats.ties import decided_counts, tied_interval
from analysis.stats.win_rates import Tally, tally

MIN_SEEDS = 3  # no interval over fewer seeds


@dataclass(frozen=True)
class SeedSpread:
    """Win rates of single seeds, in percent; `std` has n - 1 in its denominator, NaN for one seed.

    `iqm` is their interquartile mean. The across-seed 95 % intervals of the mean (`across_seeds_lo`, `across_seeds_hi`)
    and of the `iqm` are over seeds and prompts together; NaN below `MIN_SEEDS`. `freedom` has their effective degrees
    of freedom. `floored`: the seeds' part of them is at its floor, as in `Component`.
    """

    rates: dict[int, float]
    floored: bool
    mean: float
    std: float
    low: float
    high: float
    iqm: float
    across_seeds_lo: float
    across_seeds_hi: float
    iqm_lo: float
    iqm_hi: float
    freedom: float


@dataclass(frozen=True)
class Component:
    """A part of the standard error of an estimate, such as that of the seeds alone, with its degrees of freedom.

    `floored`: the seeds differ by less than the residual variance explains, so that their component is estimated at
    zero. It is then set to that residual part, below which it cannot be measured: a zero from three seeds is luck more
    often than a method without any spread.
    """

    error: float
    freedom: float
    floored: bool = False

    @property
    def half_width(self) -> float:
        """Half the 95 % t interval from this part alone."""
        return half_width(self.error, self.freedom)


def seed_spread(points: Floats, prompts: NDArray[np.object_], seeds: NDArray[np.int64]) -> SeedSpread:
    """The win rate of each seed and its spread, which the pooled interval does not show.

    The across-seed intervals are `across_seeds` wide. Where nearly all prompts tie, the part over prompts is that of
    `ties`.
    """
    scored = tally(points, prompts, seeds)
    shares = scored.sums.sum(axis=0) / scored.counts.sum(axis=0)
    by_seed = dict(zip(scored.seeds.tolist(), shares.tolist(), strict=True))
    rates = {seed: 100 * by_seed.get(seed, nan) for seed in sorted(set(seeds.tolist()))}
    if not by_seed:
        return SeedSpread(rates, False, *[nan] * 10)
    half, component = across_seeds(scored)
    number, decided = len(scored.prompts), decided_counts(scored.gains)

    def interval(share: float) -> Interval:
        if decided is None or isnan(half):
            return share_interval(share, half, number)
        reach = seed_component(scored).half_width
        lo, hi = (bound - scored.rate for bound in tied_interval(*decided, number))
        return share - hypot(lo, reach), share + hypot(hi, reach)

    mean, iqm = float(shares.mean()), interquartile_mean(shares)
    std = float(shares.std(ddof=1)) if len(shares) > 1 else nan
    low, high = float(shares.min()), float(shares.max())
    shown = (100 * value for value in (mean, std, low, high, iqm, *interval(mean), *interval(iqm)))
    return SeedSpread(rates, component.floored, *[*shown, component.freedom])


def across_seeds(scored: Tally) -> tuple[float, Component]:
    """Half the 95 % interval of the rate over prompts and seeds together, and its error; NaN below `MIN_SEEDS`.

    It is the root of the summed squares of two half widths: that over prompts, and that over seeds with Student's t on
    seeds - 1 degrees of freedom.
    """
    over_seeds = seed_component(scored)
    if isnan(over_seeds.error):
        return nan, over_seeds
    over_prompts = Component(standard_error(scored.deviations), len(scored.prompts) - 1)
    half = hypot(over_prompts.half_width, over_seeds.half_width)
    return half, combine_components(over_prompts, over_seeds)


def seed_component(scored: Tally) -> Component:
    """The component of the seeds alone, over the prompts that every seed has scored.

    The variance of the seeds' means minus the part that the residual variance explains, and at least that part (Searle,
    Casella and McCulloch 1992, two-way without replication). NaN for fewer than `MIN_SEEDS` seeds or two such prompts.
    """
    complete = scored.means[~np.isnan(scored.means).any(axis=1)]
    prompts, seeds = complete.shape
    if seeds < MIN_SEEDS or prompts < 2:
        return Component(nan, nan)
    by_seed = complete.mean(axis=0)
    residual = complete - complete.mean(axis=1, keepdims=True) - by_seed + complete.mean()
    noise = float((residual**2).sum()) / ((prompts - 1) * (seeds - 1)) / prompts
    component = float(by_seed.var(ddof=1)) - noise
    floored = component <= 0 < noise
    return Component(sqrt((noise if floored else max(0.0, component)) / seeds), seeds - 1, floored)


def combine_components(*components: Component) -> Component:
    """The component of a sum or difference of independent estimates (Welch 1947).

    Where none has an error, the freedom is that of the largest.
    """
    variances = [component.error**2 for component in components]
    total = sum(variances)
    floored = any(component.floored for component in components)
    if total == 0:
        return Component(0.0, max(component.freedom for component in components), floored)
    spread = sum(v**2 / component.freedom for v, component in zip(variances, components, strict=True))
    return Component(sqrt(total), total**2 / spread, floored)


def interquartile_mean(values: Floats) -> float:
    """Mean of the middle half of the values; a value on a quartile counts by its part inside."""
    quarters = np.sort(np.repeat(values, 4))
    return float(quarters[len(values) : 3 * len(values)].mean())
