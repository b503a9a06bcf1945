"""Text from elsewhere, safe to print on a terminal."""

import re

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters except tab and line feed, and those that change the direction of text."""


def plain(text: str) -> str:
    r"""The text with control characters as escapes, such as `\x1b`.

    A terminal executes them: they can hide or overwrite what was printed before, or change its settings.
    """
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)
