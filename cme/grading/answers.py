"""Extraction and comparison of answers, for rewards, for the span that a reward scores, and for accuracy."""

import re
from typing import Literal, get_args

from cme.grading import math_grader, notation
from cme.models.thoughts import split_thoughts

AnswerKind = Literal["none", "whole", "number", "boxed"]
"""What part of a response is its answer: none (open-ended data), all of it, the last number in digits, or the content
of the last \\boxed{...}, or of the last \\fbox{...} if there is none."""

_BOX_OR_BRACE = re.compile(
    r"""\\(?P<box>boxed|fbox)\s*\{
    | \\(?P<bare>boxed|fbox)(?![a-zA-Z])\s*(?P<content>
        -?[0-9](?:[0-9.,]*[0-9])? | \\[dt]?frac\s*\{[^{}]*\}\s*\{[^{}]*\} | \\sqrt\s*\{[^{}]*\}
        | \\[a-zA-Z]+ | [^\s{}\\$]
      )
    | \\[^a-zA-Z]  # an escaped brace is text
    | [{}]""",
    re.VERBOSE,
)


def normalize_text(text: str) -> str:
    """The text with words and numbers only and single spaces, without regard to case (`notation.words`)."""
    return " ".join(notation.words(text))


def extract_answer(response: str, kind: AnswerKind) -> str | None:
    """The answer of a response in its canonical form (`canonical_answer`); None if it has no answer that parses.

    Raises ValueError for data without answers and for an unknown kind.
    """
    span = answer_span(response, kind)
    return None if span is None else canonical_answer(response[slice(*span)], kind)


def canonical_answer(answer: str, kind: AnswerKind) -> str:
    """The form in which answers are compared: normalised words, the exact value of a number, or a box's content.

    A box's content is in plain LaTeX (`notation.to_latex`). An answer without the expected number is only stripped of
    blanks.
    """
    if kind == "whole":
        return normalize_text(answer)
    if kind == "boxed":
        return notation.to_latex(answer)
    span = notation.last_number(answer) if kind == "number" else None
    return answer.strip() if span is None else notation.exact_value(answer[slice(*span)])


def gold_answer(answer: str | None, kind: AnswerKind) -> str | None:
    """The canonical form of a gold answer; None if there is none, or if no answer of the kind can be read from it.

    Such a gold answer is no gold answer: a response graded by it would always be wrong. Boxed gold answers are parsed
    by math-verify (`cme.grading.math_grader`); one whose parsing is undecided stays.
    """
    if answer is None:
        return None
    if kind == "number":
        readable: bool | None = notation.last_number(answer) is not None
    elif kind == "boxed":
        readable = math_grader.parses(notation.to_latex(answer))
    else:
        readable = bool(normalize_text(answer))
    return None if readable is False else canonical_answer(answer, kind)


def answer_span(response: str, kind: AnswerKind) -> tuple[int, int] | None:
    """The characters [start, end) of a response's answer; None if it has no answer.

    A thought in front of the response has no answer (`cme.models.thoughts`). Raises ValueError for data without answers
    and for an unknown kind.
    """
    thoughts = split_thoughts(response)
    if kind == "whole":
        span = (0, len(thoughts.response)) if normalize_text(thoughts.response) else None
    elif kind == "number":
        span = notation.last_number(thoughts.response)
    elif kind == "boxed":
        span = _last_box(thoughts.response)
    else:
        kinds = ", ".join(k for k in get_args(AnswerKind) if k != "none")
        raise ValueError(f"data.answers={kind!r}; an answer can only be extracted for one of {kinds}")
    return None if span is None else (span[0] + thoughts.length, span[1] + thoughts.length)


def has_final_answer(kind: str) -> bool:
    """Whether the answer is a part of the response that can be right or wrong, as in mathematics."""
    return kind not in ("none", "whole")


def are_equivalent(gold: str, given: str, kind: AnswerKind) -> bool | None:
    """Whether two canonical answers are equivalent; None if the comparison is undecided.

    Boxed answers are compared by math-verify in a guarded process (`cme.grading.math_grader`), which may run out of
    time. Its relation is not quite symmetric (x = 3 and 3). Answers of other kinds must be equal.
    """
    if gold == given:
        return True
    return math_grader.are_equivalent(gold, given) if kind == "boxed" else False


def is_correct(response: str, gold: str | None, kind: AnswerKind) -> bool | None:
    """Whether a response's answer is correct; a response without an answer is not.

    None if there is no gold answer (`gold_answer`), and if the comparison is undecided. Raises ValueError as
    `extract_answer` does.
    """
    return is_right(extract_answer(response, kind), gold, kind)


def is_right(given: str | None, gold: str | None, kind: AnswerKind) -> bool | None:
    """As `is_correct`, for a canonical answer."""
    right = gold_answer(gold, kind)
    if right is None:
        return None
    return False if given is None else are_equivalent(right, given, kind)


def _last_box(response: str) -> tuple[int, int] | None:
    """The content of the last box with balanced braces, or of the number or symbol behind `\\boxed`.

    None if it is blank, or if there is no box.
    """
    # where the content of each open brace begins, and its box, if any
    opened: list[tuple[int, str | None]] = []
    boxes: dict[str, list[tuple[int, int]]] = {"boxed": [], "fbox": []}
    for match in _BOX_OR_BRACE.finditer(response):
        if match["bare"]:
            boxes[match["bare"]].append(match.span("content"))
        elif match["box"] or match[0] == "{":
            opened.append((match.end(), match["box"]))
        elif match[0] == "}" and opened:
            start, box = opened.pop()
            if box:
                boxes[box].append((start, match.start()))
    span = max(boxes["boxed"] or boxes["fbox"], default=None)
    return span if span and response[slice(*span)].strip() else None
