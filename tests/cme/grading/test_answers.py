"""Answers: normalisation, extraction, equivalence and clusters."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cme.grading import math_grader
from cme.grading.agreement import cluster_answers
from cme.grading.answers import (
    AnswerKind,
    answer_span,
    are_equivalent,
    canonical_answer,
    extract_answer,
    gold_answer,
    is_correct,
    normalize_text,
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Fox.", "the fox"),
        ("...", ""),
        ("", ""),
        ("cafe\u0301", "café"),  # decomposed and composed
        ("हिंदी में", "हिंदी में"),  # vowel signs belong to their word
        ("فارسی\u200c\u0647\u0627", "فارسیها"),  # an invisible joiner
        ("Straße STRASSE", "strasse strasse"),
        ("snake_case, x2", "snake_case x2"),
    ],
)
def test_the_whole_response_is_its_answer_in_a_normal_form(text: str, normal: str) -> None:
    assert normalize_text(text) == normalize_text(normal) == normal
    assert extract_answer(text, "whole") == (normal or None)


@pytest.mark.parametrize("kind", ["none", "hole"])
def test_kinds_without_an_answer_are_refused_by_name(kind: str) -> None:
    with pytest.raises(ValueError, match=f"'{kind}'.*whole"):
        extract_answer("7.", kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("3 plus 4 is 7.", "7"),
        ("it costs 1,200.50 dollars", "1200.5"),
        ("1,2,3", "3"),
        ("5-3", "3"),
        ("the answer is -3", "-3"),
        (".5 of it", "0.5"),
        ("no idea", None),
        # fractions
        ("-1/3", "-1/3"),
        ("2 1/2 cups", "2.5"),
        ("of 10 20/4", "5"),  # no mixed number
        ("1/2/3", "3"),  # a date
        ("7/0", "0"),
        ("12345678901234567890123/2", "6172839450617283945061.5"),
        ("\\frac{3}{4}", "0.75"),
        ("\\frac34", "0.75"),
        ("\\frac{1}{-2}", "-0.5"),
        ("2½", "2.5"),
        ("1\u20448", "0.125"),
        # scientific notation
        ("1e5", "100000"),
        ("1.50E-3", "0.0015"),
        ("1.5 \u00d7 10^3", "1500"),
        ("3\u00d710⁵", "300000"),
        ("1e999999999999", "1e999999999999"),  # not computed
        ("commit 1ea5", "5"),
        # separators of thousands
        ("1'000", "1000"),
        ("1\u202f000\u202f000", "1000000"),
        ("1{,}000", "1000"),
        ("1.234.567.", "1234567"),
        ("3 100", "100"),  # two numbers
        ("it is 10 000.", "10000"),  # but no number begins with 0
        ("20 000/4", "5000"),
        ("1.234,56", "1234.56"),
        # powers, and units, whose exponents are no numbers
        ("2^{10}", "1024"),
        ("2³", "8"),
        ("-2^2", "-4"),
        ("0^{-1}", "0^-1"),
        ("9^9999", "9^9999"),  # not computed
        ("it covers 12 cm^2.", "12"),
        ("x^{-2}", None),
        ("10**5", "100000"),
        # an index is no number, and a base belongs to its digits
        ("it is 7 = x_1", "7"),
        ("101_2", "5"),
        ("129_{8}", "129_8"),  # 9 is no digit of this base
        # minus signs apart from their number
        ("x = - 7", "-7"),
        ("The answer is - 7.", "-7"),
        ("- 7", "-7"),
        ("x = - 1 1/2", "-1.5"),
        ("(2, - 3)", "-3"),
        ("it is minus 7", "-7"),
        ("\\frac{ - 1 }{ 2 }", "-0.5"),
        ("9 - 7", "7"),  # the terms of a difference, as in 5-3
        ("Answer \u2013 7", "7"),
        ("- 5 apples\n- 7 pears", "7"),  # bullets
        ("x = \u00b13", None),  # two numbers
        # currency
        ("\u2212\u20ac1,200.50", "-1200.5"),
        # Indian separators, underscores, and a decimal comma in front of digits that begin no number
        ("1,00,000", "100000"),
        ("12,34,567.5", "1234567.5"),
        ("1,\\!000", "1000"),
        ("\uff11\uff0c\uff10\uff10\uff10", "1000"),
        ("3,05", "3.05"),
        ("3,14", "14"),  # or a list
        # signs and digits of Unicode
        ("\uff0d5", "-5"),
        ("5\u20137", "7"),  # a range
        ("\u0661\u066c\u0662\u0663\u0664\u066b\u0665", "1234.5"),
        ("\u200eit is 4\u200b2\ufeff, I think", "42"),  # characters of no width
    ],
)
def test_the_last_number_is_the_answer(response: str, number: str | None) -> None:
    assert extract_answer(response, "number") == number


@given(st.integers(-(10**40), 10**40), st.integers(0, 6))
def test_numbers_keep_their_value_at_any_length(digits: int, decimals: int) -> None:
    value = Fraction(digits, 10**decimals)
    sign, whole = "-" if value < 0 else "", abs(digits) // 10**decimals
    text = f"{sign}{whole:,}.{abs(digits) % 10**decimals:0{decimals}d}" if decimals else f"{digits:,}"
    found = extract_answer(f"so it is {text}.", "number")
    assert found is not None
    assert Fraction(found) == value
    assert canonical_answer(found, "number") == found


@given(st.text(alphabet="0123456789-,. ax", max_size=30))
def test_the_span_of_a_number_is_the_last_number(text: str) -> None:
    place = answer_span(text, "number")
    assert (place is None) == (re.search("[0-9]", text) is None)
    if place is not None:
        assert extract_answer(text[slice(*place)], "number") == extract_answer(text, "number")
        assert re.search("[0-9]", text[place[1] :]) is None


def naive_last_box(response: str) -> str | None:
    """The last box whose braces balance, each tried by counting."""
    for start in reversed([m.end() for m in re.finditer(r"\\boxed\s*\{", response)]):
        depth = 1
        for end in range(start, len(response)):
            depth += (response[end] == "{") - (response[end] == "}")
            if depth == 0:
                return response[start:end].strip() or None
    return None


@given(st.lists(st.sampled_from(["\\boxed{", "\\boxed {", "{", "}", "1", " ", "x"]), max_size=14))
def test_the_last_balanced_box_is_the_answer(parts: list[str]) -> None:
    response = "".join(parts)
    assert extract_answer(response, "boxed") == naive_last_box(response)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\boxed5", "5"),
        ("$\\boxed\\frac{1}{2}$", "\\frac{1}{2}"),
        ("\\fbox{3}", "3"),
        ("\\boxed{1} and \\fbox{2}", "1"),
        ("\\boxed{\\left\\{1, 2\\right.}", "\\left\\{1, 2\\right."),
        ("\\boxed{1, 2\\}", None),  # the brace is text
        ("\\boxedness 5", None),
        ("\\boxed{\u22125}", "-5"),
        ("\\boxed{2.5e-3}", "2.5\\times 10^{-3}"),
        ("\\boxed{x²}", "x^{2}"),
        ("\\boxed{1,00,000}", "100000"),
        ("\\boxed{12,34,567}", "12,34,567"),  # or a list
        ("\\boxed{10 000/3}", "10000/3"),
        ("\\boxed{-$7}", "-7"),
        ("\\boxed{\\text{\\$}7}", "7"),
        ("\\boxed{2 1/2}", "2\\frac{1}{2}"),
        ("\\boxed{2 3/2}", "2 3/2"),  # no mixed number
        ("\\boxed{}", None),
        ("\\boxed{ } and \\boxed{5}", "5"),
    ],
)
def test_boxes_and_their_notation(response: str, answer: str | None) -> None:
    assert extract_answer(response, "boxed") == answer


EQUAL_IN_A_BOX = [
    ("1000", "1,000", True),
    ("1000", "1{,}000", True),
    ("100000", "1e5", True),
    ("1500", "1.5 \\times 10^3", True),
    ("300000", "3\u00d710⁵", True),
    ("\\frac{1}{2}", "½", True),
    ("2.5", "2\\frac{1}{2}", True),
    ("\\frac{1}{3}", "2/6", True),
    ("\\frac{1}{3}", "1/2", False),
    ("\\sqrt{2}", "√2", True),
    ("2\\pi", "2π", True),
    ("x^2", "x²", True),
    ("\\{1,2\\}", "\\left\\{2,1\\right\\}", True),
    ("90", "90^\\circ", True),
    ("café", "cafe\u0301", True),
    ("हिंदी", "हद", False),
    ("-7", "x = - 7", True),
    ("-7", "-$7", True),
    ("\\frac{3}{2}", "1 1/2", True),
    ("\\sqrt{x+1}", "√(x+1)", True),
    ("x \\in [1,2]", "x ∈ [1,2]", True),
    ("\\pm 3", "3", False),
    ("0.5", "50\\%", True),
    ("2\\sqrt2", "\\sqrt{8}", True),
    ("(x+1)^2", "x^2+2x+1", True),
    ("(1, 2)", "(2, 1)", False),
    ("12", "12\\text{ cm}", True),
    ("\\frac{1}{3}", "0.333", False),
]


@pytest.mark.parametrize(("gold", "given", "same"), EQUAL_IN_A_BOX)
def test_equal_values_in_a_box(monkeypatch: pytest.MonkeyPatch, gold: str, given: str, same: bool) -> None:
    monkeypatch.setattr(math_grader._grader, "seconds", 60.0)
    answers = [extract_answer(f"\\boxed{{{text}}}", "boxed") for text in (gold, given)]
    assert answers[0] is not None and answers[1] is not None
    assert are_equivalent(answers[0], answers[1], "boxed") is same


def test_other_answers_are_equivalent_if_they_are_equal() -> None:
    assert are_equivalent("the fox", "the fox", "whole")
    assert not are_equivalent("0.5", "1/2", "whole") and not are_equivalent("7", "7.5", "number")


@pytest.mark.parametrize(
    ("response", "gold", "kind", "right"),
    [
        ("so \\boxed{0.5}", "\\frac{1}{2}", "boxed", True),
        ("so 0.5", "\\frac{1}{2}", "boxed", False),  # nothing in a box
        ("so \\boxed{0.5}", None, "boxed", None),
        ("so \\boxed{9^{9^{9^9}}}", "2", "boxed", None),
        ("so \\boxed{9}", "9^{9^{9^9}}", "boxed", None),
        ("so \\boxed{0.5}", "\\frac{1", "boxed", None),  # no gold answer: it does not parse
        ("it is 7.", "seven", "number", None),
        ("seven", "...", "whole", None),
        ("it is 1,000.", "1000.0", "number", True),
        ("no idea", "7", "number", False),
        ("Seven.", "seven", "whole", True),
    ],
)
def test_a_response_is_correct_wrong_or_undecided(
    monkeypatch: pytest.MonkeyPatch, response: str, gold: str | None, kind: AnswerKind, right: bool | None
) -> None:
    monkeypatch.setattr(math_grader._grader, "seconds", 1.0)
    assert is_correct(response, gold, kind) is right


@pytest.mark.parametrize(
    ("gold", "kind", "canonical"),
    [
        ("-7.50", "boxed", "-7.50"),
        ("(-\\infty, 2] \\cup (3, 5)", "boxed", "(-\\infty, 2] \\cup (3, 5)"),
        ("\\frac{1", "boxed", None),
        ("$1,000.0", "number", "1000"),
        ("n/a", "number", None),
        ("The Fox.", "whole", "the fox"),
        ("?", "whole", None),
    ],
)
def test_a_gold_answer_that_cannot_be_read_is_none(
    gold: str, kind: AnswerKind, canonical: str | None
) -> None:
    assert gold_answer(gold, kind) == canonical
    assert gold_answer(None, kind) is None


def test_clusters_have_equivalent_answers_in_order_of_appearance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_grader._grader, "seconds", 1.0)
    answers = ["0.5", "1", "\\frac{1}{2}", "2/2", "3", "\\frac{2}{4}"]
    assert cluster_answers(answers, "boxed") == [0, 1, 0, 1, 2, 0]
    assert cluster_answers(answers, "whole") == [0, 1, 2, 3, 4, 5]
    assert cluster_answers([], "boxed") == []
    endless = "9^{9^{9^{10}}}"  # undecided against any answer but itself
    assert cluster_answers([endless, "2", endless, "2"], "boxed") == [0, 1, 0, 1]
