"""Student's t, Holm and the bootstrap against scipy, statsmodels and an obvious loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from analysis.stats.intervals import (
    RESAMPLES,
    bootstrap_interval,
    draws,
    holm_adjusted,
    resampled,
    share_interval,
    t_p_value,
    t_quantile,
)
from analysis.stats.power import detectable_difference, prompts_needed


@pytest.mark.parametrize("freedom", [1, 2, 2.7, 9, 63, 804, 9999])
def test_students_t_is_scipys(freedom):
    for value in (0.0, 0.3, 1.0, 2.0, 5.0, 8.0):
        assert t_p_value(-value, freedom) == pytest.approx(2 * stats.t.sf(value, freedom), rel=1e-9)
    for level in (0.6, 0.95):
        assert t_quantile(level, freedom) == pytest.approx(stats.t.ppf(0.5 + level / 2, freedom), rel=1e-9)


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_holm_is_statsmodels(values):
    p_values = np.array(values)
    known = ~np.isnan(p_values)
    adjusted = holm_adjusted(p_values)
    assert np.isnan(adjusted[~known]).all()
    if known.any():
        assert adjusted[known] == pytest.approx(multipletests(p_values[known], method="holm")[1])


def test_each_resample_draws_as_many_prompts_as_there_are():
    drawn = draws(40, RESAMPLES, 1)
    assert (drawn.sum(axis=1, dtype=int) == 40).all()
    assert drawn.mean() == pytest.approx(1) and drawn.var() == pytest.approx(1 - 1 / 40, abs=0.01)


def test_totals_are_of_the_drawn_prompts():
    sums = np.random.default_rng(0).normal(size=(12, 3))
    totals, drawn = resampled(sums), draws(12, RESAMPLES, 20260527)
    for row in (0, 249, 250, RESAMPLES - 1):
        obvious = sum(times * each for times, each in zip(drawn[row].tolist(), sums, strict=True))
        assert totals[row] == pytest.approx(obvious)


def test_bootstrap_interval_is_as_wide_as_students_t():
    values = np.random.default_rng(1).normal(size=15)
    lo, hi = bootstrap_interval(np.stack([values, np.ones(15)], axis=1), lambda of: of[:, 0] / of[:, 1])
    half = stats.t.ppf(0.975, 14) * values.std(ddof=1) / np.sqrt(15)
    assert hi - lo == pytest.approx(2 * half, rel=0.05)


@given(st.floats(0.001, 0.999), st.floats(1e-6, 5), st.integers(2, 500))
@settings(deadline=None)
def test_shares_stay_within_their_interval_and_it_within_0_and_1(share, half, prompts):
    lo, hi = share_interval(share, half, prompts)
    assert 0 <= lo <= share <= hi <= 1


@pytest.mark.parametrize("prompts", [5, 10, 64, 805])
def test_detectable_is_statsmodels(prompts):
    exact = TTestPower().solve_power(None, nobs=prompts, alpha=0.05, power=0.8)
    assert detectable_difference(2.0, prompts) == pytest.approx(
        2 * exact, rel=0.002 if prompts >= 10 else 0.02
    )


@pytest.mark.parametrize("difference", [0.05, 0.1, 0.2, 0.5, 1.0])
def test_prompts_needed_is_statsmodels(difference):
    exact = TTestPower().solve_power(difference, alpha=0.05, power=0.8)
    needed = prompts_needed(1.0, difference)
    assert needed == np.ceil(exact)
    assert detectable_difference(1.0, needed) <= difference < detectable_difference(1.0, needed - 1)


def test_no_number_of_prompts_shows_no_difference():
    with pytest.raises(ValueError, match="above 0"):
        prompts_needed(1.0, 0.0)
