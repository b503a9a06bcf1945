"""A table of text, written as markdown; `latex` writes it as LaTeX, and the report's template as HTML."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isnan, nan
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from analysis.stats.intervals import standard_error, t_interval
from analysis.stats.seeds import MIN_SEEDS
from cme.runtime.terminal import plain

MARKDOWN = {"|": r"\|", "<": "&lt;", ">": "&gt;", "*": r"\*", "`": r"\`"}


@dataclass(frozen=True)
class Entry:
    """The text of one table cell."""

    text: str
    bold: bool = False


class Estimate(NamedTuple):
    """A value with the bounds of its 95 % interval, NaN if they are unknown."""

    value: float
    lo: float = nan
    hi: float = nan

    @classmethod
    def from_row(cls, row: Mapping[Any, Any], name: str) -> "Estimate":
        """The estimate in the columns `name`, `name_lo` and `name_hi` of a row."""
        return cls(row[name], row[f"{name}_lo"], row[f"{name}_hi"])

    @property
    def percent(self) -> "Estimate":
        """The same in percent."""
        return Estimate(100 * self.value, 100 * self.lo, 100 * self.hi)

    def text(self, decimals: int = 3, sign: str = "+") -> str:
        """The value with its interval, such as +0.120 [0.080, 0.160]; n/a if it is unknown."""
        return "n/a" if isnan(self.value) else format_estimate(*self, decimals, sign)

    def columns(self, name: str) -> dict[str, float]:
        """The columns `name`, `name_lo` and `name_hi` of a row."""
        return {name: self.value, f"{name}_lo": self.lo, f"{name}_hi": self.hi}


UNKNOWN = Estimate(nan)
Row = Sequence[Entry]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Table:
    """A table of text: `groups` are blocks of rows separated by a rule, `notes` stand below the table."""

    name: str
    title: str
    header: Sequence[str]
    groups: Sequence[Sequence[Row]]
    notes: Sequence[str]


@dataclass(frozen=True)
class Column(Generic[Item]):
    """A column of a table: its header, the text of an item, and the note that explains it under the table.

    With `once`, only the first row of a group shows it.
    """

    header: str
    text: Callable[[Item], Entry | str]
    note: str = ""
    once: bool = False


def build_table(
    name: str,
    title: str,
    columns: Sequence[Column[Any]],
    groups: Iterable[Iterable[Any]],
    notes: Sequence[str] = (),
) -> Table:
    """A table with one row per item; `notes` stand before those of the columns. Empty groups are left out."""

    def entries(item: Any, first: bool) -> Iterator[Entry]:
        for column in columns:
            text = column.text(item) if first or not column.once else ""
            yield text if isinstance(text, Entry) else Entry(text)

    blocks = [[list(entries(item, index == 0)) for index, item in enumerate(group)] for group in groups]
    explained = dict.fromkeys(column.note for column in columns if column.note)
    header = [column.header for column in columns]
    return Table(name, title, header, [block for block in blocks if block], [*notes, *explained])


def pick(value: Any, names: str, prefix: str = "") -> dict[str, Any]:
    """Attributes of an object, named in one text, as columns of a row; without an object, None in each."""
    return {f"{prefix}{name}": None if value is None else getattr(value, name) for name in names.split()}


def rows_by(frame: pd.DataFrame, *columns: str) -> list[list[dict[Any, Any]]]:
    """The rows of a frame in groups with equal entries in some columns, in the order of the frame."""
    return [group.to_dict("records") for _, group in frame.groupby(list(columns), sort=False)]


def group_rows(rows: Iterable[Sequence[Entry | str]], columns: int = 1) -> list[list[Row]]:
    """Consecutive rows with equal first `columns` entries as a group; only its first row shows these entries.

    Without such columns all rows are one group.
    """
    entries = [[Entry(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    groups: list[list[Row]] = []
    for _, group in groupby(entries, key=lambda row: row[:columns]):
        first, *others = group
        groups.append([first, *([Entry("")] * columns + row[columns:] for row in others)])
    return groups


def mean_over_seeds(values: Iterable[float]) -> Estimate:
    """The mean of the known values with its 95 % t interval, whose bounds are NaN below MIN_SEEDS."""
    known = np.array([value for value in values if not np.isnan(value)], dtype=float)
    if len(known) < MIN_SEEDS:
        return Estimate(float(known.mean())) if len(known) else UNKNOWN
    mean = float(known.mean())
    return Estimate(mean, *t_interval(mean, standard_error(known - mean), len(known)))


def format_percent(value: float) -> str:
    """A percentage to one decimal, or n/a."""
    return "n/a" if isnan(value) else f"{value:.1f}"


def format_p_value(p: float) -> str:
    """A p-value to three decimals, or n/a."""
    return "n/a" if isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def format_interval(lo: float, hi: float, decimals: int = 1, sign: str = "") -> str:
    """An interval in brackets, or [n/a]; with the sign `+`, its bounds have signs."""
    return "[n/a]" if isnan(lo) else f"[{lo:{sign}.{decimals}f}, {hi:{sign}.{decimals}f}]"


def format_estimate(value: float, lo: float, hi: float, decimals: int = 1, sign: str = "") -> str:
    """A value with its interval, such as 58.3 [52.1, 64.5]; with the sign `+`, that of the value is shown."""
    text = "n/a" if isnan(value) else f"{value:{sign}.{decimals}f}"
    return f"{text} {format_interval(lo, hi, decimals)}"


def slug(text: str) -> str:
    """Text as part of a file name or label."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower() or "unnamed"


def substitute(text: str, characters: dict[str, str]) -> str:
    """Text on one line, with the special characters of a format replaced."""
    return "".join(characters.get(character, character) for character in plain(" ".join(text.split())))


def to_markdown(table: Table) -> str:
    """The table as aligned markdown, readable in a terminal too."""
    rows = [
        [
            f"**{text}**" if entry.bold else text
            for entry in row
            for text in [substitute(entry.text, MARKDOWN)]
        ]
        for group in table.groups
        for row in group
    ]
    header = [substitute(name, MARKDOWN) for name in table.header]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [f"### {substitute(table.title, MARKDOWN)}", ""]
    for row in [header, ["-" * width for width in widths], *rows]:
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        lines.append(f"| {' | '.join(padded)} |")
    lines += ["", *(f"- {substitute(note, MARKDOWN)}" for note in table.notes)]
    return "\n".join(lines) + "\n"
