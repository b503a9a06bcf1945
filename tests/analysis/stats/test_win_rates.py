"""Win rates and intervals against hand computation, a loop, statsmodels, scipy and alpaca_eval."""

import tracemalloc
from math import isnan

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

from analysis.stats.intervals import clustered_interval
from analysis.stats.seeds import interquartile_mean, seed_spread
from analysis.stats.win_rates import is_undecided, quality_change, win_rate

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


def numbered(count):
    """The names of so many prompts."""
    return np.arange(count).astype(str).astype(object)


def test_win_rate_by_hand():
    points = np.array([1, 1, 0.5, 0, float("nan")])
    win = win_rate(points, np.array(["a", "a", "b", "b", "c"], dtype=object))
    assert win.rate == pytest.approx(62.5)
    assert (win.prompts, win.verdicts, win.unscored) == (3, 5, 1)
    assert (win.worst_lo, win.worst_hi) == (pytest.approx(50), pytest.approx(70))
    assert win.scored == 2 and win.few and is_undecided(win)
    # Influences of the prompts: (2 - 1.25) / 2 and (0.5 - 1.25) / 2; one degree of freedom.
    error = np.std([0.375, -0.375], ddof=1) / np.sqrt(2)
    assert win.p == pytest.approx(2 * stats.t.sf(0.125 / (error / np.sqrt(4 * 0.625 * 0.375)), 1))
    nothing = win_rate(np.full(20, np.nan), numbered(20))
    assert isnan(nothing.rate) and isnan(nothing.lo)
    assert (nothing.unscored, nothing.worst_lo, nothing.worst_hi) == (20, 0, 100)


def test_undecided_unless_the_interval_excludes_half_whatever_the_unscored_are():
    points = np.array([1.0] * 60 + [0.0] * 20 + [np.nan] * 20)
    for settled in (points, 1 - points):  # 60 to 80 % in the worst cases, or 20 to 40
        win = win_rate(settled, numbered(100))
        assert not win.open and not is_undecided(win)
    points[40:60] = np.nan
    for unsettled in (points, 1 - points):  # 40 to 80 %, or 20 to 60
        win = win_rate(unsettled, numbered(100))
        assert (win.lo > 50 or win.hi < 50) and win.open and is_undecided(win)
    assert is_undecided(win_rate(np.tile([0.0, 1.0], 25), numbered(50)))
    few = win_rate(np.ones(29), numbered(29))
    assert few.lo > 50 and is_undecided(few)


@given(verdicts, st.randoms())
@settings(max_examples=80, deadline=None)
def test_win_rates_are_symmetric_bounded_and_free_of_order_and_repetition(pairs, random):
    points, prompts = arrays(pairs)
    win, mirrored = win_rate(points, prompts), win_rate(1 - points, prompts)
    for low, high in (("rate", "rate"), ("worst_lo", "worst_hi"), ("lo", "hi"), ("boot_lo", "boot_hi")):
        assert getattr(win, low) == pytest.approx(100 - getattr(mirrored, high), nan_ok=True)
    assert win.p == pytest.approx(mirrored.p, nan_ok=True)
    assert 0 <= win.worst_lo <= win.worst_hi <= 100
    if not isnan(win.rate):
        assert win.worst_lo - 1e-9 <= win.rate <= win.worst_hi + 1e-9
        assert 0 <= win.lo - 1e-9 <= win.rate <= win.hi + 1e-9 <= 100 + 1e-9 or win.lo == 0
        assert (win.p < 0.05) == (win.lo > 50 or win.hi < 50)
    if not isnan(win.boot_lo):
        assert win.boot_lo - 1e-9 <= win.rate <= win.boot_hi + 1e-9
    shuffled = pairs * 2
    random.shuffle(shuffled)
    again = win_rate(*arrays(shuffled))
    assert [again.rate, again.lo, again.hi] == pytest.approx([win.rate, win.lo, win.hi], nan_ok=True)
    assert again.verdicts == 2 * win.verdicts


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize(("prompts", "centre"), [(12, 0.5), (60, 4.0)])
def test_the_interval_has_its_nominal_coverage_for_few_prompts_and_near_100(prompts, centre):
    rng = np.random.default_rng(3)
    truth = 100 * clustered(np.random.default_rng(0), 400_000, 1, spread=2.0, centre=centre)[0].mean()
    wins = [win_rate(*clustered(rng, prompts, 6, spread=2.0, centre=centre)) for _ in range(200)]
    assert 0.91 <= np.mean([win.lo <= truth <= win.hi for win in wins]) <= 0.985


