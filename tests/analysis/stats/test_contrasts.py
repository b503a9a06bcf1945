"""Contrasts of two methods against scipy and loops."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from scipy import stats

from analysis.stats.contrasts import contrast
from analysis.stats.win_rates import tally


def grid(rng, prompts, seeds, centre=0.0):
    """A tally of one verdict a prompt and seed."""
    points = rng.choice([0.0, 0.5, 1.0], (prompts, seeds), p=[0.4 - centre, 0.2, 0.4 + centre])
    rows, columns = np.indices(points.shape)
    names = np.array([f"p{i}" for i in range(prompts)], dtype=object)
    return points, tally(points.ravel(), names[rows.ravel()], columns.ravel())


def test_paired_test_and_interval_are_scipys_and_change_sign_with_the_methods():
    rng = np.random.default_rng(0)
    (one, first), (other, second) = grid(rng, 50, 3, 0.1), grid(rng, 50, 3)
    of, back = contrast(first, second), contrast(second, first)
    theirs = stats.ttest_rel(one.mean(axis=1), other.mean(axis=1))
    bounds = theirs.confidence_interval(0.95)
    assert of.p == pytest.approx(theirs.pvalue)
    assert (of.lo, of.hi) == pytest.approx((100 * bounds.low, 100 * bounds.high))
    assert of.across_seeds_lo <= of.lo and of.hi <= of.across_seeds_hi
    ours = [-back.difference, -back.hi, -back.lo, -back.across_seeds_hi, back.p, 100 - back.improvement]
    assert [of.difference, of.lo, of.hi, of.across_seeds_lo, of.p, of.improvement] == pytest.approx(ours)


def test_improvement_is_the_mean_of_mann_whitneys_u():
    rng = np.random.default_rng(1)
    (one, first), (other, second) = grid(rng, 40, 3, 0.2), grid(rng, 40, 4)
    chances = [stats.mannwhitneyu(a, b).statistic / 12 for a, b in zip(one, other, strict=True)]
    of = contrast(first, second)
    assert of.improvement == pytest.approx(100 * np.mean(chances))
    assert of.improvement_lo < of.improvement < of.improvement_hi


def test_only_prompts_that_both_have_scored_count():
    one = tally(np.array([1, 0, np.nan, 1.0]), np.array(list("abcd"), dtype=object), np.zeros(4, int))
    other = tally(np.array([0.5, 0, 1.0]), np.array(list("abc"), dtype=object), np.zeros(3, int))
    of = contrast(one, other)
    assert (of.prompts, of.difference) == (2, pytest.approx(25))
    assert isnan(of.across_seeds_lo)
    none = contrast(one, tally(np.ones(1), np.array(["z"], dtype=object), np.zeros(1, int)))
    assert none.prompts == 0 and isnan(none.difference)


def test_equal_differences_on_every_prompt_have_the_binomial_bound():
    names = np.array([f"p{i}" for i in range(30)], dtype=object)
    won, tied = (tally(np.full(30, value), names, np.zeros(30, int)) for value in (1.0, 0.5))
    same, half = contrast(tied, tied), contrast(won, tied)
    assert (same.difference, same.p) == (0, 1) and same.lo < 0 < same.hi
    assert half.difference == 50 and 0 < half.lo < 50 < half.hi and half.p < 0.05


def test_seeds_widen_the_interval_as_in_welchs_test():
    rng = np.random.default_rng(3)
    (_, one), (_, other) = grid(rng, 60, 3, 0.3), grid(rng, 60, 3)
    shifted = one.sums.copy()
    shifted[:, 0] = 0.5  # a seed that did not learn
    of = contrast(replace(one, sums=shifted), other)
    errors = []
    for sums in (shifted, other.sums):
        rest = sums - sums.mean(1, keepdims=True) - sums.mean(0) + sums.mean()
        errors.append(max(0, sums.mean(0).var(ddof=1) - (rest**2).sum() / (59 * 2) / 60) / 3)
    freedom = sum(errors) ** 2 / sum(error**2 / 2 for error in errors)
    half = np.hypot((of.hi - of.lo) / 200, stats.t.ppf(0.975, freedom) * np.sqrt(sum(errors)))
    assert errors[0] > 0 and of.across_seeds_hi - of.across_seeds_lo == pytest.approx(200 * half)
