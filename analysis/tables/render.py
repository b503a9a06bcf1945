"""A table of text, written as markdown; `latex` writes it as LaTeX, and the report's template as HTML."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isnan

from cme.runtime.terminal import plain

MARKDOWN = {"|": r"\|", "<": "&lt;", ">": "&gt;", "*": r"\*", "`": r"\`"}


@dataclass(frozen=True)
class Entry:
    """The text of one table cell."""

    text: str
    bold: bool = False


Row = Sequence[Entry]


@dataclass(frozen=True)
class Table:
    """A table of text: `groups` are blocks of rows separated by a rule, `notes` stand below the table."""

    name: str
    title: str
    header: Sequence[str]
    groups: Sequence[Sequence[Row]]
    notes: Sequence[str]


def group_rows(rows: Iterable[Sequence[Entry | str]], columns: int = 1) -> list[list[Row]]:
    """Consecutive rows with equal first `columns` entries as a group; only its first row shows these entries."""
    entries = [[Entry(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    groups: list[list[Row]] = []
    for _, group in groupby(entries, key=lambda row: row[:columns]):
        first, *others = group
        groups.append([first, *([Entry("")] * columns + row[columns:] for row in others)])
    return groups


def format_percent(value: float) -> str:
    """A percentage to one decimal, or n/a."""
    return "n/a" if isnan(value) else f"{value:.1f}"


def format_p_value(p: float) -> str:
    """A p-value to three decimals, or n/a."""
    return "n/a" if isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def format_interval(lo: float, hi: float, decimals: int = 1) -> str:
    """An interval in brackets, or [n/a]."""
    return "[n/a]" if isnan(lo) else f"[{lo:.{decimals}f}, {hi:.{decimals}f}]"


def slug(text: str) -> str:
    """Text as part of a file name or label."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower() or "unnamed"


def substitute(text: str, characters: dict[str, str]) -> str:
    """Text on one line, with the special characters of a format replaced."""
    return "".join(characters.get(character, character) for character in plain(" ".join(text.split())))


def to_markdown(table: Table) -> str:
    """The table as aligned markdown, readable in a terminal too."""
    rows = [[markdown_entry(entry) for entry in row] for group in table.groups for row in group]
    header = [substitute(name, MARKDOWN) for name in table.header]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [f"### {substitute(table.title, MARKDOWN)}", ""]
    for row in [header, ["-" * width for width in widths], *rows]:
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        lines.append(f"| {' | '.join(padded)} |")
    lines += ["", *(f"- {substitute(note, MARKDOWN)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def markdown_entry(entry: Entry) -> str:
    """A table cell in markdown."""
    text = substitute(entry.text, MARKDOWN)
    return f"**{text}**" if entry.bold else text
