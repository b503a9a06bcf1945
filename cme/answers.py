"""Answer extraction and equivalence, for rewards that compare answers."""

import re
from typing import Literal, get_args

AnswerKind = Literal["none", "whole"]
"""What part of a response is its answer: nothing (open-ended data), or all of it, normalised."""


def normalize(text: str) -> str:
    """Lower case, words and numbers only, single spaces."""
    return " ".join(re.findall(r"\w+", text.lower()))


def extract(response: str, kind: AnswerKind) -> str | None:
    """The answer of a response, None where it has none that can be parsed.

    Raises ValueError for data without answers, and for an unknown kind.
    """
    if kind == "whole":
        return normalize(response) or None
    raise ValueError(f"answers are {kind!r}: there is no answer to extract; data with answers has one of "
                     f"{', '.join(k for k in get_args(AnswerKind) if k != 'none')}")  # fmt: skip
