"""Tables of cells: grids by family and regime, lists with one row per cell, and their entries, marks and footnotes."""

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import Any

from analysis.records.names import (
    REGIMES,
    REWARDS,
    judge_label,
    natural_key,
    order_key,
    place_heads,
    place_names,
    regime_name,
    sort_names,
)
from analysis.stats.contrasts import Contrast
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.stats.seeds import SeedSpread
from analysis.stats.win_rates import WinRate, is_undecided
from analysis.tables.cells import Cell, place
from analysis.tables.controls import Controls
from analysis.tables.render import (
    Column,
    Entry,
    Estimate,
    Table,
    format_estimate,
    format_percent,
    group_rows,
    slug,
)

NOT_RUN = Entry("-")
FEW = "°"
OPEN = "?"
OPEN_NOTE = f"{OPEN}: the unscored verdicts could bring the rate to 50 % or past it; never bold."
FEW_NOTE = f"{FEW}: fewer than {FEW_PROMPTS} scored prompts; the interval is unreliable and never bold."
NEVER_BOLD = f"never over fewer than {FEW_PROMPTS}"


def seed_range(seeds: SeedSpread) -> str:
    """The lowest and the highest win rate of single seeds, in percent; - for one seed."""
    return f"{format_percent(seeds.low)} to {format_percent(seeds.high)}" if len(seeds.rates) > 1 else "-"


def grid_table(
    name: str,
    title: str,
    cells: Sequence[Cell],
    entry: Callable[[Cell], Entry],
    notes: Sequence[str],
    controls: Mapping[str, Callable[[Controls], Entry]] | None = None,
) -> Table:
    """A table with family x method in rows and regimes in columns, stopped runs marked and explained.

    Below the methods of a family, each of the `controls` has a row, over the runs of all methods.
    """
    regimes = sort_names((cell.regime for cell in cells), REGIMES)
    by_place = {(cell.family, cell.method, cell.regime): cell for cell in cells}
    rows: list[list[Entry | str]] = []
    for family in dict.fromkeys(cell.family for cell in cells):
        of_family = sorted((cell for cell in cells if cell.family == family), key=method_key)
        shown, _ = names_of(of_family[0])
        for method in dict.fromkeys(cell.method for cell in of_family):
            places = [by_place.get((family, method, regime)) for regime in regimes]
            entries = [NOT_RUN if cell is None else mark_stopped(entry(cell), cell) for cell in places]
            rows.append([shown, method, *entries])
        for control, control_entry in (controls or {}).items():
            runs = [
                [r for c in of_family if c.regime == regime for r in c.controls.runs] for regime in regimes
            ]
            rows.append([shown, control, *(control_entry(Controls(own, cells[0].judge)) for own in runs)])
    imported = cells[0].scale == "imported"
    columns = [f"against {regime}" if imported else regime_name(regime) for regime in regimes]
    return Table(
        name=table_name(name, cells[0]),
        title=f"{title}, scale: {cells[0].scale}, judge: {judge_label(cells[0].judge)}",
        header=[*place_heads(cells[0].scale)[::2], *columns],
        groups=group_rows(rows),
        notes=[*notes, *stop_notes(cells)],
    )


def list_table(
    name: str,
    title: str,
    cells: Sequence[Cell],
    columns: Callable[[Cell], Mapping[str, Entry | str]],
    notes: Sequence[str],
) -> Table:
    """A table with one row per cell: family, regime and method, then its columns by header; grouped by family."""
    heads = place_heads(cells[0].scale)
    families = list(dict.fromkeys(cell.family for cell in cells))
    ordered = sorted(
        cells,
        key=lambda cell: (families.index(cell.family), order_key(cell.regime, REGIMES), method_key(cell)),
    )
    rows: list[dict[str, Entry | str]] = [
        {**dict(zip(heads, (*names_of(cell), cell.method), strict=True)), **columns(cell)} for cell in ordered
    ]
    return Table(
        name=table_name(name, cells[0]),
        title=f"{title}, scale: {cells[0].scale}, judge: {judge_label(cells[0].judge)}",
        header=list(rows[0]),
        groups=group_rows([list(row.values()) for row in rows]),
        notes=notes,
    )


