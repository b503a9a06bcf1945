"""Answer extraction and equivalence, for rewards that compare answers or score their span, and for accuracy."""

import re
from typing import Literal, get_args

from cme.grading import math_grader

AnswerKind = Literal["none", "whole", "number", "boxed"]
"""What part of a response is its answer: nothing (open-ended data), all of it, its last number in digits, or its
last \\boxed{...}'s content."""

_NUMBER = re.compile(
    r"(?:(?<![\w)])[-\u2212])?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
)
_MINUS = "-\u2212"
_BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|[{}]")


def normalize_text(text: str) -> str:
    """Lower case, words and numbers only, single spaces."""
    return " ".join(re.findall(r"\w+", text.lower()))


def extract_answer(response: str, kind: AnswerKind) -> str | None:
    """The answer of a response, in the form of `canonical`; None where it has none that parses.

    Raises ValueError for data without answers, and for an unknown kind.
    """
    place = answer_span(response, kind)
    return None if place is None else canonical_answer(response[slice(*place)], kind)


def canonical_answer(answer: str, kind: AnswerKind) -> str:
    """An answer as `extract` gives it: normalised words, a number's shortest digits, a box's content as it is.

    This is how a gold answer compares with extracted ones. Where a number is wanted and there is none, the text.
    """
    if kind == "whole":
        return normalize_text(answer)
    found = _last_number(answer) if kind == "number" else None
    return answer.strip() if found is None else _digits(answer[slice(*found)])


def answer_span(response: str, kind: AnswerKind) -> tuple[int, int] | None:
    """Where a response's answer lies, in characters [start, end); None where it has none. Raises as `extract`."""
    if kind == "whole":
        return (0, len(response)) if normalize_text(response) else None
    if kind == "number":
        return _last_number(response)
    if kind == "boxed":
        return _last_box(response)
    raise ValueError(f"answers are {kind!r}: there is no answer to extract; data with answers has one of "
                     f"{', '.join(k for k in get_args(AnswerKind) if k != 'none')}")  # fmt: skip


def has_final_answer(kind: str) -> bool:
    """Whether the answer is a part of the response that can be right or wrong: a mathematics track's data."""
    return kind not in ("none", "whole")


def are_equivalent(gold: str, given: str, kind: AnswerKind) -> bool | None:
    """Whether a given answer is the same as the gold one; None where that is undecided. Both as `extract` gives them.

    Boxed answers are compared by math-verify, in a guarded process (`cme.grading.math_grader`), which may not finish;
    its relation is not quite symmetric (x = 3 and 3). The other kinds are equal or not.
    """
    if gold == given:
        return True
    return math_grader.are_equivalent(gold, given) if kind == "boxed" else False


def is_correct(response: str, gold: str | None, kind: AnswerKind) -> bool | None:
    """Whether a response's answer is right; one without an answer is wrong.

    None without a gold answer, and where the comparison is undecided. Raises as `extract`.
    """
    if gold is None:
        return None
    given = extract_answer(response, kind)
    return False if given is None else are_equivalent(canonical_answer(gold, kind), given, kind)


def _last_number(text: str) -> tuple[int, int] | None:
    found = [match.span() for match in _NUMBER.finditer(text)]
    return found[-1] if found else None


def _digits(number: str) -> str:
    """A number's sign, digits and point without what does not change its value; exact at any length."""
    sign = "-" if number[0] in _MINUS else ""
    whole, _, decimals = number.lstrip(_MINUS).replace(",", "").partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    value = f"{whole}.{decimals}" if decimals else whole
    return value if value == "0" else sign + value


def _last_box(response: str) -> tuple[int, int] | None:
    """The content of the last `\\boxed{...}` whose braces balance; None where that is blank, or there is none."""
    opened: list[tuple[int, bool]] = []  # where the braces' contents begin, and which braces are boxes
    boxes = []
    for found in _BOX_OR_BRACE.finditer(response):
        if found[0] != "}":
            opened.append((found.end(), found[0] != "{"))
        elif opened:
            start, is_box = opened.pop()
            if is_box:
                boxes.append((start, found.start()))
    place = max(boxes, default=None)
    return place if place and response[slice(*place)].strip() else None
