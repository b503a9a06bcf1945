"""AUROC of a signal for wrong against right responses, pooled and within prompts, with 95 % intervals over prompts.

AUROC is the probability that a wrong response has a higher value than a right one, ties counting half. GRPO compares
only responses to the same prompt, so its advantages can use nothing but what the AUROC within prompts shows.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import (
    UNDEFINED,
    Bools,
    Floats,
    bootstrap_estimate,
    half_width,
    share_interval,
    standard_error,
    t_interval,
)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over `prompts` prompts; NaN if undefined."""

    value: float
    lo: float
    hi: float
    prompts: int


@dataclass(frozen=True, eq=False)
class Wins:
    """Pairs of a wrong and a right response, counted by their prompts (P).

    `won` (P, P): the number of pairs in which the wrong response (prompt by row) has a higher value than the right one
    (prompt by column), ties counting half. `wrong` and `right` (P,): the number of responses.
    """

    won: Floats
    wrong: Floats
    right: Floats

    def pooled(self, weights: Floats) -> Floats:
        """Pooled AUROC (R,) with the prompts weighted by `weights` (R, P); NaN without a pair."""
        pairs = (weights @ self.wrong) * (weights @ self.right)
        won = ((weights @ self.won) * weights).sum(axis=1)
        return np.asarray(np.divide(won, pairs, out=np.full(len(weights), nan), where=pairs > 0), dtype=float)

    @property
    def mixed(self) -> Bools:
        """Whether each prompt (P,) has both right and wrong responses."""
        return (self.wrong > 0) & (self.right > 0)

    @property
    def within(self) -> Floats:
        """AUROC of each mixed prompt."""
        return np.asarray(np.diag(self.won)[self.mixed] / (self.wrong * self.right)[self.mixed], dtype=float)


def count_wins(values: Floats, correct: Bools, prompts: NDArray[np.object_]) -> Wins:
    """The pairs of N responses, from the value, the correctness and the prompt of each (N,). No value may be NaN."""
    names, index = np.unique(prompts, return_inverse=True)
    number = len(names)
    right_values, right_index = values[correct], index[correct]
    won = np.zeros((number, number))
    for prompt in range(number):
        wrong_values = values[~correct & (index == prompt), None]
        wins = (wrong_values > right_values).sum(axis=0) + 0.5 * (wrong_values == right_values).sum(axis=0)
        won[prompt] = np.bincount(right_index, weights=wins, minlength=number)
    wrong, right = (np.bincount(index[side], minlength=number).astype(float) for side in (~correct, correct))
    return Wins(won, wrong, right)


def pooled_auroc(wins: Wins) -> Estimate:
    """AUROC over all pairs, as published; a signal that only separates hard prompts from easy ones has a high one too.

    The interval is bootstrapped. If all pairs agree, resamples cannot differ, and it is the binomial bound.
    """
    number = len(wins.wrong)
    value, lo, hi = bootstrap_estimate(number, wins.pooled)
    if lo == hi and value in (0, 1):
        lo, hi = share_interval(value, 0.0, int(min((wins.wrong > 0).sum(), (wins.right > 0).sum())))
    return Estimate(value, lo, hi, number)


def within_auroc(wins: Wins) -> Estimate:
    """Mean AUROC of the mixed prompts."""
    each = wins.within
    if not len(each):
        return Estimate(nan, *UNDEFINED, 0)
    mean, number = float(each.mean()), len(each)
    half = half_width(standard_error(each - mean), number - 1)
    return Estimate(mean, *share_interval(mean, half, number), number)


def pooled_difference(one: Wins, other: Wins) -> Estimate:
    """Pooled AUROC of one signal minus that of another on the same responses."""
    number = len(one.wrong)
    found = bootstrap_estimate(number, lambda weights: one.pooled(weights) - other.pooled(weights))
    return Estimate(*found, number)


def within_difference(one: Wins, other: Wins) -> Estimate:
    """Mean difference of the mixed prompts' AUROC under one signal and another, on the same responses."""
    each = one.within - other.within
    if not len(each):
        return Estimate(nan, *UNDEFINED, 0)
    mean = float(each.mean())
    return Estimate(mean, *t_interval(mean, standard_error(each - mean), len(each)), len(each))