def win_rate_entry(cell: Cell) -> Entry:
    """A win rate with its interval, such as 58.3 [52.1, 64.5]."""
    return rate_entry(cell.win)


def rate_entry(win: WinRate | None) -> Entry:
    """A win rate with its interval and marks; None if it was not measured."""
    if win is None:
        return NOT_RUN
    marks = (f" {FEW}" if win.few else "") + (f" {OPEN}" if win.open else "")
    return Entry(f"{format_estimate(win.rate, win.lo, win.hi)}{marks}", bold=not is_undecided(win))


def difference_entry(change: Contrast) -> Entry:
    """A difference of win rates with its interval over prompts, such as +5.2 [1.1, 9.3]; n/a without a prompt."""
    bold = interval_excludes(change.lo, change.hi, 0, change.prompts, decimals=1)
    return Entry(Estimate(change.difference, change.lo, change.hi).text(1), bold)


def quality_entry(cell: Cell) -> Entry:
    """Quality before and after with the difference, such as 0.15 → 0.61 (+0.46 [0.40, 0.52])."""
    quality = cell.quality
    if quality is None:
        return NOT_RUN
    change = format_estimate(quality.difference, quality.lo, quality.hi, 2, "+")
    bold = interval_excludes(quality.lo, quality.hi, 0, quality.prompts, decimals=2)
    return Entry(f"{quality.start:.2f} → {quality.policy:.2f} ({change})", bold)


def ceiling_entry(controls: Controls) -> Entry:
    """The win rate of a perfect policy, such as 71.5."""
    return NOT_RUN if isnan(controls.ceiling) else Entry(format_percent(controls.ceiling))


def cut_start_entry(controls: Controls) -> Entry:
    """The win rate of the cut start, without its interval."""
    return NOT_RUN if controls.cut_start is None else Entry(format_percent(controls.cut_start.rate))


CONTROL_COLUMNS = (
    Column[Any](
        "cut start (%)",
        lambda row: cut_start_entry(row.cell.controls),
        "Cut start: what the untrained model's own responses, cut short, win against the uncut ones.",
    ),
    Column[Any](
        "against the cut start (%)",
        lambda row: rate_entry(row.cell.controls.against_cut_start),
        "Against the cut start: above 50 %, a method gains more than by ending earlier.",
    ),
    Column[Any](
        "ceiling (%)",
        lambda row: ceiling_entry(row.cell.controls),
        "Ceiling: the win rate of a perfect policy on the same prompts.",
    ),
)
"""The controls of a win rate, of a row with a cell."""


def without_absent_controls(columns: Sequence[Column[Any]], rows: Sequence[Any]) -> list[Column[Any]]:
    """The columns without the controls that none of the rows has."""
    absent = [c for c in CONTROL_COLUMNS if all(c.text(row) == NOT_RUN for row in rows)]
    return [column for column in columns if column not in absent]


def mark_stopped(entry: Entry, cell: Cell) -> Entry:
    """The entry, with a dagger where a run of the cell stopped early."""
    return Entry(f"{entry.text} †", entry.bold) if cell.stopped else entry


def stop_notes(cells: Sequence[Cell]) -> list[str]:
    """The footnotes of the dagger, one per cell."""
    return [
        f"† {place(cell)} {cell.method}: {'; '.join(cell.stopped)}. Its last policy was judged."
        for cell in cells
        if cell.stopped
    ]


def names_of(cell: Cell) -> tuple[str, str]:
    """Display names of a cell's family and regime."""
    return place_names(cell.scale, cell.family, cell.regime)


def method_key(cell: Cell) -> tuple[Any, ...]:
    """Sort key of methods: by reward, then by name."""
    return order_key(cell.reward, REWARDS), natural_key(cell.method)


def table_name(name: str, cell: Cell) -> str:
    """Name of a table, unique among scales and judges."""
    return f"{name}-{slug(cell.scale)}-{slug(cell.judge)}"
