"""Intervals of win rates with few decided prompts, against statsmodels and simulated coverage."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from analysis.stats.contrasts import contrast
from analysis.stats.seeds import seed_spread
from analysis.stats.ties import decided_counts, tied_interval, tied_p_value
from analysis.stats.win_rates import tally, win_rate


def numbered(count):
    return np.arange(count).astype(str).astype(object)


def test_bounds_are_newcombes_with_clopper_and_pearsons():
    (won_lo, won_hi), (lost_lo, lost_hi) = (proportion_confint(n, 180, method="beta") for n in (4, 1))
    won, lost = 4 / 180, 1 / 180
    lo = 50 + 50 * (won - lost - np.hypot(won - won_lo, lost_hi - lost))
    hi = 50 + 50 * (won - lost + np.hypot(won_hi - won, lost - lost_lo))
    win = win_rate(np.array([1.0] * 4 + [0.0] + [0.5] * 175), numbered(180))
    assert (win.lo, win.hi) == pytest.approx((lo, hi))
    assert win.rate == pytest.approx(50 + 50 * 3 / 180)


def test_p_values_fit_the_interval():
    for won, lost in ((6, 0), (7, 1), (0.5, 8), (3, 3)):
        p = tied_p_value(won, lost, 180)
        lo, hi = tied_interval(won, lost, 180)
        assert (p < 0.05) == (lo > 0.5 or hi < 0.5)
        if p < 1:
            at_p = tied_interval(won, lost, 180, 1 - p)
            assert min(abs(bound - 0.5) for bound in at_p) == pytest.approx(0, abs=1e-6)
        assert tied_p_value(lost, won, 180) == pytest.approx(p)


def test_a_prompt_counts_by_its_seeds():
    def counts(*sums):
        return decided_counts(np.array(sums) - 1)  # of two seeds

    assert counts(1.5, 2.0, *[1.0] * 20) == pytest.approx((1.5, 0))
    assert counts(1.0, 1.0, 1.0) is None  # only ties
    assert counts(2.0, 2.0, 0, *[1.0] * 20) is None  # an eighth of the prompts is decided
    assert counts(*[2.0] * 15, *[1.0] * 85) is None  # enough decided prompts


def test_a_contrast_of_alike_cells_has_the_same_bounds():
    names, seeds = numbered(180), np.zeros(180, int)
    points = np.tile([1.0, 0.5, 0.0], 60)
    changed = points.copy()
    changed[[1, 2, 4]] = 1.0, 0.5, 0.0  # two prompts half a point better, one worse
    of = contrast(tally(changed, names, seeds), tally(points, names, seeds))
    lo, hi = tied_interval(1.0, 0.5, 180)
    assert (of.lo, of.hi) == pytest.approx((100 * (2 * lo - 1), 100 * (2 * hi - 1)))
    assert of.difference == pytest.approx(100 * 0.5 / 180) and of.p > 0.05


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize(("prompts", "decided"), [(180, 0.02), (64, 0.05)])
def test_the_interval_covers_where_wilsons_does_not(prompts, decided):
    """Three seeds; every decided pair is won."""
    rng = np.random.default_rng(0)
    truth = 50 + 50 * decided
    seeds, names = np.repeat([0, 1, 2], prompts), np.tile(numbered(prompts), 3)
    covered, across_seeds = [], []
    for _ in range(200):
        can_differ = rng.random(prompts) < decided / 0.7
        points = np.where(can_differ & (rng.random((3, prompts)) < 0.7), 1.0, 0.5).ravel()
        win, spread = win_rate(points, names), seed_spread(points, names, seeds)
        covered.append(win.lo <= truth <= win.hi)
        across_seeds.append(spread.across_seeds_lo <= truth <= spread.across_seeds_hi)
    assert np.mean(covered) >= 0.95 and np.mean(across_seeds) >= 0.95
