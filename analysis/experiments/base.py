"""What every experiment's section is built from: its declaration, named runs, and tables declared by their columns."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex

from analysis.figures.curves import add_derived_columns
from analysis.figures.style import MARKERS, Plot, Style
from analysis.records.frames import history_frame
from analysis.records.names import REGIMES, REWARDS, method_names, natural_key, order_key, sort_names
from analysis.sections.base import Part, write_images, write_tables
from analysis.tables.cells import Cell, build_cells, cells_frame
from analysis.tables.render import Entry, Table, slug
from analysis.tables.win_rates import method_key
from cme.records import RunRecord

DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.5), (1, 1), (4, 1.5, 1, 1.5), (2.5, 1.2), (7, 2), (3, 1))
Row = TypeVar("Row")


class Experiment(Protocol):
    """One section of the report."""

    @property
    def title(self) -> str:
        """The heading of the section."""

    @property
    def question(self) -> str:
        """What the experiment asks, and which result would refute the claim."""

    def show(self, runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
        """Write the tables and figures of one scale under `out`. Raises NothingToShow if the runs lack the data."""


@dataclass(frozen=True)
class FreeExperiment:
    """An experiment whose tables and figures are made by the function `show`."""

    title: str
    question: str
    show: Callable[[Sequence[RunRecord], str, Path], Part]


@dataclass(frozen=True)
class NamedRuns:
    """The runs of one experiment at one scale; `labels` names each run's method by run id.

    A method is named by what the experiment varies, such as `beta 0.01`. Runs with equal settings are pooled, whichever
    experiment made them.
    """

    runs: Sequence[RunRecord]
    labels: Mapping[str, str]

    @classmethod
    def by(cls, label: Callable[[RunRecord], str], runs: Sequence[RunRecord]) -> "NamedRuns":
        """Name the runs by `label`; runs that share a label but differ in another setting get the full method name."""
        runs = [replace(run, experiment=None) for run in runs]
        full = method_names(runs)
        methods: dict[tuple[str, str], set[str]] = {}
        for run in runs:
            methods.setdefault((run.reward, label(run)), set()).add(full[run.run_id])

        def name(run: RunRecord) -> str:
            short, whole = label(run), full[run.run_id]
            if len(methods[run.reward, short]) == 1:
                return short
            return whole if whole.startswith(short.removesuffix(")")) else f"{short}: {whole}"

        return cls(runs, {run.run_id: name(run) for run in runs})

    @property
    def scale(self) -> str:
        """The scale of all runs."""
        return self.runs[0].scale

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells in the order of the tables."""
        named = [replace(cell, method=self.labels[cell.runs[0]]) for cell in build_cells(self.runs)]
        return sorted(
            named, key=lambda cell: (cell.family, order_key(cell.regime, REGIMES), method_key(cell))
        )

    @cached_property
    def history(self) -> pd.DataFrame:
        """The training histories, one row per run and step."""
        frame = history_frame(self.runs)
        return add_derived_columns(frame.assign(method=frame["run_id"].map(dict(self.labels))))

    def by_judge(self) -> Iterator[tuple[str, list[Cell]]]:
        """The cells of each judge."""
        for judge in sort_names(cell.judge for cell in self.cells):
            yield judge, [cell for cell in self.cells if cell.judge == judge]

    def runs_of(self, cell: Cell) -> list[RunRecord]:
        """The runs of a cell, in the order of their seeds."""
        return sorted((run for run in self.runs if run.run_id in cell.runs), key=lambda run: run.seed)

    def styles(self) -> dict[str, Style]:
        """A style per method, from dark to light in the order of the settings."""
        rewards = {self.labels[run.run_id]: run.reward for run in self.runs}
        ordered = sorted(rewards, key=lambda label: (order_key(rewards[label], REWARDS), natural_key(label)))
        shades = colormaps["viridis"](np.linspace(0.05, 0.8, len(ordered)))
        return {
            label: Style(to_hex(shade), MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
            for i, (label, shade) in enumerate(zip(ordered, shades, strict=True))
        }

    def write(self, name: str, tables: Iterable[Table], plots: Iterable[Plot], out: Path) -> Part:
        """Write tables, the cells as CSV and figures; every file name starts with the experiment's name."""
        tables = [replace(table, name=f"{slug(name)}-{table.name}") for table in tables]
        write_tables(tables, cells_frame(self.cells), out / "tables" / f"{slug(self.scale)}-{slug(name)}")
        return Part(tables, write_images([replace(p, name=f"{slug(name)}-{p.name}") for p in plots], out))


def group_by_place(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of each family and regime, in their order."""
    places = dict.fromkeys((cell.family, cell.regime) for cell in cells)
    return [[cell for cell in cells if (cell.family, cell.regime) == place] for place in places]


def group_by_generator(runs: Sequence[RunRecord]) -> Iterator[tuple[str, list[RunRecord]]]:
    """The runs of each generator, by its family and regime."""
    for family, regime in dict.fromkeys((run.family, run.regime) for run in runs):
        yield f"{family} {regime}", [run for run in runs if (run.family, run.regime) == (family, regime)]


def column_table(
    name: str,
    title: str,
    columns: Mapping[str, Callable[[Row], Entry | str]],
    groups: Iterable[Sequence[Row]],
    notes: Sequence[str],
    once: Collection[str] = (),
) -> Table:
    """A table with one row per item and one column per function; columns in `once` show a group's first row only."""

    def entries(row: Row, first: bool) -> Iterator[Entry]:
        for header, text in columns.items():
            shown = text(row) if first or header not in once else ""
            yield shown if isinstance(shown, Entry) else Entry(shown)

    blocks = [[list(entries(row, index == 0)) for index, row in enumerate(group)] for group in groups]
    return Table(name, title, list(columns), [block for block in blocks if block], notes)
