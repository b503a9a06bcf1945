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
        ("  fox,\n BEAR ; wolf!", "fox bear wolf"),
        ("7.", "7"),
        ("...", ""),
        ("", ""),
        ("Élan vital", "élan vital"),
        ("cafe\u0301", "café"),  # decomposed and composed
        ("हिंदी में", "हिंदी में"),  # vowel signs belong to their word
        ("हद", "हद"),
        ("ไม่ ไม", "ไม่ ไม"),
        ("فارسی\u200c\u0647\u0627", "فارسیها"),  # an invisible joiner
        ("co\u00adop", "coop"),
        ("Straße STRASSE", "strasse strasse"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("日本語。", "日本語"),
        ("snake_case, x2", "snake_case x2"),
    ],
)
def test_normalize(text: str, normal: str) -> None:
    assert normalize_text(text) == normal


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    normal = normalize_text(text)
    assert normalize_text(normal) == normal == normal.strip() and "  " not in normal


@pytest.mark.parametrize("kind", ["none", "hole"])
def test_kinds_without_an_answer_are_refused_by_name(kind: str) -> None:
    with pytest.raises(ValueError, match=f"'{kind}'.*whole"):
        extract_answer("7.", kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("7", "7"),
        ("3 plus 4 is 7.", "7"),
        ("7. the fox is red.", "7"),
        ("it costs 1,200.50 dollars", "1200.5"),
        ("1,2,3", "3"),
        ("5-3", "3"),
        ("(4)-3", "3"),
        ("the answer is -3", "-3"),
        ("the answer is \u22123", "-3"),
        ("$-0.50", "-0.5"),
        ("-0", "0"),
        ("007.0", "7"),
        (".5 of it", "0.5"),
        ("1234,567", "567"),
        ("no idea", None),
        ("", None),
        ("seven", None),
        # fractions
        ("1/2", "0.5"),
        ("it is 6/8 of a cake", "0.75"),
        ("-1/3", "-1/3"),
        ("2 / 6", "1/3"),
        ("1,000/4", "250"),
        ("2 1/2 cups", "2.5"),
        ("of 10 20/4", "5"),  # no mixed number
        ("1/2/3", "3"),  # a date
        ("7/0", "0"),
        ("6/3 = 2", "2"),
        ("12345678901234567890123/2", "6172839450617283945061.5"),
        ("\\frac{3}{4}", "0.75"),
        ("$\\dfrac{-1}{3}$", "-1/3"),
        ("\\frac34", "0.75"),
        ("-2\\frac{1}{2}", "-2.5"),
        ("\\frac{1}{-2}", "-0.5"),
        ("3/-4", "-0.75"),
        ("7/-0", "0"),
        ("½", "0.5"),
        ("2½", "2.5"),
        ("1\u20448", "0.125"),
        # scientific notation
        ("1e5", "100000"),
        ("1.50E-3", "0.0015"),
        ("1.5 \u00d7 10^3", "1500"),
        ("2 \\times 10^{-2}", "0.02"),
        ("3\u00d710⁵", "300000"),
        ("6.02 x 10^23", "602000000000000000000000"),
        ("0e7", "0"),
        ("1e999999999999", "1e999999999999"),  # not computed
        ("2 eggs", "2"),
        ("size 3e", "3"),
        ("commit 1ea5", "5"),
        # separators of thousands
        ("1'000", "1000"),
        ("1\u202f000\u202f000", "1000000"),
        ("1\u00a0000", "1000"),
        ("1{,}000", "1000"),
        ("1\\,000.5", "1000.5"),
        ("1.234.567.", "1234567"),
        ("3 100", "100"),  # two numbers
        ("it is 10 000.", "10000"),  # but no number begins with 0
        ("1 000 000.5", "1000000.5"),
        ("20 000/4", "5000"),
        ("1.234,56", "1234.56"),
        ("1.000.000,5", "1000000.5"),
        # powers, and units, whose exponents are no numbers
        ("it is 10^3.", "1000"),
        ("2^{10}", "1024"),
        ("10^{-2}", "0.01"),
        ("2³", "8"),
        ("-2^2", "-4"),
        ("0^{-1}", "0^-1"),
        ("9^9999", "9^9999"),  # not computed
        ("it covers 12 cm^2.", "12"),
        ("12 cm^{2}", "12"),
        ("x^{-2}", None),
        ("2 ^ 10", "1024"),
        ("10**5", "100000"),
        ("5 \\times 10 ^ 3", "5000"),
        # an index is no number, and a base belongs to its digits
        ("it is 7 = x_1", "7"),
        ("a_{12}", None),
        ("101_2", "5"),
        ("129_{8}", "129_8"),  # 9 is no digit of this base
        # minus signs apart from their number
        ("x = - 7", "-7"),
        ("x = \u2212 7.", "-7"),
        ("The answer is - 7.", "-7"),
        ("- 7", "-7"),
        ("- \\frac{1}{2}", "-0.5"),
        ("x = - 1 1/2", "-1.5"),
        ("$- 7$", "-7"),
        ("**- 7**", "-7"),
        ("#### - 42", "-42"),
        ("x \\le - 3", "-3"),
        ("(2, - 3)", "-3"),
        ("-2 to - 5", "-5"),
        ("it is minus 7", "-7"),
        ("negative 7", "-7"),
        ("\\frac{ - 1 }{ 2 }", "-0.5"),
        ("1/ - 2", "-0.5"),
        ("9 - 7", "7"),  # the terms of a difference, as in 5-3
        ("x - 7", "7"),
        ("9 minus 7", "7"),
        ("Answer - 7", "7"),  # a dash
        ("Answer \u2013 7", "7"),
        ("- 5 apples\n- 7 pears", "7"),  # bullets
        ("Answer:\n- 7 pears", "7"),
        ("x = \u00b13", None),  # two numbers
        ("7 \u00b1 1", "7"),
        # currency
        ("-$7", "-7"),
        ("\u2212\u20ac1,200.50", "-1200.5"),
        ("-\\$7", "-7"),
        ("it costs $10 - $3", "3"),
        # Indian separators, underscores, and a decimal comma in front of digits that begin no number
        ("1,00,000", "100000"),
        ("12,34,567.5", "1234567.5"),
        ("1,00,00,000", "10000000"),
        ("1_000", "1000"),
        ("1_000_000", "1000000"),
        ("1,\\!000", "1000"),
        ("1\\ 000", "1000"),
        ("\uff11\uff0c\uff10\uff10\uff10", "1000"),
        ("1,00", "1"),
        ("3,05", "3.05"),
        ("3,14", "14"),  # or a list
        ("version 1.2.3", "3"),
        ("12 / 5/2021", "2021"),
        # signs and digits of Unicode
        ("\uff0d5", "-5"),
        ("it is \u20135", "-5"),
        ("5\u20137", "7"),  # a range
        ("\u0667", "7"),
        ("\uff11\uff12", "12"),
        ("\u0661\u066c\u0662\u0663\u0664\u066b\u0665", "1234.5"),
        ("\u200eit is 4\u200b2\ufeff, I think", "42"),  # characters of no width
    ],
)
def test_the_last_number_is_the_answer(response: str, number: str | None) -> None:
    assert extract_answer(response, "number") == number


