"""Regressions against statsmodels, alpaca_eval's formula, cases by hand, and the coverage of the logistic one."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from patsy import dmatrix
from scipy import stats
from scipy.special import expit

from analysis.stats.regression import (
    NotEstimable,
    controlled_rate,
    fit_logistic,
    partial_correlation,
)

Data = tuple[Any, Any, Any]


def judged(seed: int, n: int = 400, prompts: int = 40, effect: float = 1.0) -> Data:
    """Points that follow length and a quality of the prompt's own, the lengths (not centred), the prompts."""
    rng = np.random.default_rng(seed)
    clusters = np.sort(rng.integers(0, prompts, n))
    length = rng.normal(30, 60, n)
    logits = 0.4 + effect * np.tanh(length / length.std(ddof=1)) + rng.normal(0, 0.7, prompts)[clusters]
    won = (rng.random(n) < expit(logits)).astype(float)
    return np.where(rng.random(n) < 0.2, 0.5, won), length, clusters


def test_the_length_term_is_that_of_alpaca_eval() -> None:
    glm = pytest.importorskip("alpaca_eval.metrics.glm_winrate")
    points, length, clusters = judged(3)
    data = pd.DataFrame({"std_delta_len": length / pd.Series(length).std(), "not_gamed_baseline": True})
    design = dmatrix(glm.GLM_INFO["length_controlled_minimal"]["formula"], data, return_type="dataframe")
    peer = sm.GLM(points, design, family=sm.families.Binomial()).fit(tol=1e-12)
    expected = 100 * glm._logistic(peer.params["not_gamed_baseline.astype(float)"])
    assert controlled_rate(points, {"tanh length": length}, clusters).rate == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize(("prompts", "covariates"), [(12, 1), (40, 3), (40, 0)])
def test_rate_and_interval_are_those_of_statsmodels_glm_with_students_t(
    prompts: int, covariates: int
) -> None:
    points, length, clusters = judged(4, prompts=prompts)
    columns = [length, *np.random.default_rng(1).normal(size=(2, len(points)))][:covariates]
    differences = {f"x{i}": values for i, values in enumerate(columns)}
    rate = controlled_rate(points, differences, clusters)
    design = np.column_stack([np.ones(len(points)), *(values / values.std(ddof=1) for values in columns)])
    peer = sm.GLM(points, design, family=sm.families.Binomial())
    peer = peer.fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True, tol=1e-12)
    expected = 100 * expit(np.array([peer.params[0], *peer.conf_int()[0]]))
    assert [rate.rate, rate.lo, rate.hi] == pytest.approx(expected, abs=1e-5)
    assert rate.prompts == prompts and rate.reason is None


def test_a_controlled_rate_depends_neither_on_units_nor_on_the_direction() -> None:
    points, length, clusters = judged(5)
    for name in ("length", "tanh length"):
        rate = controlled_rate(points, {name: length}, clusters)
        meters = controlled_rate(points, {name: length / 1000}, clusters)
        turned = controlled_rate(1 - points, {name: -length}, clusters)
        assert (meters.rate, meters.lo, meters.hi) == pytest.approx((rate.rate, rate.lo, rate.hi))
        assert (turned.rate, turned.lo, turned.hi) == pytest.approx(
            (100 - rate.rate, 100 - rate.hi, 100 - rate.lo)
        )


def test_the_interval_has_its_nominal_coverage() -> None:
    """Two hundred draws of 60 prompts whose four verdicts share a length and a prompt's own luck."""
    covered = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        length = np.repeat(rng.normal(0.5, 1, 60), 4)
        won = rng.random(240) < expit(0.6 + 1.1 * length)
        won[2::4], won[3::4] = won[::4], won[1::4]  # both orders of two seeds agree
        rate = controlled_rate(won.astype(float), {"length": length}, np.repeat(np.arange(60), 4))
        covered.append(rate.lo <= 100 * expit(np.array(0.6)) <= rate.hi)
    assert 0.90 <= np.mean(covered) <= 0.985


LENGTHS = np.random.default_rng(1).normal(size=80)
PROMPTS = np.arange(80)


