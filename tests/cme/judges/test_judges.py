"""Judges without a model: verdicts from scores, the oracle, correctness, and reference similarity."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import response

from cme.judges.base import JudgeVerdict, verdict_from_scores
from cme.judges.oracle import Correctness, OracleJudge
from cme.judges.reference_similarity import ReferenceSimilarity
from cme.records import Generation, Grade, Outcome, Prompt


def test_a_tie_is_within_the_margin_and_scores_are_finite() -> None:
    cases: list[tuple[float, float, Outcome]] = [
        (0.75, 0.5, "tie"),
        (0.76, 0.5, "first"),
        (0.5, 0.76, "second"),
    ]
    for first, second, outcome in cases:
        assert verdict_from_scores(first, second, 0.25) == JudgeVerdict(outcome, None, (first, second))
    assert {verdict_from_scores(first, 0.0, 0.0).outcome for first in (math.nan, math.inf)} == {"unscored"}


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 1))
def test_swapping_the_order_swaps_the_verdict(a: float, b: float, margin: float) -> None:
    swapped = {"first": "second", "second": "first", "tie": "tie"}
    assert verdict_from_scores(b, a, margin).outcome == swapped[verdict_from_scores(a, b, margin).outcome]


def test_the_oracle_compares_true_qualities() -> None:
    judge = OracleJudge(lambda _, text, finished: Grade((len(text) + finished) / 10, "none", {}))
    prompt = Prompt("p1", "abc")
    assert judge.compare(prompt, response("xx"), response("x")) == JudgeVerdict("first", None, (0.3, 0.2))
    assert judge.compare(prompt, response("xx", False), response("xx")).outcome == "second"
    assert judge.compare(prompt, response("xy"), response("yx")).outcome == "tie"
    assert judge.compare(prompt, response("xx"), Generation("x", None, None)).outcome == "unscored"


@pytest.mark.parametrize(
    ("first", "second", "outcome", "scores"),
    [
        ("it is 7", "it is 8", "first", (1.0, 0.0)),
        ("it is 8", "it is 7", "second", (0.0, 1.0)),
        ("7.0", "it is 7", "tie", (1.0, 1.0)),
        ("8", "9", "tie", (0.0, 0.0)),
        ("no idea", "7", "second", (0.0, 1.0)),
    ],
)
def test_the_correct_answer_wins(
    first: str, second: str, outcome: Outcome, scores: tuple[float, float]
) -> None:
    verdict = Correctness("number").compare(Prompt("p", "3 + 4?", "7"), response(first), response(second))
    assert verdict == JudgeVerdict(outcome, None, scores)


def test_an_undecidable_answer_is_unscored() -> None:
    judge, seven = Correctness("boxed"), response(r"\boxed{7}")
    for gold in (None, r"\frac{7"):
        assert judge.compare(Prompt("p", "?", gold), seven, seven).reason == "the prompt has no gold answer"
    hanging = judge.compare(Prompt("p", "?", "7"), seven, response(r"\boxed{6^{6^{6^{6^6}}}}"))
    assert hanging.outcome == "unscored" and "could not be decided" in str(hanging.reason)


@pytest.mark.parametrize("answers", ["none", "whole"])
def test_data_without_gold_answers_are_refused(answers: str) -> None:
    with pytest.raises(ValueError, match=f"answers={answers}; .*data=arithmetic"):
        Correctness(answers)  # type: ignore[arg-type]


REFERENCE = "Sunlight is scattered by the air, and blue light is scattered the most, so the sky looks blue."
PARAPHRASE = "The air scatters blue light from the sun more than other colours; that is why the sky is blue."
UNRELATED = "Bake the bread for forty minutes and let it cool."


@pytest.fixture(scope="module")
def similarity() -> ReferenceSimilarity:
    return ReferenceSimilarity(margin=0.01)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (UNRELATED, REFERENCE, "second"),
        (PARAPHRASE, "My cat likes to sleep on the warm radiator.", "first"),
        ("Blue.", "Blue.", "tie"),
        (" \n", UNRELATED, "second"),
        ("", " ", "tie"),
    ],
)
def test_the_response_closer_to_the_reference_wins(
    similarity: ReferenceSimilarity, first: str, second: str, outcome: str
) -> None:
    verdict = similarity.compare(Prompt("p", "why?", None, REFERENCE), response(first), response(second))
    assert verdict.outcome == outcome and verdict.scores is not None
    if second == REFERENCE:
        assert verdict.scores[1] == pytest.approx(1.0, abs=1e-3) and verdict.scores[0] < 0.5
    if not first.strip():
        assert verdict.scores[0] == -1.0
    without = similarity.compare(Prompt("p", "why?"), response(first), response(second))
    assert (without.outcome, without.reason) == ("unscored", "the prompt has no reference answer")


def test_boxed_answers_are_compared_by_value() -> None:
    prompt = Prompt("p", "half?", r"\frac{1}{2}")
    verdict = Correctness("boxed").compare(prompt, response(r"\boxed{2}"), response(r"\boxed{0.5}"))
    assert verdict.outcome == "second"