def test_interval_test_and_power_are_statsmodels_for_the_effective_sample_size():
    points, prompts = clustered(np.random.default_rng(5), 80, 4, centre=1.0)
    points[::7] = 0.5
    points[::11] = np.nan
    known = ~np.isnan(points)
    codes = np.unique(prompts[known], return_inverse=True)[1]
    fit = sm.OLS(points[known], np.ones(known.sum())).fit(cov_type="cluster", cov_kwds={"groups": codes})
    share, effective = fit.params[0], fit.params[0] * (1 - fit.params[0]) / fit.bse[0] ** 2
    alpha = 2 * stats.norm.sf(stats.t.ppf(0.975, 79))
    theirs = proportion_confint(share * effective, effective, alpha=alpha, method="wilson")
    win = win_rate(points, prompts)
    assert (win.lo, win.hi) == pytest.approx((100 * theirs[0], 100 * theirs[1]))
    z, _ = proportions_ztest(share * effective, effective, value=0.5, prop_var=0.5)
    assert win.p == pytest.approx(2 * stats.t.sf(abs(z), 79))
    assert (win.boot_lo, win.boot_hi) == pytest.approx((win.lo, win.hi), abs=1)
    quantiles = stats.t.ppf(0.975, 79) + stats.t.ppf(0.8, 79)
    assert win.detectable == pytest.approx(100 * quantiles * np.sqrt(0.25 / effective))


def test_the_interval_of_a_mean_is_the_cluster_robust_one_of_statsmodels():
    """Prompts that are won have four times as many points as the others, so this is no mean of means."""
    points, prompts = clustered(np.random.default_rng(2), 300, 4)
    codes = np.unique(prompts, return_inverse=True)[1]
    kept = (np.bincount(codes, points)[codes] > 2) | (np.arange(len(points)) % 4 == 0)
    fit = sm.OLS(points[kept], np.ones(kept.sum())).fit(cov_type="cluster", cov_kwds={"groups": codes[kept]})
    found = clustered_interval(np.where(kept, points, np.nan), prompts)
    assert found == pytest.approx(fit.conf_int()[0], abs=0.004)


def test_ten_thousand_pairs_take_little_memory():
    points = np.random.default_rng(0).choice([0, 0.5, 1], 20_000)
    tracemalloc.start()
    win = win_rate(points, np.repeat(numbered(10_000), 2))
    assert tracemalloc.get_traced_memory()[1] < 5e8  # bytes
    tracemalloc.stop()
    assert abs(win.lo - win.boot_lo) < 0.05


def test_one_value_on_every_prompt_has_the_binomial_bound():
    lo, hi = proportion_confint(40, 40, method="beta")
    won, tied = win_rate(np.ones(40), numbered(40)), win_rate(np.full(40, 0.5), numbered(40))
    assert (won.lo, won.hi) == pytest.approx((100 * lo, 100 * hi))
    assert won.p == pytest.approx(stats.binomtest(40, 40, 0.5).pvalue) and tied.p == 1
    assert (tied.lo, tied.hi) == pytest.approx((50 * lo, 100 - 50 * lo))
    assert isnan(won.detectable)