@pytest.mark.parametrize(
    ("points", "differences", "prompts", "reason"),
    [
        (LENGTHS > 0, {"length": LENGTHS}, PROMPTS, "the covariates separate wins from losses"),
        (np.where(LENGTHS > 1, 1, PROMPTS % 2), {"x": LENGTHS > 1}, PROMPTS, "the covariates separate"),
        (np.ones(80), {"length": LENGTHS}, PROMPTS, "every verdict is a win"),
        (np.zeros(80), {"length": LENGTHS}, PROMPTS, "every verdict is a loss"),
        (np.full(80, 0.5), {"length": LENGTHS}, PROMPTS, "every verdict is a tie"),
        (PROMPTS % 2, {"length": LENGTHS[PROMPTS // 2]}, PROMPTS // 2, "every prompt has the same points"),
        (PROMPTS % 4 > 0, {}, PROMPTS // 4, "every prompt has the same points"),
        (
            PROMPTS % 2,
            {"tanh length": np.full(80, -3.0)},
            PROMPTS,
            "all pairs have the same difference in length",
        ),
        (PROMPTS % 2, {"length": LENGTHS, "x": 2 * LENGTHS}, PROMPTS, "the covariates are collinear"),
        (PROMPTS % 2, {"length": LENGTHS}, PROMPTS % 9, "fewer than 10 prompts"),
    ],
)
def test_rates_that_the_data_do_not_determine_are_refused_with_the_reason(
    points: Any, differences: Any, prompts: Any, reason: str
) -> None:
    differences = {name: np.asarray(values, float) for name, values in differences.items()}
    rate = controlled_rate(np.asarray(points, float), differences, prompts)
    assert rate.reason is not None and rate.reason.startswith(reason)
    assert np.isnan([rate.rate, rate.lo, rate.hi]).all()


@pytest.mark.parametrize("overlap", [1e-4, 1.0])
def test_separation_is_decided_by_the_data_and_not_by_convergence(overlap: float) -> None:
    """Wins above 0, losses below, except one loss `overlap` above the lowest win."""
    lengths = np.concatenate([np.linspace(-2, -1, 40), np.linspace(1, 2, 40)])
    design, won = np.column_stack([np.ones(80), lengths]), np.repeat([0.0, 1.0], 40)
    won[41], design[41, 1] = 0, 1 + overlap
    coefficients, covariance = fit_logistic(won, design, PROMPTS)
    assert np.isfinite(covariance).all() and coefficients[1] > 0


def test_separation_that_leaves_the_fit_no_curvature_is_refused() -> None:
    """The verdicts of a small run, both orders alike, on which Newton's method ends in a singular matrix."""
    differences = np.zeros((16, 2))
    differences[[0, 1, 8, 10, 11], 0] = -0.807287, -0.807287, -0.764631, -0.807287, -0.807287
    differences[[0, 1, 8, 10, 11], 1] = -1.994569, -2.031408, -1.980505, -2.189424, -2.033313
    differences[[12, 13, 14]] = [0, 0.302691], [0.996213, -1.652928], [0, 0.066996]
    points = np.full(16, 0.5)
    points[[0, 1, 8, 10, 11, 13]], points[[12, 14]] = 1, 0
    design = np.column_stack([np.ones(16), differences]).repeat(2, axis=0)
    with pytest.raises(NotEstimable, match="separate"):
        fit_logistic(points.repeat(2), design, np.arange(16).repeat(2))


@pytest.mark.parametrize(
    ("values", "outside"),
    [([-1.0] * 97 + [1.0] * 3, False), ([-1.0] * 98 + [1.0] * 2, True), ([-1.0] * 97 + [0.0] * 3, False)],
)
def test_zero_outside_the_differences_is_extrapolation(values: list[float], outside: bool) -> None:
    for lengths in (np.array(values), -np.array(values)):
        found = controlled_rate(np.arange(100) % 2 * 1.0, {"length": lengths}, np.arange(100))
        refused = controlled_rate(np.ones(100), {"length": lengths}, np.arange(100))
        assert found.extrapolated is refused.extrapolated is outside and refused.reason is not None


def test_a_partial_correlation_without_controls_is_pearsons_with_fishers_interval() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 20))
    expected = stats.pearsonr(x, y)
    interval = expected.confidence_interval(0.95)
    found = partial_correlation(x, y, np.ones((20, 1)))
    assert found == pytest.approx((expected.statistic, interval.low, interval.high))


def test_a_partial_correlation_follows_from_the_t_value_of_the_regression() -> None:
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(2, 12))
    y = x + 3 * z + rng.normal(size=12)
    t = sm.OLS(y, sm.add_constant(np.column_stack([x, z]))).fit().tvalues[1]
    r, lo, hi = partial_correlation(x, y, np.column_stack([z, 2 * z]))  # the second control repeats the first
    assert r == pytest.approx(t / np.sqrt(t**2 + 9))
    reach = stats.norm.ppf(0.975) / np.sqrt(8)
    assert (lo, hi) == pytest.approx(tuple(np.tanh(np.arctanh(r) + np.array([-reach, reach]))))


def test_a_control_that_explains_everything_leaves_nothing() -> None:
    x = np.arange(8.0)
    assert np.isnan(partial_correlation(x, np.cos(x), x[:, None])).all()
    r, lo, hi = partial_correlation(x[:4], np.cos(x[:4]), np.array([[0.0], [1], [1], [0]]))
    assert abs(r) <= 1 and np.isnan([lo, hi]).all()
