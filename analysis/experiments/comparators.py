"""Policies against further models, next to the untrained model against the same: what training gained on them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments.base import build_table, file_name
from analysis.experiments.method_tables import MethodColumn
from analysis.experiments.methods import JudgedMethods, MethodRow, NamedRuns
from analysis.records.names import family_name, judge_label, regime_name, sort_names
from analysis.sections.base import Part, write_part
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.tables.cells import Cell, place, row_of
from analysis.tables.render import Entry, Table, format_interval, slug
from analysis.tables.win_rates import FEW, NOT_RUN, OPEN, mark_stopped, stop_notes, win_rate_entry
from cme.records import CUT_START, RunRecord

Place = tuple[str, str, str, str]


@dataclass(frozen=True)
class ComparedCell:
    """A cell against one comparator: the policy's win rate, the untrained model's, and their difference."""

    policy: Cell
    start: Cell
    gain: Contrast


Comparisons = Mapping[str, Mapping[Place, ComparedCell]]
"""By comparator and place, the compared cells."""


def comparators(views: Sequence[JudgedMethods], out: Path) -> Part:
    """Write the comparisons with further models; empty if no run has any."""
    named = views[0].named
    compared = {name: compare_cells(named, name) for name in comparator_names(named.runs)}
    tables = [comparator_table(view, compared) for view in views if view.cells and compared]
    if not tables:
        return Part([], [])
    frame = comparators_frame(compared)
    return write_part(f"{slug(named.scale)}-main-table-comparators", tables, frame, [], out)


def comparator_names(runs: Sequence[RunRecord]) -> list[str]:
    """Names of the further models against which both sides of any run were judged; the cut start is none."""
    comparisons = [c for run in runs for c in run.comparisons or []]
    return sort_names(c.name for c in comparisons if c.start is not None and c.name != CUT_START)


def compare_cells(named: NamedRuns, name: str) -> dict[Place, ComparedCell]:
    """Each cell of the runs that were judged against a comparator, by its place."""
    policy, start = [], []
    for run in named.runs:
        for comparison in run.comparisons or []:
            if comparison.name == name and comparison.start is not None:
                policy.append(replace(run, verdicts=comparison.policy))
                start.append(replace(run, verdicts=comparison.start))
    policies, starts = (
        {place_of(cell): cell for cell in NamedRuns(side, named.labels).cells} for side in (policy, start)
    )
    return {
        place: ComparedCell(cell, starts[place], contrast(cell.tally, starts[place].tally))
        for place, cell in policies.items()
        if place in starts
    }


def place_of(cell: Cell) -> Place:
    """The fields that distinguish the cells of one experiment and scale."""
    return cell.judge, cell.family, cell.regime, cell.method


def comparator_table(view: JudgedMethods, compared: Comparisons) -> Table:
    """One judge's cells against their untrained model and against every comparator."""
    several = len({cell.method for cell in view.cells}) > 1
    columns = [
        MethodColumn("family", lambda row: family_name(row.cell.family), once=True),
        MethodColumn("regime", lambda row: regime_name(row.cell.regime)),
        *([MethodColumn("reward", lambda row: row.cell.method)] if several else []),
        MethodColumn(
            "against the untrained model", lambda row: mark_stopped(win_rate_entry(row.cell), row.cell)
        ),
    ]
    for name, by_place in compared.items():
        columns += [
            MethodColumn(f"trained against {name}", partial(side_entry, by_place, "policy")),
            MethodColumn(f"start against {name}", partial(side_entry, by_place, "start")),
            MethodColumn(f"gain on {name}", partial(gain_entry, by_place)),
        ]
    families = dict.fromkeys(cell.family for cell in view.cells)
    return build_table(
        name=file_name("main-table-comparators", view.scale, view.judge),
        title=f"Win rate against further models (%), scale: {view.scale}, judge: {judge_label(view.judge)}",
        columns=columns,
        groups=[[row for row in view.rows if row.cell.family == family] for family in families],
        notes=[
            "Share of comparisons won on the same prompts; ties count half and all seeds are pooled. In brackets: 95 % "
            "interval over prompts, for these models.",
            "Gain: the trained model's win rate minus the untrained model's against the same model, in percentage "
            "points, on the prompts scored for both, with the paired 95 % interval over prompts. Bold: the interval "
            f"excludes 50 % (for a gain: 0), on {FEW_PROMPTS} prompts or more, without correction for the number of "
            "cells.",
            *(f"{name}: {', '.join(checkpoints(view.named.runs, name))}." for name in compared),
            f"{NOT_RUN.text}: the untrained model is that model itself, or no run was compared with it.",
            *gap_notes(view.cells, compared),
            *stop_notes(view.cells),
        ],
    )


