"""What is printed on a terminal: text from elsewhere made safe, and tables."""

import re
from collections.abc import Sequence

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters except tab and line feed, and those that change the direction of text."""


def plain(text: str) -> str:
    r"""The text with control characters as escapes, such as `\x1b`.

    A terminal executes them: they can hide or overwrite what was printed before, or change its settings.
    """
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


def align_columns(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows as lines of aligned columns: the first `left` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
