"""Correctness as judge."""

import pytest

from cme.judges.base import JudgeVerdict
from cme.judges.correctness import Correctness
from cme.judges.pairwise import Comparison
from cme.records import Generation, Prompt


def said(text: str) -> Generation:
    return Generation(text, True, 1)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ("it is 7", "it is 8", JudgeVerdict("first", None, (1.0, 0.0))),
        ("it is 8", "it is 7", JudgeVerdict("second", None, (0.0, 1.0))),
        ("7.0", "it is 7", JudgeVerdict("tie", None, (1.0, 1.0))),
        ("8", "9", JudgeVerdict("tie", None, (0.0, 0.0))),
        ("no idea", "7", JudgeVerdict("second", None, (0.0, 1.0))),
    ],
)
def test_the_correct_answer_wins(first: str, second: str, verdict: JudgeVerdict) -> None:
    assert Correctness("number").compare(Prompt("p", "3 + 4?", "7"), said(first), said(second)) == verdict


def test_boxed_answers_are_compared_by_value() -> None:
    prompt = Prompt("p", "half?", r"\frac{1}{2}")
    verdict = Correctness("boxed").compare(prompt, said(r"\boxed{2}"), said(r"\boxed{0.5}"))
    assert verdict.outcome == "second"


def test_an_undecidable_answer_is_unscored() -> None:
    judge = Correctness("boxed")
    assert judge.compare(Prompt("p", "?"), said("7"), said("8")).reason == "the prompt has no gold answer"
    hanging = judge.compare(Prompt("p", "?", "7"), said(r"\boxed{7}"), said(r"\boxed{6^{6^{6^{6^6}}}}"))
    assert hanging.outcome == "unscored" and "could not be decided" in str(hanging.reason)


@pytest.mark.parametrize("answers", ["none", "whole"])
def test_data_without_gold_answers_are_refused(answers: str) -> None:
    with pytest.raises(ValueError, match=f"answers={answers}; .*data=arithmetic"):
        Correctness(answers)  # type: ignore[arg-type]


def test_the_gold_answer_is_part_of_a_comparison() -> None:
    def key(answer: str | None) -> str:
        return Comparison(Prompt("p", "q", answer), said("a"), said("b"), True).key("judge")

    assert len({key(None), key("7"), key("8")}) == 3
