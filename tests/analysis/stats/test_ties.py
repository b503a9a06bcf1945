"""Intervals of win rates with few decided prompts, against statsmodels. `test_coverage` has their coverage."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from analysis.stats.contrasts import contrast
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


@pytest.mark.parametrize(("won", "lost"), [(6, 0), (7, 1), (0.5, 8), (3, 3)])
def test_p_values_fit_the_interval(won, lost):
    p = tied_p_value(won, lost, 180)
    lo, hi = tied_interval(won, lost, 180)
    assert (p < 0.05) == (lo > 0.5 or hi < 0.5)
    if p < 1:
        at_p = tied_interval(won, lost, 180, 1 - p)
        assert min(abs(bound - 0.5) for bound in at_p) == pytest.approx(0, abs=1e-6)
    assert tied_p_value(lost, won, 180) == pytest.approx(p)


@pytest.mark.parametrize(
    ("sums", "counts"),
    [
        ([1.5, 2.0, *[1.0] * 20], (1.5, 0)),
        ([1.0, 1.0, 1.0], None),  # only ties
        ([2.0, 2.0, 0, *[1.0] * 20], None),  # an eighth of the prompts is decided
        ([2.0] * 15 + [1.0] * 85, None),  # enough decided prompts
    ],
)
def test_a_prompt_counts_by_its_two_seeds(sums, counts):
    assert decided_counts(np.array(sums) - 1) == counts


def test_a_contrast_of_alike_cells_has_the_same_bounds():
    names, seeds = numbered(180), np.zeros(180, int)
    points = np.tile([1.0, 0.5, 0.0], 60)
    changed = points.copy()
    changed[[1, 2, 4]] = 1.0, 0.5, 0.0  # two prompts half a point better, one worse
    of = contrast(tally(changed, names, seeds), tally(points, names, seeds))
    lo, hi = tied_interval(1.0, 0.5, 180)
    assert (of.lo, of.hi) == pytest.approx((100 * (2 * lo - 1), 100 * (2 * hi - 1)))
    assert of.difference == pytest.approx(100 * 0.5 / 180) and of.p > 0.05
