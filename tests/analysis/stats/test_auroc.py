"""AUROC against scipy's U statistic, and its two versions on prompts whose truth is known."""

from itertools import product
from math import isnan, nan
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

responses = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from("abcd")), min_size=1, max_size=40
)


def wins(rows: list[tuple[float, bool, str]]) -> Wins:
    values, correct, prompts = (list(column) for column in zip(*rows, strict=True))
    return count_wins(np.array(values, dtype=float), np.array(correct), np.array(prompts, dtype=object))


def slow(rows: list[tuple[float, bool, str]]) -> float:
    """The definition, pair by pair."""
    pairs = [
        (value > other) + 0.5 * (value == other)
        for (value, correct, _), (other, right, _) in product(rows, rows)
        if not correct and right
    ]
    return sum(pairs) / len(pairs) if pairs else nan


@given(responses)
def test_pooled_is_mann_whitneys_u_with_ties(rows: list[tuple[float, bool, str]]) -> None:
    found = pooled_auroc(wins(rows))
    wrong = [value for value, correct, _ in rows if not correct]
    right = [value for value, correct, _ in rows if correct]
    if wrong and right:
        expected = mannwhitneyu(wrong, right).statistic / (len(wrong) * len(right))
        assert found.value == pytest.approx(expected) == pytest.approx(slow(rows))
    else:
        assert isnan(found.value) and isnan(found.lo) and isnan(found.hi)


@given(responses)
def test_within_is_the_mean_over_mixed_prompts(rows: list[tuple[float, bool, str]]) -> None:
    own = [slow([row for row in rows if row[2] == prompt]) for prompt in "abcd"]
    known = [value for value in own if not isnan(value)]
    found = within_auroc(wins(rows))
    assert found.prompts == len(known)
    assert found.value == pytest.approx(np.mean(known)) if known else isnan(found.value)


def test_a_signal_of_difficulty_alone_separates_pooled_and_not_within() -> None:
    easy = [(1.0, i > 0, f"easy {p}") for p in range(20) for i in range(4)]  # three of four right
    hard = [(2.0, i == 0, f"hard {p}") for p in range(20) for i in range(4)]  # one of four
    of = wins(easy + hard)
    # wrong: 20 at 1, 60 at 2; right: 60 at 1, 20 at 2
    expected = (60 * 60 + 0.5 * (20 * 60 + 60 * 20)) / 80**2
    pooled, within = pooled_auroc(of), within_auroc(of)
    assert pooled.value == pytest.approx(expected) and pooled.lo > 0.5
    assert (within.value, within.prompts) == (0.5, 40)


def test_resampling_weights_are_repeated_prompts() -> None:
    rng = np.random.default_rng(0)
    rows = [(float(rng.normal()), bool(rng.random() < 0.5), f"p{i % 6}") for i in range(48)]
    weights = np.array([[2.0, 0, 1, 3, 0, 1]])
    repeated = [row for row in rows for _ in range(int(weights[0, int(row[2][1])]))]
    assert wins(rows).pooled(weights)[0] == pytest.approx(slow(repeated))


def test_intervals_keep_the_responses_to_a_prompt_together() -> None:
    rng = np.random.default_rng(1)
    base = [(float(rng.normal(0 if c else 1)), c, f"p{i}") for i in range(40) for c in (True, False)]
    one = pooled_auroc(wins(base))
    copied = pooled_auroc(wins([row for row in base for _ in range(5)]))
    assert (copied.value, copied.lo, copied.hi) == pytest.approx((one.value, one.lo, one.hi))
    assert one.lo < one.value < one.hi


def test_the_pooled_interval_has_its_nominal_coverage() -> None:
    """Normal values one standard deviation apart: the true AUROC is Phi(1 / sqrt 2)."""
    truth, rng = NormalDist().cdf(2**-0.5), np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        rows = [(float(rng.normal(0 if c else 1)), c, f"p{i}") for i in range(30) for c in (True, False)]
        found = pooled_auroc(wins(rows))
        covered += found.lo <= truth <= found.hi
    assert 52 <= covered <= 60


def test_the_interval_is_the_binomial_bound_if_all_pairs_agree() -> None:
    for sign, value in ((1, 1.0), (-1, 0.0)):
        of = wins([(sign * float(not c), c, f"p{i}") for i in range(20) for c in (True, False)])
        bound = 1 - 0.025 ** (1 / 20)
        for found in (pooled_auroc(of), within_auroc(of)):
            expected = (1 - bound, 1.0) if value else (0.0, bound)
            assert found.value == value and (found.lo, found.hi) == pytest.approx(expected)


def test_few_prompts_have_no_bootstrap() -> None:
    found = pooled_auroc(wins([(float(i % 3), i % 2 == 0, f"p{i % 9}") for i in range(36)]))
    assert not isnan(found.value) and np.isnan([found.lo, found.hi]).all()


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(3)
    truth = [(bool(rng.random() < 0.5), f"p{i % 20}") for i in range(160)]
    noisy = [(float(rng.normal(0 if c else 1)), c, p) for c, p in truth]
    sharp = [(value - 2 * c, c, p) for value, c, p in noisy]
    one, other = wins(sharp), wins(noisy)
    for difference, measure in ((pooled_difference, pooled_auroc), (within_difference, within_auroc)):
        found = difference(one, other)
        assert found.value == pytest.approx(measure(one).value - measure(other).value)
        assert 0 < found.lo < found.value < found.hi
        same = difference(one, one)
        assert (same.value, same.lo, same.hi) == (0, 0, 0)
