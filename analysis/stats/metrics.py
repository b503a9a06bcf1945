"""Win rates, quality differences and the spread over seeds: pure functions of arrays.

All intervals are 95 %, over prompts, with whatever was judged on a prompt (orders, judges, seeds) kept together:
they are about other prompts of the same kind, for these trained models. Only the intervals named `wide` are also
about other training seeds. Win rates are in percent, scores in the judge's own unit.

Of a judgement in both orders, a pair counts only where both orders are scored (`half_scored` finds the others). Were
one order to fail more often than the other, a judge's taste for a place would otherwise pass for a win: now a judge
that always prefers what it is shown first is at 50 %, whatever fails. Where every pair was asked in one order only, as
in a released evaluation, each verdict counts; a taste for a place then evens out only over pairs shown in random order.
"""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import (
    FEW_PROMPTS,
    LEVEL,
    MIN_PROMPTS,
    RESAMPLES,
    SEED,
    UNDEFINED,
    Floats,
    clustered_interval,
    error_at_half,
    influence,
    interval_excludes,
    share_interval,
    share_p_value,
    standard_error,
    t_interval,
    t_quantile,
)
from analysis.stats.power import detectable_difference as detectable

__all__ = [
    "FEW_PROMPTS",
    "LEVEL",
    "MIN_PROMPTS",
    "MIN_SEEDS",
    "RESAMPLES",
    "SEED",
    "Floats",
    "Quality",
    "SeedSpread",
    "Tally",
    "WinRate",
    "clustered_interval",
    "first_position_share",
    "half_scored",
    "has_both_orders",
    "interquartile_mean",
    "interval_excludes",
    "is_undecided",
    "position_consistency",
    "quality_change",
    "seed_spread",
    "tally",
    "win_rate",
]

MIN_SEEDS = 3  # fewer say nothing about the seeds to come


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums of points and counts of the scored verdicts, (prompts, seeds), 0 where there is none.

    Only prompts and seeds with a scored verdict are in it.
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
        """Mean points over all scored verdicts."""
        return float(self.sums.sum() / self.counts.sum())

    @property
    def deviations(self) -> Floats:
        """What each prompt (P,) adds to the rate."""
        return influence(self.sums.sum(axis=1), self.counts.sum(axis=1))


