"""Partial correlation against regression by hand and the t test of a coefficient in statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis.stats.regression import partial_correlation


def test_without_controls_it_is_pearsons_with_fishers_interval() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20))
    expected = stats.pearsonr(x, y)
    interval = expected.confidence_interval(0.95)
    found = partial_correlation(x, y, np.ones((20, 1)))
    assert found == pytest.approx((expected.statistic, interval.low, interval.high))


def test_it_follows_from_the_t_value_of_the_regression() -> None:
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(2, 12))
    y = x + 3 * z + rng.normal(size=12)
    t = sm.OLS(y, sm.add_constant(np.column_stack([x, z]))).fit().tvalues[1]
    r, lo, hi = partial_correlation(x, y, np.column_stack([z, 2 * z]))  # the second control repeats the first
    assert r == pytest.approx(t / np.sqrt(t**2 + 9))
    assert (lo, hi) == pytest.approx(
        np.tanh(np.arctanh(r) + np.array([-1, 1]) * stats.norm.ppf(0.975) / np.sqrt(8))
    )


def test_a_control_that_explains_everything_leaves_nothing() -> None:
    x = np.arange(8.0)
    assert np.isnan(partial_correlation(x, np.cos(x), x[:, None])).all()
    r, lo, hi = partial_correlation(x[:4], np.cos(x[:4]), np.array([[0.0], [1], [1], [0]]))
    assert abs(r) <= 1 and np.isnan([lo, hi]).all()
