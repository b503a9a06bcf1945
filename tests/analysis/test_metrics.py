"""Win rates and intervals against hand computation, a loop, and statsmodels."""

import time
from math import isnan

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.metrics import (
    clustered_interval,
    first_shown_share,
    interval_covers_half,
    quality_change,
    seed_spread,
    win_rate,
)

verdicts = st.lists(
    st.tuples(st.integers(0, 15), st.sampled_from([0.0, 0.5, 1.0, float("nan")])), min_size=1, max_size=60
)


def arrays(pairs):
    return np.array([points for _, points in pairs]), np.array([str(i) for i, _ in pairs], dtype=object)


def clustered(rng, prompts, per_prompt, spread=1.0, centre=0.0):
    """Points whose chance of a win differs from prompt to prompt, so that verdicts cluster."""
    chance = 1 / (1 + np.exp(-rng.normal(centre, spread, prompts)))
    ids = np.repeat([f"p{i}" for i in range(prompts)], per_prompt).astype(object)
    return (rng.random(prompts * per_prompt) < np.repeat(chance, per_prompt)).astype(float), ids


def test_hand_computed():
    points = np.array([1, 1, 0.5, 0, float("nan")])
    win = win_rate(points, np.array(["a", "a", "b", "b", "c"], dtype=object))
    assert win.rate == pytest.approx(62.5)
    assert (win.prompts, win.verdicts, win.unscored) == (3, 5, 1)
    assert (win.worst_lo, win.worst_hi) == (pytest.approx(50), pytest.approx(70))
    assert isnan(win.lo) and interval_covers_half(win)


def test_nothing_scored_is_no_rate():
    win = win_rate(np.full(20, np.nan), np.arange(20).astype(str).astype(object))
    assert isnan(win.rate) and isnan(win.lo)
    assert (win.unscored, win.worst_lo, win.worst_hi) == (20, 0, 100)


def test_no_verdict_is_an_error():
    with pytest.raises(ValueError, match="at least one verdict"):
        win_rate(np.array([]), np.array([], dtype=object))


@given(verdicts)
@settings(max_examples=60, deadline=None)
def test_trading_places_mirrors_everything(pairs):
    points, prompts = arrays(pairs)
    win, other = win_rate(points, prompts), win_rate(1 - points, prompts)
    ours = [100 - other.rate, 100 - other.worst_hi, 100 - other.worst_lo, 100 - other.hi, 100 - other.lo]
    assert [win.rate, win.worst_lo, win.worst_hi, win.lo, win.hi] == pytest.approx(ours, nan_ok=True)


@given(verdicts)
@settings(max_examples=60, deadline=None)
def test_bounds_contain_the_rate(pairs):
    win = win_rate(*arrays(pairs))
    assert 0 <= win.worst_lo <= win.worst_hi <= 100
    if not isnan(win.rate):
        assert win.worst_lo - 1e-9 <= win.rate <= win.worst_hi + 1e-9
    if not isnan(win.lo):
        assert win.lo - 1e-9 <= win.rate <= win.hi + 1e-9


@given(verdicts, st.randoms())
@settings(max_examples=60, deadline=None)
def test_neither_order_nor_repetition_of_verdicts_matters(pairs, random):
    shuffled = pairs * 2
    random.shuffle(shuffled)
    win, again = win_rate(*arrays(pairs)), win_rate(*arrays(shuffled))
    assert [again.rate, again.lo, again.hi] == pytest.approx([win.rate, win.lo, win.hi], nan_ok=True)
    assert again.verdicts == 2 * win.verdicts


def test_agrees_with_an_obvious_loop():
    rng = np.random.default_rng(1)
    points, prompts = clustered(rng, 40, 3)
    points += rng.normal(0, 0.1, len(points))
    groups = [points[prompts == prompt] for prompt in dict.fromkeys(prompts)]
    means = [
        np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))]).mean()
        for _ in range(4000)
    ]
    assert clustered_interval(points, prompts) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.008)


def test_agrees_with_the_cluster_robust_interval():
    points, prompts = clustered(np.random.default_rng(2), 300, 4)
    codes = np.unique(prompts, return_inverse=True)[1]
    fit = sm.OLS(points, np.ones_like(points)).fit(cov_type="cluster", cov_kwds={"groups": codes})
    assert clustered_interval(points, prompts) == pytest.approx(fit.conf_int()[0], abs=0.004)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    truth = clustered(np.random.default_rng(0), 400_000, 1, spread=2.0, centre=0.5)[0].mean()
    covered = ignoring_prompts = 0
    for _ in range(200):
        points, prompts = clustered(rng, 60, 6, spread=2.0, centre=0.5)
        lo, hi = clustered_interval(points, prompts)
        covered += lo <= truth <= hi
        lo, hi = clustered_interval(points, np.arange(len(points)).astype(str).astype(object))
        ignoring_prompts += lo <= truth <= hi
    assert 0.91 <= covered / 200 <= 0.985
    assert ignoring_prompts / 200 < 0.85


def test_bold_needs_an_interval_beside_half():
    ids = np.arange(50).astype(str).astype(object)
    assert not interval_covers_half(win_rate(np.ones(50), ids))
    assert not interval_covers_half(win_rate(np.zeros(50), ids))
    assert interval_covers_half(win_rate(np.tile([0.0, 1.0], 25), ids))
    assert interval_covers_half(win_rate(np.ones(9), ids[:9]))


def test_seeds_apart():
    spread = seed_spread(np.array([1, 0, 1, 1, float("nan"), 0.5]), np.array([0, 0, 1, 1, 1, 2]))
    assert spread.rates == {0: 50, 1: 100, 2: 50}
    assert (spread.mean, spread.low, spread.high) == (pytest.approx(200 / 3), 50, 100)
    assert spread.std == pytest.approx(np.std([50, 100, 50], ddof=1))
    assert isnan(seed_spread(np.array([1.0]), np.array([0])).std)


def test_quality_pairs_before_and_after():
    start = np.concatenate([np.linspace(0.1, 0.5, 20), [float("nan")]])
    prompts = np.arange(21).astype(str).astype(object)
    quality = quality_change(start, start + 0.2, prompts)
    assert (quality.start, quality.policy) == (pytest.approx(0.3), pytest.approx(0.5))
    # The difference is the same on every prompt, so a paired interval has no width.
    assert [quality.difference, quality.lo, quality.hi] == pytest.approx([0.2, 0.2, 0.2])
    assert quality_change(np.full(3, np.nan), np.zeros(3), prompts[:3]) is None


def test_first_shown_share_counts_decided_verdicts():
    points = np.array([1, 0, 1, 0.5, float("nan")])
    assert first_shown_share(points, np.array([True, False, False, True, True])) == pytest.approx(200 / 3)
    assert isnan(first_shown_share(np.array([0.5]), np.array([True])))


def test_sixty_cells_take_seconds():
    points, prompts = clustered(np.random.default_rng(4), 96, 6)
    began = time.process_time()
    for _ in range(60):
        win_rate(points, prompts)
    assert time.process_time() - began < 5
