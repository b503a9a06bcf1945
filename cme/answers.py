"""Answer extraction and equivalence, for rewards that compare answers or score their span."""

import re
from typing import Literal, get_args

AnswerKind = Literal["none", "whole", "boxed"]
"""What part of a response is its answer: nothing (open-ended data), all of it, or its last \\boxed{...}'s content."""


def normalize(text: str) -> str:
    """Lower case, words and numbers only, single spaces."""
    return " ".join(re.findall(r"\w+", text.lower()))


def extract(response: str, kind: AnswerKind) -> str | None:
    """The answer of a response: all of it normalised, or a box's content; None where it has none that parses.

    Raises ValueError for data without answers, and for an unknown kind.
    """
    place = answer_span(response, kind)
    if place is None:
        return None
    answer = response[slice(*place)]
    return normalize(answer) if kind == "whole" else answer.strip()


def same_answer(first: str, second: str) -> bool:
    """Whether two extracted answers are the same one."""
    return first == second


def answer_span(response: str, kind: AnswerKind) -> tuple[int, int] | None:
    """Where a response's answer lies, in characters [start, end); None where it has none. Raises as `extract`."""
    if kind == "whole":
        return (0, len(response)) if normalize(response) else None
    if kind == "boxed":
        return _last_box(response)
    raise ValueError(f"answers are {kind!r}: there is no answer to extract; data with answers has one of "
                     f"{', '.join(k for k in get_args(AnswerKind) if k != 'none')}")  # fmt: skip


def _last_box(response: str) -> tuple[int, int] | None:
    """The content of the last `\\boxed{...}` whose braces balance and which is not blank."""
    for found in reversed(list(re.finditer(r"\\boxed\s*\{", response))):
        depth = 1
        for at in range(found.end(), len(response)):
            depth += {"{": 1, "}": -1}.get(response[at], 0)
            if depth == 0:
                return (found.end(), at) if response[found.end() : at].strip() else None
    return None