@pytest.mark.parametrize(
    ("response", "answer"), [("The Fox, red.", "the fox red"), (" .!? ", None), ("", None)]
)
def test_the_whole_response_is_its_answer(response: str, answer: str | None) -> None:
    assert extract_answer(response, "whole") == answer


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
        ("so \\boxed 12.", "12"),
        ("\\boxed-3", "-3"),
        ("$\\boxed\\frac{1}{2}$", "\\frac{1}{2}"),
        ("\\boxed\\pi", "\\pi"),
        ("\\fbox{3}", "3"),
        ("\\boxed{1} and \\fbox{2}", "1"),
        ("\\boxed{\\left\\{1, 2\\right.}", "\\left\\{1, 2\\right."),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{1, 2\\}", None),  # the brace is text
        ("\\boxedness 5", None),
        ("\\boxed{\u22125}", "-5"),
        ("\\boxed{1\\,000}", "1000"),
        ("\\boxed{2.5e-3}", "2.5\\times 10^{-3}"),
        ("\\boxed{x²}", "x^{2}"),
        ("\\boxed{cafe\u0301}", "café"),
        ("\\boxed{1,00,000}", "100000"),
        ("\\boxed{12,34,567}", "12,34,567"),  # or a list
        ("\\boxed{1_000}", "1000"),
        ("\\boxed{1\\;000}", "1000"),
        ("\\boxed{10 000/3}", "10000/3"),
        ("\\boxed{-$7}", "-7"),
        ("\\boxed{\\text{\\$}7}", "7"),
        ("\\boxed{2 1/2}", "2\\frac{1}{2}"),
        ("\\boxed{2 3/2}", "2 3/2"),  # no mixed number
        ("\\boxed{4\u200b2}", "42"),
        ("\\boxed{}", None),
        ("\\boxed{ } and \\boxed{5}", "5"),
    ],
)
def test_boxes_and_their_notation(response: str, answer: str | None) -> None:
    assert extract_answer(response, "boxed") == answer


