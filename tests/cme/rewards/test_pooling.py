"""Rewards from values per token, by hand."""

import math
from typing import Any

import pytest
import torch

from cme.rewards import pooling
from cme.scoring.verifier import Score

NAN, INF = math.nan, math.inf
VALUES = torch.tensor([-1.0, -2.0, -6.0])
ANSWER = torch.tensor([False, True, True])


def score(*offsets: tuple[int, int]) -> Score:
    return Score(torch.zeros(len(offsets)), torch.empty(0), list(offsets), False, False, False, None)


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
def test_tokens_that_overlap_a_span_are_inside(start: int, end: int, inside: list[bool]) -> None:
    one = score((0, 3), (3, 9), (9, 12), (12, 12))  # the last is an end of turn
    assert pooling.span_mask(one, start, end).tolist() == inside


def test_nothing_is_inside_a_response_without_tokens() -> None:
    assert pooling.span_mask(score(), 0, 3).tolist() == []


WEIGHTED: list[tuple[str, str, float]] = [  # with 1/4 of the weight on the answer
    ("log_likelihood", "response", -3.0),
    ("log_likelihood", "answer", -4.0),
    ("log_likelihood", "blended", 0.75 * -3 + 0.25 * -4),
    ("predictive_entropy", "response", -3.0),
    ("predictive_entropy", "answer", -4.0),
    ("predictive_entropy", "blended", 0.75 * -3 + 0.25 * -4),
    ("perplexity", "response", -(math.e**3)),
    ("perplexity", "answer", -(math.e**4)),
    ("perplexity", "blended", -0.75 * math.e**3 - 0.25 * math.e**4),
]


@pytest.mark.parametrize(("metric", "span", "expected"), WEIGHTED)
def test_each_metric_over_each_span(metric: Any, span: Any, expected: float) -> None:
    assert pooling.pool_span(VALUES, ANSWER, metric, span, 0.25, 10.0) == pytest.approx(expected)


@pytest.mark.parametrize(("weight", "expected"), [(0.0, -3.0), (0.5, -3.5), (1.0, -4.0)])
def test_weights_of_the_answer(weight: float, expected: float) -> None:
    found = pooling.pool_span(VALUES, ANSWER, "log_likelihood", "blended", weight, 0.0)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("answer", [None, torch.zeros(3, dtype=torch.bool)])
@pytest.mark.parametrize("span", ["answer", "blended"])
@pytest.mark.parametrize(("metric", "whole"), [("log_likelihood", -3.0), ("perplexity", -(math.e**3))])
def test_a_missing_answer_costs_the_penalty(
    answer: torch.Tensor | None, span: Any, metric: Any, whole: float
) -> None:
    found = pooling.pool_span(VALUES, answer, metric, span, 0.25, 0.5)
    assert found == pytest.approx(whole - 0.5)


def test_over_the_response_no_answer_is_missed() -> None:
    assert pooling.pool_span(VALUES, None, "log_likelihood", "response", 0.25, 0.5) == pytest.approx(-3)


def test_higher_is_better_for_every_metric() -> None:
    low, high = torch.tensor([-3.0, -2.0]), torch.tensor([-1.0, -2.0])
    for metric in ("log_likelihood", "perplexity", "predictive_entropy"):
        assert pooling.pool(low, metric) < pooling.pool(high, metric) < 0


def test_verifiers_are_combined_row_by_row() -> None:
    values = torch.tensor([[-1.0, -2.0, NAN, -4.0], [-3.0, -1.0, -5.0, NAN], [-2.0, 0.0, -5.0, -6.0]])
    mean = pooling.combine(values, "mean")
    assert mean.tolist() == pytest.approx([-2, -1, NAN, NAN], nan_ok=True)
    assert pooling.combine(values, "min").tolist() == pytest.approx([-3, -2, NAN, NAN], nan_ok=True)
    for ensemble in ("mean", "min"):
        alone = pooling.combine(values[:1], ensemble).tolist()  # type: ignore[arg-type]
        assert alone == pytest.approx([-1, -2, NAN, -4], nan_ok=True)


def test_bounds() -> None:
    values = torch.tensor([-9.0, -3.0, -1.0, 2.0, NAN])

    def near(*expected: float) -> Any:
        return pytest.approx(list(expected), nan_ok=True)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    assert pooling.bound(values, None, None).tolist() == near(-9, -3, -1, 2, NAN)
    assert pooling.bound(values, [-4.0, 1.0], None).tolist() == near(-4, -3, -1, 1, NAN)
    assert pooling.bound(values, None, [-3.0, 2.0]).tolist() == near(
        sigmoid(-3), 0.5, sigmoid(1), sigmoid(2.5), NAN
    )
    both = pooling.bound(values, [-4.0, 1.0], [-3.0, 2.0])
    assert both.tolist() == near(sigmoid(-0.5), 0.5, sigmoid(1), sigmoid(2), NAN)
    assert values.tolist() == near(-9, -3, -1, 2, NAN), "the values given are left as they are"