@dataclass(frozen=True)
class WinRate:
    """Tie-adjusted win rate of the trained policy against its start, in percent.

    `lo` and `hi` bound the 95 % interval (NaN where nothing is scored), `boot_lo` and `boot_hi` the bootstrap's (NaN
    below `MIN_PROMPTS`); `p` tests a true rate of 50 %; `detectable` is the distance from 50 that this many prompts
    find with 80 % power, `sd` the spread over prompts behind it. `worst_lo` and `worst_hi` are the rate of all pairs
    were every unscored verdict lost, or won. `prompts` and `verdicts` count all, the unscored too; `half_scored` the
    scored verdicts that do not count, their pair being unscored in the other order; `scored` the prompts with a verdict
    that counts.
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
        """Whether there are so few scored prompts that the interval means little."""
        return self.scored < FEW_PROMPTS

    @property
    def open(self) -> bool:
        """Whether the interval lies on one side of 50 %, and the unscored could bring the rate to the other."""
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


@dataclass(frozen=True)
class SeedSpread:
    """Win rates of single seeds, in percent; `std` has n - 1 in its denominator, NaN for one seed.

    `iqm` is their interquartile mean. The wide intervals, of the mean and of the `iqm`, are about other seeds and
    other prompts both; NaN below `MIN_SEEDS`.
    """

    rates: dict[int, float]
    mean: float
    std: float
    low: float
    high: float
    iqm: float
    wide_lo: float
    wide_hi: float
    iqm_lo: float
    iqm_hi: float


def tally(points: Floats, prompts: NDArray[np.object_], seeds: NDArray[np.int64]) -> Tally:
    """The verdicts summed up, from points (1, 0.5, 0, NaN where unscored), prompt and seed of each."""
    known = ~np.isnan(points)
    names, row = np.unique(prompts[known], return_inverse=True)
    numbers, column = np.unique(seeds[known], return_inverse=True)
    sums, counts = np.zeros((2, len(names), len(numbers)))
    np.add.at(sums, (row, column), points[known])
    np.add.at(counts, (row, column), 1)
    return Tally(names, numbers, sums, counts)


def has_both_orders(policy_first: NDArray[np.bool_], pairs: NDArray[np.object_]) -> bool:
    """Whether any pair was asked in both orders, from the order and the pair of each verdict, scored or not."""
    return bool(set(pairs[policy_first]) & set(pairs[~policy_first]))


def half_scored(
    points: Floats, policy_first: NDArray[np.bool_], pairs: NDArray[np.object_]
) -> NDArray[np.bool_]:
    """Which scored verdicts (N,) of one judge stand alone, their pair not being scored in the other order too.

    None where every pair was asked in one order only. `pairs` names each verdict's pair, one name a run and prompt.
    """
    if not has_both_orders(policy_first, pairs):
        return np.zeros(len(points), dtype=bool)
    known = ~np.isnan(points)
    names, row = np.unique(pairs, return_inverse=True)
    scored = np.zeros((len(names), 2), dtype=bool)
    scored[row[known], policy_first[known].astype(int)] = True
    both: NDArray[np.bool_] = scored[:, 0] & scored[:, 1]
    return np.asarray(known & ~both[row], dtype=bool)


def win_rate(
    points: Floats,
    prompts: NDArray[np.object_],
    half: NDArray[np.bool_] | None = None,
    seed: int = SEED,
) -> WinRate:
    """Win rate from the policy's points (1, 0.5, 0, NaN where unscored) and the prompt of each verdict.

    `half` (N,) marks verdicts that do not count, as `half_scored` finds them; None is none of them. The rate is the
    mean points of all that count. Raises ValueError for no verdict at all. `seed` is the bootstrap's.
    """
    if not len(points):
        raise ValueError("a win rate needs at least one verdict")
    unscored = int(np.isnan(points).sum())
    total = float(np.nansum(points))
    if half is not None:
        points = np.where(half, nan, points)
    of = tally(points, prompts, np.zeros(len(points), dtype=np.int64))
    scored = len(of.prompts)
    rate = of.rate if scored else nan
    error = standard_error(of.deviations) if scored > 1 else 0.0
    lo, hi = share_interval(rate, half_width(error, scored), scored) if scored else UNDEFINED
    boot_lo, boot_hi = clustered_interval(100 * points, prompts, seed)
    sd = 100 * error_at_half(rate, error) * sqrt(scored) if error else nan
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
        p=share_p_value(rate, error, scored) if scored else nan,
        sd=sd,
        detectable=detectable(sd, scored) if error else nan,
    )


def half_width(error: float, number: int) -> float:
    """Half the t interval of an estimate over `number` prompts or seeds, 0 where its error is."""
    return t_quantile(LEVEL, number - 1) * error if error else 0.0


def quality_change(start: Floats, policy: Floats, prompts: NDArray[np.object_]) -> Quality | None:
    """Mean scores and their paired difference over the verdicts that carry both; None if none does."""
    scored = ~np.isnan(policy - start)
    if not scored.any():
        return None
    before, after = start[scored], policy[scored]
    of = tally(after - before, prompts[scored], np.zeros(len(after), dtype=np.int64))
    count = len(of.prompts)
    error = standard_error(of.deviations) if count > 1 else nan
    lo, hi = t_interval(of.rate, error, count)
    return Quality(float(before.mean()), float(after.mean()), of.rate, lo, hi, count)


def seed_spread(points: Floats, prompts: NDArray[np.object_], seeds: NDArray[np.int64]) -> SeedSpread:
    """Each seed's win rate apart: how far training repeats itself, which the pooled interval doesn't say.

    The wide intervals add two half widths in squares: that over prompts, with its own Student's t, and that over
    seeds with its own, on seeds - 1 degrees of freedom.
    """
    of = tally(points, prompts, seeds)
    totals = of.counts.sum(axis=0)
    own = dict(zip(of.seeds.tolist(), (of.sums.sum(axis=0) / totals).tolist(), strict=True))
    rates = {seed: 100 * own.get(seed, nan) for seed in sorted({int(seed) for seed in seeds})}
    if not own:
        return SeedSpread(rates, *[nan] * 9)
    shares = np.array(list(own.values()))
    mean, iqm = float(shares.mean()), interquartile_mean(shares)
    wide, iqm_wide = UNDEFINED, UNDEFINED
    if len(own) >= MIN_SEEDS and len(of.prompts) > 1:
        by_prompt = half_width(standard_error(of.deviations), len(of.prompts))
        half = sqrt(by_prompt**2 + half_width(seed_error(of), len(own)) ** 2)
        wide, iqm_wide = (share_interval(share, half, len(of.prompts)) for share in (mean, iqm))
    std = float(shares.std(ddof=1)) if len(own) > 1 else nan
    low, high = float(shares.min()), float(shares.max())
    return SeedSpread(rates, *(100 * v for v in (mean, std, low, high, iqm, *wide, *iqm_wide)))


def interquartile_mean(values: Floats) -> float:
    """Mean of the middle half of the values; a value that a quartile cuts counts by its part inside."""
    quarters = np.sort(np.repeat(values, 4))
    return float(quarters[len(values) : 3 * len(values)].mean())


def seed_error(of: Tally) -> float:
    """Standard error of the rate from the seeds alone, prompts fixed: the crossed random effects' component.

    The variance of the seeds' means less what prompts differing within seeds put into it, at least 0, over the
    prompts that every seed has scored (Searle, Casella and McCulloch 1992, two-way without replication). NaN for
    fewer than two such prompts or seeds.
    """
    means = of.means[~np.isnan(of.means).any(axis=1)]
    prompts, seeds = means.shape
    if min(prompts, seeds) < 2:
        return nan
    by_seed = means.mean(axis=0)
    rest = means - means.mean(axis=1, keepdims=True) - by_seed + means.mean()
    noise = (rest**2).sum() / ((prompts - 1) * (seeds - 1)) / prompts
    return sqrt(max(0.0, float(by_seed.var(ddof=1) - noise)) / seeds)


def first_position_share(points: Floats, policy_first: NDArray[np.bool_]) -> float:
    """Percent of decided verdicts that went to the response shown first; 50 is a judge blind to order."""
    decided = (points == 0) | (points == 1)
    if not decided.any():
        return nan
    return 100 * float(((points[decided] == 1) == policy_first[decided]).mean())


def position_consistency(
    points: Floats, policy_first: NDArray[np.bool_], pairs: NDArray[np.object_]
) -> float:
    """Percent of the pairs scored in both orders that got the same verdict in both; NaN if there is none."""
    known = ~np.isnan(points)
    names, row = np.unique(pairs[known], return_inverse=True)
    sums, counts = np.zeros((2, len(names), 2))
    np.add.at(sums, (row, policy_first[known].astype(int)), points[known])
    np.add.at(counts, (row, policy_first[known].astype(int)), 1)
    both = (counts > 0).all(axis=1)
    if not both.any():
        return nan
    first, second = (sums[both] / counts[both]).T
    return 100 * float((first == second).mean())


def is_undecided(win: WinRate) -> bool:
    """Whether a rate is not told from 50 %: the interval covers 50 or rests on too few prompts, or the rate is open."""
    return win.open or not interval_excludes(win.lo, win.hi, 50, win.scored)
