"""What every experiment is made of: a declaration of its views, tables and figures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import pandas as pd

from analysis.figures.forest import Dot
from analysis.figures.style import Plot, Style
from analysis.records.grouping import group_by
from analysis.records.names import generator_name, plain_name
from analysis.sections.base import Part, write_part
from analysis.stats.contrasts import Contrast
from analysis.stats.seeds import SeedSpread
from analysis.tables.render import Estimate, Table, slug
from cme.records import RunRecord

View = TypeVar("View")


@dataclass(frozen=True)
class Experiment(Generic[View]):
    """One section of the report, as data.

    `question` states what the experiment asks, and which result would refute the claim. `views` prepares the runs of
    one scale: one view per judge, generator or data set; it raises NothingToShow if the runs lack the data. Each
    function in `tables` and `figures` yields those of one view; equal names are written once. `frame` returns the
    numbers behind the tables, unrounded. `appendices` write tables in files of their own under a folder.
    """

    name: str
    title: str
    question: str
    views: Callable[[Sequence[RunRecord]], Sequence[View]]
    tables: Sequence[Callable[[View], Iterable[Table]]]
    figures: Sequence[Callable[[View], Iterable[Plot]]]
    frame: Callable[[Sequence[View]], pd.DataFrame]
    appendices: Sequence[Callable[[Sequence[View], Path], Part]] = ()

    def show(self, runs: Sequence[RunRecord], out: Path, data: str = "") -> Part:
        """Write the tables and figures of the runs of one scale. Raises NothingToShow if the runs lack the data.

        `data` is for the runs on a further data set of the experiment: it is in the names of their files and in titles.
        """
        views, prefix, scale = self.views(runs), slug(f"{self.name} {data}"), runs[0].scale
        where = f", data: {plain_name(data)}" if data else ""
        tables = {table.name: table for view in views for make in self.tables for table in make(view)}
        plots = {plot.name: plot for view in views for make in self.figures for plot in make(view)}
        shown = [
            replace(table, name=slug(f"{prefix} {table.name}"), title=f"{table.title}{where}")
            for table in tables.values()
        ]
        drawn = [
            replace(plot.add_to_title(where), name=slug(f"{prefix} {plot.name}")) for plot in plots.values()
        ]
        parts = [
            write_part(f"{slug(scale)}-{prefix}", shown, self.frame(views), drawn, out),
            *(append(views, out) for append in self.appendices if views),
        ]
        return Part(
            [table for part in parts for table in part.tables],
            [image for part in parts for image in part.images],
        )


@dataclass(frozen=True, eq=False)
class GeneratorRuns:
    """The runs of one generator at one scale."""

    generator: str
    runs: Sequence[RunRecord]

    @property
    def scale(self) -> str:
        """The scale of all runs."""
        return self.runs[0].scale

    @property
    def where(self) -> str:
        """Scale and generator, for titles."""
        return f"scale: {self.scale}, generator: {self.generator}"


def group_by_generator(runs: Sequence[RunRecord]) -> Iterator[tuple[str, list[RunRecord]]]:
    """The runs of each generator, by its family and regime."""
    for place, own in group_by(runs, lambda run: (run.family, run.regime)).items():
        yield generator_name(*place), own


def across_seeds(result: Contrast | SeedSpread) -> Estimate:
    """A difference, or the mean of win rates, with its across-seed interval."""
    value = result.difference if isinstance(result, Contrast) else result.mean
    return Estimate(value, result.across_seeds_lo, result.across_seeds_hi)


def paired_dots(
    row: str, before: Estimate, after: Estimate, styles: Iterable[Style], seeds: Sequence[float] = ()
) -> list[Dot]:
    """Two estimates of a row, one above the other; the second has ticks at single seeds."""
    first, second = styles
    return [Dot(row, *before, first, below=-0.15), Dot(row, *after, second, below=0.15, seeds=seeds)]
