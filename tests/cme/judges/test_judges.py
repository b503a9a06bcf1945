"""Verdicts from scores, the oracle, and reference similarity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cme.judges.base import JudgeVerdict, verdict_from_scores
from cme.judges.oracle import OracleJudge
from cme.judges.reference_similarity import ReferenceSimilarity
from cme.records import Generation, Prompt


def said(text: str, finished: bool = True) -> Generation:
    return Generation(text, finished, len(text))


@pytest.mark.parametrize(
    ("first", "second", "margin", "outcome"),
    [
        (0.75, 0.5, 0.25, "tie"),
        (0.5, 0.75, 0.25, "tie"),
        (0.76, 0.5, 0.25, "first"),
        (0.5, 0.76, 0.25, "second"),
        (1.0, 1.0, 0.0, "tie"),
    ],
)
def test_a_tie_is_within_the_margin(first: float, second: float, margin: float, outcome: str) -> None:
    assert verdict_from_scores(first, second, margin) == JudgeVerdict(outcome, None, (first, second))  # type: ignore[arg-type]


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 1))
def test_swapping_the_order_swaps_the_verdict(a: float, b: float, margin: float) -> None:
    turned = {"first": "second", "second": "first", "tie": "tie"}
    assert verdict_from_scores(b, a, margin).outcome == turned[verdict_from_scores(a, b, margin).outcome]


def test_the_oracle_compares_true_qualities() -> None:
    judge = OracleJudge(lambda prompt, response, finished: len(prompt) + len(response) / 10 + finished)
    asked = Prompt("p1", "abc")
    assert judge.compare(asked, said("xx"), said("x")) == JudgeVerdict("first", None, (4.2, 4.1))
    assert judge.compare(asked, said("xx", False), said("xx")).outcome == "second"
    assert judge.compare(asked, said("xy"), said("yx")).outcome == "tie"


REFERENCE = "Sunlight is scattered by the air, and blue light is scattered the most, so the sky looks blue."


@pytest.fixture(scope="module")
def similarity() -> ReferenceSimilarity:
    return ReferenceSimilarity(margin=0.01)


def test_the_reference_beats_an_unrelated_response(similarity: ReferenceSimilarity) -> None:
    unrelated = "Bake the bread for forty minutes and let it cool."
    verdict = similarity.compare(Prompt("p", "why?", None, REFERENCE), said(unrelated), said(REFERENCE))
    assert verdict.outcome == "second"
    assert verdict.scores is not None
    assert verdict.scores[1] == pytest.approx(1.0, abs=1e-3)
    assert verdict.scores[0] < 0.5


def test_a_paraphrase_beats_an_unrelated_response(similarity: ReferenceSimilarity) -> None:
    near = "The air scatters blue light from the sun more than other colours; that is why the sky is blue."
    far = "My cat likes to sleep on the warm radiator."
    assert similarity.compare(Prompt("p", "?", None, REFERENCE), said(near), said(far)).outcome == "first"


def test_equal_responses_tie(similarity: ReferenceSimilarity) -> None:
    assert (
        similarity.compare(Prompt("p", "?", None, REFERENCE), said("Blue."), said("Blue.")).outcome == "tie"
    )


def test_an_empty_response_loses(similarity: ReferenceSimilarity) -> None:
    verdict = similarity.compare(Prompt("p", "?", None, REFERENCE), said(" \n"), said("Bake the bread."))
    assert verdict.outcome == "second"
    assert verdict.scores is not None and verdict.scores[0] == -1.0
    assert similarity.compare(Prompt("p", "?", None, REFERENCE), said(""), said(" ")).outcome == "tie"


def test_without_a_reference_the_verdict_is_unscored(similarity: ReferenceSimilarity) -> None:
    verdict = similarity.compare(Prompt("p", "?"), said("a"), said("b"))
    assert (verdict.outcome, verdict.scores) == ("unscored", None)
    assert verdict.reason is not None and "no reference" in verdict.reason
