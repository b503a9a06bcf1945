"""Bootstrap, Holm and power against scipy, statsmodels and an obvious loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.stats.intervals import (
    bootstrap_interval,
    detectable_difference,
    holm_adjusted,
    prompts_needed,
    share_interval,
    t_p_value,
    t_quantile,
)


@pytest.mark.parametrize("freedom", [1, 2.7, 63, 9999])
def test_students_t_is_two_sided(freedom):
    assert t_p_value(-2.0, freedom) == t_p_value(2.0, freedom) == pytest.approx(2 * stats.t.sf(2, freedom))
    assert t_p_value(t_quantile(0.95, freedom), freedom) == pytest.approx(0.05)


def test_holm_by_hand_leaves_undefined_values_out():
    adjusted = holm_adjusted(np.array([0.02, np.nan, 0.01, 0.8, 0.03]))
    np.testing.assert_allclose(adjusted, [0.06, np.nan, 0.04, 0.8, 0.06])
    assert np.isnan(holm_adjusted(np.array([np.nan]))).all() and not len(holm_adjusted(np.array([])))


def test_bootstrap_interval_is_as_wide_as_students_t():
    values = np.random.default_rng(1).normal(size=15)
    lo, hi = bootstrap_interval(15, lambda weights: weights @ values / weights.sum(axis=1))
    half = stats.t.ppf(0.975, 14) * values.std(ddof=1) / np.sqrt(15)
    assert hi - lo == pytest.approx(2 * half, rel=0.05) and lo < values.mean() < hi


@given(st.floats(0.001, 0.999), st.floats(1e-6, 5), st.integers(2, 500))
@settings(deadline=None)
def test_the_interval_of_a_share_contains_it_and_lies_within_0_and_1(share, half, prompts):
    lo, hi = share_interval(share, half, prompts)
    assert 0 <= lo <= share <= hi <= 1


@pytest.mark.parametrize("prompts", [5, 10, 64, 805])
def test_power_is_that_of_statsmodels(prompts):
    exact = TTestPower().solve_power(None, nobs=prompts, alpha=0.05, power=0.8)
    found = detectable_difference(1 / prompts**0.5, prompts - 1)
    assert found == pytest.approx(exact, rel=0.002 if prompts >= 10 else 0.02)


@pytest.mark.parametrize("difference", [0.05, 0.1, 0.2, 0.27, 0.5, 1.0])
def test_prompts_needed_is_statsmodels(difference):
    exact = TTestPower().solve_power(difference, alpha=0.05, power=0.8)
    assert prompts_needed(1.0, difference) == np.ceil(exact)
    with pytest.raises(ValueError, match="above 0"):
        prompts_needed(1.0, 0.0)