EQUAL_IN_A_BOX = [
    ("-5", "\u22125", True),
    ("1000", "1,000", True),
    ("1000", "1\\,000", True),
    ("1000", "1\u202f000", True),
    ("1000", "1{,}000", True),
    ("100000", "1e5", True),
    ("0.0015", "1.5e-3", True),
    ("1500", "1.5 \\times 10^3", True),
    ("300000", "3\u00d710⁵", True),
    ("100000", "1e4", False),
    ("\\frac{1}{2}", "1/2", True),
    ("\\frac{1}{2}", "½", True),
    ("2.5", "2½", True),
    ("2.5", "2\\frac{1}{2}", True),
    ("0.5", "\\tfrac12", True),
    ("\\frac{1}{3}", "2/6", True),
    ("\\frac{1}{3}", "1/2", False),
    ("7", "\uff17", True),
    ("\\sqrt{2}", "√2", True),
    ("2\\pi", "2π", True),
    ("x^2", "x²", True),
    ("\\infty", "∞", True),
    ("\\{1,2\\}", "\\left\\{2,1\\right\\}", True),
    ("(1,2)", "\\left(1, 2\\right)", True),
    ("-\\frac{1}{2}", "\u2212\\frac12", True),
    ("90", "90^\\circ", True),
    ("5", "\\text{5}", True),
    ("10", "\\$10", True),
    ("café", "cafe\u0301", True),
    ("हिंदी", "हद", False),
    ("-7", "x = - 7", True),
    ("-7", "{-}7", True),
    ("-7", "-$7", True),
    ("7", "\u20ac7", True),
    ("100000", "1,00,000", True),
    ("1000", "1_000", True),
    ("1000", "1\\ 000", True),
    ("\\frac{3}{2}", "1 1/2", True),
    ("\\frac{11}{2}", "1 1/2", False),
    ("\\sqrt{x+1}", "√(x+1)", True),
    ("10^5", "10**5", True),
    ("x \\in [1,2]", "x ∈ [1,2]", True),
    ("\\pm 3", "±3", True),
    ("\\pm 3", "3", False),
    ("0.5", "50\\%", True),
    ("5\\%", "50\\%", False),
]


@pytest.mark.parametrize(("gold", "given", "same"), EQUAL_IN_A_BOX)
def test_equal_values_in_a_box(monkeypatch: pytest.MonkeyPatch, gold: str, given: str, same: bool) -> None:
    monkeypatch.setattr(math_grader._grader, "seconds", 60.0)
    answers = [extract_answer(f"\\boxed{{{text}}}", "boxed") for text in (gold, given)]
    assert answers[0] is not None and answers[1] is not None
    assert are_equivalent(answers[0], answers[1], "boxed") is same


@pytest.mark.parametrize(
    ("gold", "given", "kind", "same"),
    [
        ("the fox", "the fox", "whole", True),
        ("7", "7 0", "whole", False),
        ("0.5", "1/2", "whole", False),  # words, not mathematics
        ("7", "7", "number", True),
        ("7", "7.5", "number", False),
        ("\\frac{1}{2}", "0.5", "boxed", True),
        ("\\frac12", "\\dfrac{2}{4}", "boxed", True),
        ("1{,}000", "1000", "boxed", True),
        ("2\\sqrt2", "\\sqrt{8}", "boxed", True),
        ("(x+1)^2", "x^2+2x+1", "boxed", True),
        ("\\{1, 2\\}", "\\{2, 1\\}", "boxed", True),
        ("(1, 2)", "(2, 1)", "boxed", False),
        ("3", "x=3", "boxed", True),
        ("7", "7.", "boxed", True),
        ("12", "12\\text{ cm}", "boxed", True),
        ("2", "3", "boxed", False),
        ("\\frac{1}{3}", "0.333", "boxed", False),
        ("2", "two {", "boxed", False),
    ],
)
def test_equivalence(gold: str, given: str, kind: AnswerKind, same: bool) -> None:
    assert are_equivalent(gold, given, kind) is same


@pytest.mark.parametrize(
    ("response", "gold", "kind", "right"),
    [
        ("so \\boxed{0.5}", "\\frac{1}{2}", "boxed", True),
        ("so \\boxed{0.6}", "\\frac{1}{2}", "boxed", False),
        ("so 0.5", "\\frac{1}{2}", "boxed", False),  # nothing in a box
        ("so \\boxed{0.5}", None, "boxed", None),
        ("so \\boxed{9^{9^{9^9}}}", "2", "boxed", None),
        ("so \\boxed{9}", "9^{9^{9^9}}", "boxed", None),
        ("so \\boxed{0.5}", "\\frac{1", "boxed", None),  # no gold answer: it does not parse
        ("so \\boxed{\\frac{1}", "\\frac{1", "boxed", None),
        ("no box", "?", "boxed", None),
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
        (" x^2 + 1 ", "boxed", "x^2 + 1"),
        ("\\text{Evelyn}", "boxed", "\\text{Evelyn}"),
        ("(-\\infty, 2] \\cup (3, 5)", "boxed", "(-\\infty, 2] \\cup (3, 5)"),
        ("\\frac{1", "boxed", None),
        ("x^2+", "boxed", None),
        ("", "boxed", None),
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
