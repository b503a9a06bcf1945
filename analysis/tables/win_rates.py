"""Tables of win rates and quality of one scale and judge, with the controls; and what all such tables share."""

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import Any

from analysis.records.names import (
    REGIMES,
    REWARDS,
    judge_label,
    natural_key,
    order_key,
    place_names,
    regime_name,
    sort_names,
)
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.stats.metrics import WinRate, is_undecided
from analysis.tables.cells import Cell, place
from analysis.tables.controls import Controls
from analysis.tables.render import (
    Entry,
    Table,
    format_interval,
    format_percent,
    group_rows,
    slug,
)

PLACE = ("family", "regime", "reward")
IMPORTED_PLACE = ("comparison", "against", "outputs of")
"""What the columns that name a cell hold for imported outputs."""

NOT_RUN = Entry("-")
FEW = "°"
OPEN = "?"
CUT_NOTE = (
    "Cut start: the untrained model's own responses, cut at their first sentence end or, without an oracle, to the "
    "policy's length, against the uncut ones. A method that wins no more has shown only that it ends earlier."
)
CEILING_NOTE = "Perfect policy: the ceiling, which responses of quality 1 to the same prompts would win."
NEVER_BOLD = f"never over fewer than {FEW_PROMPTS}"


def win_rate_table(cells: Sequence[Cell]) -> Table:
    """Win rates with intervals: family x reward in rows, regimes in columns."""
    notes = [
        f"Comparisons won, a tie counting half, judged by {judge_label(cells[0].judge)}; all seeds pooled.",
        "In brackets: 95 % CI over prompts for these models (cluster-robust Wilson).",
        "Bold: the interval excludes 50 %, without correction for the number of cells; the evidence table corrects.",
    ]
    few = f"{FEW}: fewer than {FEW_PROMPTS} scored prompts; the interval is unreliable and never bold."
    notes += [*([few] if any(cell.win.few for cell in cells) else []), *left_out_notes(cells)]
    title = f"Win rate against the {side_names(cells)[0]} (%)"
    rows: dict[str, Callable[[Controls], Entry]] = {}
    if any(cell.controls.cut_start for cell in cells):
        rows["Cut start"] = lambda controls: rate_entry(controls.cut_start)
        notes.append(CUT_NOTE)
    if not all(isnan(cell.controls.ceiling) for cell in cells):
        rows["Perfect policy"] = ceiling_entry
        notes.append(CEILING_NOTE)
    return grid_table("win-rate", title, cells, win_rate_entry, notes, rows)


def cut_start_tables(cells: Sequence[Cell]) -> list[Table]:
    """The win rates against the cut start; no table without them."""
    if not any(cell.controls.against_cut_start for cell in cells):
        return []
    notes = [
        f"Comparisons with the cut start won, a tie counting half, judged by {judge_label(cells[0].judge)}; all seeds "
        "pooled. In brackets: 95 % CI over prompts for these models. Bold: it excludes 50 %.",
        "Cut start: the untrained model's own responses, cut at their first sentence end or, without an oracle, to the "
        "policy's length. Above 50 %, a method gains more than by ending earlier.",
    ]
    title = "Win rate against the cut start (%)"
    return [
        grid_table("cut-start", title, cells, lambda cell: rate_entry(cell.controls.against_cut_start), notes)
    ]


def left_out_notes(cells: Sequence[Cell]) -> list[str]:
    """Notes on verdicts that are left out, on rates that these could change, and on single orders."""
    unscored = sum(cell.win.unscored for cell in cells)
    half = sum(cell.win.half_scored for cell in cells)
    notes = []
    if unscored:
        notes.append(f"{unscored} verdicts are unscored and left out; the evidence table has bounds.")
    if half:
        notes.append(
            f"{half} verdicts are left out because their pair is unscored in the other order: counting a pair in one "
            "order alone would count the judge's position bias as a win."
        )
    if any(cell.win.open for cell in cells):
        notes.append(f"{OPEN}: the unscored verdicts could bring the rate to 50 % or past it; never bold.")
    if not all(cell.both_orders for cell in cells):
        share = "Some" if any(cell.both_orders for cell in cells) else "All"
        notes.append(
            f"{share} pairs were judged in one order only: the judge's position bias evens out over pairs if the order "
            "was random, but not within a pair."
        )
    return notes


