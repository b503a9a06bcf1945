"""How well a value tells wrong responses from right ones: the area under the ROC curve, over prompts.

AUROC is the chance that a wrong response has a higher value than a right one, equals counting half (Mann and
Whitney's U over the number of pairs, exact with ties). Two of them:

- pooled: any wrong response against any right one, as published. Prompts differ in how hard they are, so a value
  that only knows hard prompts from easy ones separates too.
- within prompts: the mean, over prompts that have both, of each prompt's own AUROC. GRPO compares the responses
  to one prompt with each other and with nothing else, so this is what its advantages can use.

Intervals are 95 % and resample whole prompts: pooled, the bootstrap of `intervals.reweighted_interval`; within, a mean
of values in 0..1 over prompts, `intervals.share_interval`. Where all pairs agree, both give its binomial bound.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import (
    LEVEL,
    UNDEFINED,
    Floats,
    share_interval,
    standard_error,
    t_interval,
    t_quantile,
    weighted_bootstrap_interval,
)

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over `prompts` prompts; NaN where there is none."""

    value: float
    lo: float
    hi: float
    prompts: int


@dataclass(frozen=True, eq=False)
class Wins:
    """Pairs of a wrong and a right response, by their P prompts.

    `won` (P, P): how often the wrong responses of a row's prompt have a higher value than the right ones of a
    column's, equals counting half; `wrong` and `right` (P,): how many there are.
    """

    won: Floats
    wrong: Floats
    right: Floats

    def pooled(self, weights: Floats) -> Floats:
        """AUROC (R,) with the prompts counted as often as `weights` (R, P) says; NaN without a pair."""
        pairs = (weights @ self.wrong) * (weights @ self.right)
        won = ((weights @ self.won) * weights).sum(axis=1)
        found: Floats = np.divide(won, pairs, out=np.full(len(weights), nan), where=pairs > 0)
        return found

    @property
    def mixed(self) -> Bools:
        """Which prompts (P,) have both right and wrong responses."""
        return (self.wrong > 0) & (self.right > 0)

    @property
    def within(self) -> Floats:
        """AUROC of each of the mixed prompts by itself."""
        own: Floats = np.diag(self.won) / np.maximum(self.wrong * self.right, 1)
        return own[self.mixed]


def count_wins(values: Floats, correct: Bools, prompts: NDArray[np.object_]) -> Wins:
    """The pairs of N responses, from the value, the correctness and the prompt of each. No value may be NaN."""
    _, index = np.unique(prompts, return_inverse=True)
    number = int(index.max()) + 1 if len(index) else 0
    right_values, right_index = values[correct], index[correct]
    won = np.zeros((number, number))
    for prompt in range(number):
        own = values[~correct & (index == prompt), None]
        each = (own > right_values).sum(axis=0) + 0.5 * (own == right_values).sum(axis=0)
        won[prompt] = np.bincount(right_index, weights=each, minlength=number)
    wrong = np.bincount(index[~correct], minlength=number).astype(float)
    return Wins(won, wrong, np.bincount(right_index, minlength=number).astype(float))


def pooled_auroc(wins: Wins) -> Estimate:
    """AUROC over all pairs; its interval is about the prompts that have a response."""
    number = len(wins.wrong)
    [value] = wins.pooled(np.ones((1, number)))
    lo, hi = weighted_bootstrap_interval(number, wins.pooled)
    if lo == hi and value in (0, 1):  # all pairs agree and resamples cannot differ; others might
        lo, hi = share_interval(float(value), 0.0, int(min((wins.wrong > 0).sum(), (wins.right > 0).sum())))
    return Estimate(float(value), lo, hi, number)


def within_auroc(wins: Wins) -> Estimate:
    """Mean AUROC of the mixed prompts; its interval is about these."""
    each = wins.within
    if not len(each):
        return Estimate(nan, *UNDEFINED, 0)
    mean, number = float(each.mean()), len(each)
    error = standard_error(each - mean) if number > 1 else 0.0
    half = t_quantile(LEVEL, number - 1) * error if error else 0.0
    return Estimate(mean, *share_interval(mean, half, number), number)


def pooled_difference(one: Wins, other: Wins) -> Estimate:
    """Pooled AUROC of one value less that of another on the same responses."""

    def difference(weights: Floats) -> Floats:
        return one.pooled(weights) - other.pooled(weights)

    number = len(one.wrong)
    [value] = difference(np.ones((1, number)))
    return Estimate(float(value), *weighted_bootstrap_interval(number, difference), number)


def within_difference(one: Wins, other: Wins) -> Estimate:
    """Mean difference of the mixed prompts' AUROC under one value and another, on the same responses."""
    each = one.within - other.within
    if not len(each):
        return Estimate(nan, *UNDEFINED, 0)
    mean = float(each.mean())
    error = standard_error(each - mean) if len(each) > 1 else nan
    return Estimate(mean, *t_interval(mean, error, len(each)), len(each))