def side_entry(compared: Mapping[Place, ComparedCell], side: str, row: MethodRow) -> Entry:
    """The policy's or the untrained model's win rate against a comparator."""
    pair = compared.get(place_of(row.cell))
    return NOT_RUN if pair is None else win_rate_entry(pair.policy if side == "policy" else pair.start)


def gain_entry(compared: Mapping[Place, ComparedCell], row: MethodRow) -> Entry:
    """The gain with its interval, bold if it excludes 0 and no unscored verdict could change a side."""
    pair = compared.get(place_of(row.cell))
    if pair is None:
        return NOT_RUN
    gain = pair.gain
    text = f"{gain.difference:+.1f} {format_interval(gain.lo, gain.hi)}" if gain.prompts else "n/a"
    certain = not (pair.policy.win.open or pair.start.win.open)
    return Entry(text, bold=certain and interval_excludes(gain.lo, gain.hi, 0, gain.prompts, decimals=1))


def checkpoints(runs: Sequence[RunRecord], name: str) -> list[str]:
    """A comparator's checkpoint, or that of each family."""
    by_family = {
        (run.family, c.checkpoint): None for run in runs for c in run.comparisons or [] if c.name == name
    }
    distinct = {checkpoint for _, checkpoint in by_family}
    return (
        sorted(distinct)
        if len(distinct) == 1
        else [f"{checkpoint} ({family_name(family)})" for family, checkpoint in by_family]
    )


def gap_notes(cells: Sequence[Cell], compared: Comparisons) -> list[str]:
    """Notes on missing comparisons, unscored verdicts and few prompts."""
    notes, sides = [], []
    for name, by_place in compared.items():
        for cell in (cell for cell in cells if place_of(cell) in by_place):
            pair = by_place[place_of(cell)]
            sides += [pair.policy.win, pair.start.win]
            if len(pair.policy.runs) < len(cell.runs):
                share = f"{len(pair.policy.runs)} of {len(cell.runs)} runs"
                notes.append(f"{place(cell)} {cell.method}: {share} were compared with {name}.")
    unscored, half = sum(win.unscored for win in sides), sum(win.half_scored for win in sides)
    if unscored + half:
        notes.append(
            f"{unscored} of these verdicts are unscored and left out, and {half} more because their pair is unscored "
            "in the other order."
        )
    if any(win.open for win in sides):
        notes.append(f"{OPEN}: the unscored verdicts could bring the rate to 50 % or past it; never bold.")
    if any(win.few for win in sides):
        notes.append(
            f"{FEW}: fewer than {FEW_PROMPTS} scored prompts; the interval is unreliable and never bold."
        )
    return notes


def comparators_frame(compared: Comparisons) -> pd.DataFrame:
    """One row per cell and comparator: win rates in percent and gains in percentage points, unrounded."""
    rows = []
    for name, by_place in compared.items():
        for pair in by_place.values():
            cell, gain = row_of(pair.policy), pair.gain
            row: dict[str, Any] = {"comparator": name}
            row |= {key: cell[key] for key in ("scale", "judge", "family", "regime", "reward", "method")}
            for side, win in (("policy", pair.policy.win), ("start", pair.start.win)):
                row |= {f"{side}_{k}": asdict(win)[k] for k in ("rate", "lo", "hi", "scored", "unscored")}
            row |= {"gain": gain.difference, "gain_lo": gain.lo, "gain_hi": gain.hi, "gain_p": gain.p}
            rows.append(row | {"gain_prompts": gain.prompts, "runs": len(pair.policy.runs)})
    return pd.DataFrame(rows)
