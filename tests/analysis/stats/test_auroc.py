"""AUROC against scipy's U statistic, and its two versions on prompts whose truth is known."""

from math import isnan
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from analysis.stats.auroc import (
    Wins,
    count_wins,
    pooled_auroc,
    pooled_difference,
    within_auroc,
    within_difference,
)

Rows = list[tuple[float, bool, str]]


def wins(rows: Rows) -> Wins:
    values, correct, prompts = (list(column) for column in zip(*rows, strict=True))
    return count_wins(np.array(values, dtype=float), np.array(correct), np.array(prompts, dtype=object))


def mann_whitney(rows: Rows) -> float:
    """U of wrong against right responses over the number of pairs; NaN without a pair."""
    wrong, right = ([value for value, correct, _ in rows if correct == side] for side in (False, True))
    return mannwhitneyu(wrong, right).statistic / (len(wrong) * len(right)) if wrong and right else np.nan


def draws(rng: np.random.Generator, prompts: int) -> Rows:
    """A wrong and a right response to each prompt, normal values one standard deviation apart."""
    return [(float(rng.normal(0 if c else 1)), c, f"p{i}") for i in range(prompts) for c in (True, False)]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from("abcd")), min_size=1, max_size=40)
)
def test_it_is_mann_whitneys_u_with_ties_over_all_pairs_or_within_prompts(rows: Rows) -> None:
    pooled, within = pooled_auroc(wins(rows)), within_auroc(wins(rows))
    assert pooled.value == pytest.approx(mann_whitney(rows), nan_ok=True)
    own = [mann_whitney([row for row in rows if row[2] == prompt]) for prompt in "abcd"]
    known = [value for value in own if not isnan(value)]
    assert within.prompts == len(known)
    assert within.value == pytest.approx(np.mean(known) if known else np.nan, nan_ok=True)


def test_a_signal_of_difficulty_alone_separates_pooled_and_not_within() -> None:
    easy = [(1.0, i > 0, f"easy {p}") for p in range(20) for i in range(4)]  # three of four right
    hard = [(2.0, i == 0, f"hard {p}") for p in range(20) for i in range(4)]  # one of four
    pooled, within = pooled_auroc(wins(easy + hard)), within_auroc(wins(easy + hard))
    # wrong: 20 at 1, 60 at 2; right: 60 at 1, 20 at 2
    assert pooled.value == pytest.approx((60 * 60 + 0.5 * (20 * 60 + 60 * 20)) / 80**2) and pooled.lo > 0.5
    assert (within.value, within.prompts) == (0.5, 40)


def test_resampling_weights_are_repeated_prompts() -> None:
    rng = np.random.default_rng(0)
    rows = [(float(rng.normal()), bool(rng.random() < 0.5), f"p{i % 6}") for i in range(48)]
    weights = np.array([[2.0, 0, 1, 3, 0, 1]])
    repeated = [row for row in rows for _ in range(int(weights[0, int(row[2][1])]))]
    assert wins(rows).pooled(weights)[0] == pytest.approx(mann_whitney(repeated))


def test_the_pooled_interval_has_its_nominal_coverage() -> None:
    truth, rng = NormalDist().cdf(2**-0.5), np.random.default_rng(2)
    found = [pooled_auroc(wins(draws(rng, 30))) for _ in range(60)]
    assert 52 <= sum(of.lo <= truth <= of.hi for of in found) <= 60


@pytest.mark.parametrize(("sign", "value"), [(1, 1.0), (-1, 0.0)])
def test_the_interval_is_the_binomial_bound_if_all_pairs_agree(sign: int, value: float) -> None:
    of = wins([(sign * float(not c), c, f"p{i}") for i in range(20) for c in (True, False)])
    bound = 1 - 0.025 ** (1 / 20)
    for found in (pooled_auroc(of), within_auroc(of)):
        expected = (1 - bound, 1.0) if value else (0.0, bound)
        assert found.value == value and (found.lo, found.hi) == pytest.approx(expected)


def test_few_prompts_have_no_bootstrap() -> None:
    found = pooled_auroc(wins(draws(np.random.default_rng(4), 9)))
    assert not isnan(found.value) and np.isnan([found.lo, found.hi]).all()


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(3)
    truth = [(bool(rng.random() < 0.5), f"p{i % 20}") for i in range(160)]
    noisy = [(float(rng.normal(0 if c else 1)), c, p) for c, p in truth]
    one, other = wins([(value - 2 * c, c, p) for value, c, p in noisy]), wins(noisy)
    for difference, measure in ((pooled_difference, pooled_auroc), (within_difference, within_auroc)):
        found = difference(one, other)
        assert found.value == pytest.approx(measure(one).value - measure(other).value)
        assert 0 < found.lo < found.value < found.hi
        same = difference(one, one)
        assert (same.value, same.lo, same.hi) == (0, 0, 0)
