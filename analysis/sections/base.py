"""The parts of the report's sections: tables, and figures as embedded images."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pandas as pd

from analysis.figures.style import Plot
from analysis.records.names import SCALES, sort_names
from analysis.tables.latex import to_latex
from analysis.tables.render import Table, to_markdown
from cme.runtime.terminal import plain


class Scaled(Protocol):
    """A record of any kind, which has a scale."""

    @property
    def scale(self) -> str:
        """The scale of the record."""


T = TypeVar("T", bound=Scaled)


@dataclass(frozen=True)
class Image:
    """A figure as the report embeds it: PNG bytes in base64."""

    data: str
    caption: str


class NothingToShow(ValueError):
    """An experiment's runs lack the data of its section; the message names the missing data."""


@dataclass(frozen=True)
class Part:
    """Tables that belong together, usually of one scale, with figures, and notes that stand before them."""

    tables: Sequence[Table]
    images: Sequence[Image]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A section of the report in addition to those of the scales; `id` is its anchor in the page."""

    id: str
    title: str
    intro: str
    parts: Sequence[Part]


def group_by_scale(records: Sequence[T]) -> Iterator[tuple[str, list[T]]]:
    """The records of each scale, in the order of scales."""
    for scale in sort_names((record.scale for record in records), SCALES):
        yield scale, [record for record in records if record.scale == scale]


def write_tables(tables: Sequence[Table], frame: pd.DataFrame, stem: Path) -> None:
    """Write one scale's tables as markdown, the frame behind them as CSV, unrounded, and each table as LaTeX.

    The LaTeX file of a table is `latex/STEM/NAME.tex`, and its label `tab:STEM:NAME`, where STEM names the other files.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".md").write_text("\n".join(to_markdown(table) for table in tables), encoding="utf-8")
    latex = stem.parent / "latex" / stem.name
    latex.mkdir(parents=True, exist_ok=True)
    for table in tables:
        text = to_latex(table, f"tab:{stem.name}:{table.name}")
        (latex / f"{table.name}.tex").write_text(text, encoding="utf-8")
    texts = {
        str(name): pd.Series(map(as_text, column), frame.index, object)
        for name, column in frame.items()
        if not pd.api.types.is_numeric_dtype(column)
    }
    frame.assign(**texts).to_csv(stem.with_suffix(".csv"), index=False, lineterminator="\n")


def as_text(entry: Any) -> Any:
    """An entry of a CSV file; a text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if not isinstance(entry, str):
        return entry
    is_formula = re.match(r"[=@\t]|[+-](?![-+. \d]*$)", entry)
    return plain(f"'{entry}" if is_formula else entry)


def write_images(plots: Iterable[Plot], out: Path) -> list[Image]:
    """Save the figures under `out`; returns them as embedded images."""
    return [
        Image(b64encode(plot.save(out / "figures").read_bytes()).decode(), plot.caption) for plot in plots
    ]


def write_part(
    name: str, tables: Sequence[Table], frame: pd.DataFrame, plots: Iterable[Plot], out: Path
) -> Part:
    """Write tables, the frame behind them and figures under `out`; returns them as a part of a section."""
    write_tables(tables, frame, out / "tables" / name)
    return Part(tables, write_images(plots, out))
