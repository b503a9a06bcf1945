"""Rewards from values per token, by hand."""

import math
from typing import Any

import pytest
import torch

from cme.rewards.cross_model import pooling
from cme.scoring.verifier import Score

NAN = math.nan
VALUES = torch.tensor([-1.0, -2.0, -6.0])
ANSWER = torch.tensor([False, True, True])


def near(*expected: float) -> Any:
    return pytest.approx(list(expected), nan_ok=True)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("start", "end", "inside"),
    [
        (0, 12, [True, True, True, False]),
        (3, 9, [False, True, False, False]),
        (4, 5, [False, True, False, False]),  # within a token
        (2, 4, [True, True, False, False]),  # across a boundary
        (9, 12, [False, False, True, False]),
        (3, 3, [False, False, False, False]),  # no character
        (12, 20, [False, False, False, False]),  # behind the end
    ],
)
def test_the_mask_marks_tokens_that_overlap_a_span(start: int, end: int, inside: list[bool]) -> None:
    offsets = [(0, 3), (3, 9), (9, 12), (12, 12)]  # the last is an end of turn
    for spans, expected in ((offsets, inside), ([], [])):
        score = Score(torch.zeros(len(spans)), torch.empty(0), spans, False, False, False, None)
        assert pooling.span_mask(score, start, end).tolist() == expected


@pytest.mark.parametrize("metric", ["log_likelihood", "predictive_entropy", "perplexity"])
@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_each_metric_over_each_span(metric: Any, weight: float) -> None:
    whole, part = (-(math.e**3), -(math.e**4)) if metric == "perplexity" else (-3.0, -4.0)
    expected = {"response": whole, "answer": part, "blended": (1 - weight) * whole + weight * part}
    for span, value in expected.items():
        assert pooling.pool_span(VALUES, ANSWER, metric, span, weight, 10.0) == pytest.approx(value)  # type: ignore[arg-type]
    for missing in (None, torch.zeros(3, dtype=torch.bool)):
        for span in expected:
            found = pooling.pool_span(VALUES, missing, metric, span, weight, 0.5)  # type: ignore[arg-type]
            assert found == pytest.approx(whole - 0.5)


def test_higher_is_better_for_every_metric() -> None:
    low, high = torch.tensor([-3.0, -2.0]), torch.tensor([-1.0, -2.0])
    for metric in ("log_likelihood", "perplexity", "predictive_entropy"):
        assert pooling.pool(low, metric) < pooling.pool(high, metric) < 0


def test_verifiers_are_combined_column_by_column() -> None:
    values = torch.tensor([[-1.0, -2.0, NAN, -4.0], [-3.0, -1.0, -5.0, NAN], [-2.0, 0.0, -5.0, -6.0]])
    assert pooling.combine(values, "mean").tolist() == near(-2, -1, NAN, NAN)
    assert pooling.combine(values, "min").tolist() == near(-3, -2, NAN, NAN)
    for ensemble in ("mean", "min"):
        assert pooling.combine(values[:1], ensemble).tolist() == near(-1, -2, NAN, -4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clip", "squash", "expected"),
    [
        (None, None, [-9, -3, -1, 2, NAN]),
        ([-4.0, 1.0], None, [-4, -3, -1, 1, NAN]),
        (None, [-3.0, 2.0], [sigmoid(-3), 0.5, sigmoid(1), sigmoid(2.5), NAN]),
        ([-4.0, 1.0], [-3.0, 2.0], [sigmoid(-0.5), 0.5, sigmoid(1), sigmoid(2), NAN]),
    ],
)
def test_bounds(clip: Any, squash: Any, expected: list[float]) -> None:
    values = torch.tensor([-9.0, -3.0, -1.0, 2.0, NAN])
    assert pooling.bound(values, clip, squash).tolist() == near(*expected)
    assert values.tolist() == near(-9, -3, -1, 2, NAN), "the values given are left as they are"