def test_win_rates_of_single_seeds_by_hand():
    prompts = np.array(list("ababca"), dtype=object)
    spread = seed_spread(np.array([1, 0, 1, 1, float("nan"), 0.5]), prompts, np.array([0, 0, 1, 1, 1, 2]))
    assert spread.rates == {0: 50, 1: 100, 2: 50}
    assert (spread.mean, spread.low, spread.high) == (pytest.approx(200 / 3), 50, 100)
    assert spread.std == pytest.approx(np.std([50, 100, 50], ddof=1))
    assert isnan(spread.across_seeds_lo)  # no two prompts have all seeds
    one = seed_spread(np.array([1.0]), prompts[:1], np.array([0]))
    assert isnan(one.std) and isnan(one.across_seeds_lo) and one.iqm == 100


def test_interquartile_mean_is_the_trimmed_mean_and_counts_a_value_on_a_quartile_by_its_part_inside():
    values = np.random.default_rng(0).random(8)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))
    assert interquartile_mean(np.array([9.0, 1.0, 2.0])) == pytest.approx((0.25 * 1 + 2 + 0.25 * 9) / 1.5)


@pytest.mark.parametrize(("seed", "between", "floored"), [(3, 0.5, False), (5, 0.0, True)])
def test_across_seed_interval_adds_the_seeds_of_a_crossed_anova(seed, between, floored):
    rng = np.random.default_rng(seed)
    grid = rng.normal(0, 1, (50, 1)) + rng.normal(0, between, (1, 4)) + rng.normal(0, 1, (50, 4))
    points = (grid > 0.3).astype(float)
    frame = pd.DataFrame(
        [(points[p, s], f"p{p}", s) for p in range(50) for s in range(4)], columns=["y", "prompt", "seed"]
    )
    squares = anova_lm(smf.ols("y ~ C(prompt) + C(seed)", frame).fit())["mean_sq"]
    by_prompt, by_seed, rest = squares["C(prompt)"], squares["C(seed)"], squares["Residual"]
    component = (
        rest if floored else by_seed - rest
    )  # a component that is not positive is set to the residual part
    half = np.sqrt(
        stats.t.ppf(0.975, 49) ** 2 * by_prompt / 200 + stats.t.ppf(0.975, 3) ** 2 * component / 200
    )
    assert (by_seed < rest) == floored
    spread = seed_spread(*(frame[name].to_numpy() for name in ("y", "prompt", "seed")))
    mean = points.mean()
    for bound in (spread.across_seeds_lo / 100, spread.across_seeds_hi / 100):
        assert (bound - mean) ** 2 == pytest.approx(half**2 * bound * (1 - bound) / (mean * (1 - mean)))
    assert spread.across_seeds_lo < 100 * mean < spread.across_seeds_hi
    assert spread.iqm_lo < spread.iqm < spread.iqm_hi
    assert spread.floored == floored
    errors = by_prompt / 200, component / 200
    assert spread.freedom == pytest.approx(sum(errors) ** 2 / (errors[0] ** 2 / 49 + errors[1] ** 2 / 3))


def test_quality_is_paired_with_the_cluster_robust_interval():
    start = np.concatenate([np.linspace(0.1, 0.5, 20), [float("nan")]])
    quality = quality_change(start, start + 0.2, numbered(21))
    assert (quality.start, quality.policy) == (pytest.approx(0.3), pytest.approx(0.5))
    # The difference is the same on every prompt, so a paired interval has no width.
    assert [quality.difference, quality.lo, quality.hi] == pytest.approx([0.2, 0.2, 0.2])
    assert quality_change(np.full(3, np.nan), np.zeros(3), numbered(3)) is None
    points, prompts = clustered(np.random.default_rng(2), 30, 4)
    codes = np.unique(prompts, return_inverse=True)[1]
    fit = sm.OLS(points, np.ones_like(points)).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    quality = quality_change(np.zeros(120), points, prompts)
    assert (quality.lo, quality.hi) == pytest.approx(tuple(fit.conf_int()[0]))
    assert isnan(quality_change(np.zeros(4), points[:4], prompts[:4]).lo)