def quality_table(cells: Sequence[Cell]) -> Table:
    """Mean score of the start's and the policy's responses, with the interval of the difference."""
    start, policy = side_names(cells)
    notes = [
        f"Mean score by {judge_label(cells[0].judge)}, in its own unit: {start} → {policy}.",
        "In parentheses: the paired difference with its 95 % CI over prompts.",
        f"Bold: the interval of the difference excludes 0, {NEVER_BOLD} prompts.",
    ]
    when = "of both sides" if cells[0].scale == "imported" else "before and after training"
    score = score_name(cells[0].judge)
    title = f"{score[0].upper()}{score[1:]} {when}"
    return grid_table("quality", title, cells, quality_entry, notes)


def score_name(judge: str) -> str:
    """The quantity that a judge's score measures; the judge's name for one whose score has no name of its own."""
    member = judge.split(": ")[-1]
    return {"oracle": "quality", "instruction_following": "constraints met"}.get(member, judge_label(member))


def side_names(cells: Sequence[Cell]) -> tuple[str, str]:
    """Names of the two sides of comparisons of one scale; for imported outputs, their labels."""
    if cells[0].scale != "imported":
        return "untrained model", "trained"
    starts, policies = {cell.regime for cell in cells}, {cell.method for cell in cells}
    return (
        f"outputs of {starts.pop()}" if len(starts) == 1 else "outputs of the other model",
        f"outputs of {policies.pop()}" if len(policies) == 1 else "outputs of the model",
    )


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
        title=f"{title}, {table_subject(cells[0])}",
        header=[*place_heads(cells[0])[::2], *columns],
        groups=group_rows(rows),
        notes=[*notes, *stop_notes(cells)],
    )


def list_table(
    name: str,
    title: str,
    cells: Sequence[Cell],
    columns: Callable[[Cell], Mapping[str, str]],
    notes: Sequence[str],
) -> Table:
    """A table with one row per cell: family, regime and method, then its columns by header; grouped by family."""
    families = list(dict.fromkeys(cell.family for cell in cells))

    def order(cell: Cell) -> tuple[Any, ...]:
        return families.index(cell.family), order_key(cell.regime, REGIMES), method_key(cell)

    rows = [
        dict(zip(place_heads(cell), (*names_of(cell), cell.method), strict=True)) | dict(columns(cell))
        for cell in sorted(cells, key=order)
    ]
    return Table(
        name=table_name(name, cells[0]),
        title=f"{title}, {table_subject(cells[0])}",
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
    text = f"{format_percent(win.rate)} {format_interval(win.lo, win.hi)}{marks}"
    return Entry(text, bold=not is_undecided(win))


def quality_entry(cell: Cell) -> Entry:
    """Quality before and after with the difference, such as 0.15 → 0.61 (+0.46 [0.40, 0.52])."""
    quality = cell.quality
    if quality is None:
        return NOT_RUN
    change = f"{quality.difference:+.2f} {format_interval(quality.lo, quality.hi, 2)}"
    bold = interval_excludes(quality.lo, quality.hi, 0, quality.prompts, decimals=2)
    return Entry(f"{quality.start:.2f} → {quality.policy:.2f} ({change})", bold)


def ceiling_entry(controls: Controls) -> Entry:
    """The win rate of a perfect policy, such as 71.5."""
    return NOT_RUN if isnan(controls.ceiling) else Entry(format_percent(controls.ceiling))


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


def place_heads(cell: Cell) -> tuple[str, str, str]:
    """Headers of the columns that name a cell."""
    return IMPORTED_PLACE if cell.scale == "imported" else PLACE


def method_key(cell: Cell) -> tuple[Any, ...]:
    """Sort key of methods: by reward, then by name."""
    return order_key(cell.reward, REWARDS), natural_key(cell.method)


def table_name(name: str, cell: Cell) -> str:
    """Name of a table, unique among scales and judges."""
    return f"{name}-{slug(cell.scale)}-{slug(cell.judge)}"


def table_subject(cell: Cell) -> str:
    """Scale and judge of a table, for its title."""
    return f"scale: {cell.scale}, judge: {judge_label(cell.judge)}"
