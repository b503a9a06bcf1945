"""Policies against further models than their start, beside the start against the same: what training gained on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis.experiments._settings import Compared
from analysis.records.names import sort_names
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.metrics import FEW_PROMPTS, interval_excludes
from analysis.tables.cells import Cell
from analysis.tables.render import Entry, Table
from analysis.tables.win_rates import (
    FEW,
    NOT_RUN,
    OPEN,
    format_interval,
    mark_stopped,
    side_names,
    stop_notes,
    table_name,
    win_rate_entry,
)
from cme.records import RunRecord

Place = tuple[str, str, str, str]


@dataclass(frozen=True)
class Met:
    """A cell against one comparator: the policy's win rate, its start's, and the policy's less the start's."""

    policy: Cell
    start: Cell
    gain: Contrast


def comparators_of(runs: Sequence[RunRecord]) -> list[str]:
    """Names of the comparators that any of the runs and its start have met, in the order of the tables."""
    comparisons = [of for run in runs for of in run.comparisons or [] if of.start is not None]
    return sort_names(of.name for of in comparisons)


def met(compared: Compared, name: str) -> dict[Place, Met]:
    """Each cell of the runs that have met a comparator, by its `place`, both sides of it judged."""
    policy, start = [], []
    for run in compared.runs:
        for comparison in run.comparisons or []:
            if comparison.name == name and comparison.start is not None:
                policy.append(replace(run, verdicts=comparison.policy))
                start.append(replace(run, verdicts=comparison.start))
    of_policy, of_start = (
        {place(c): c for c in Compared(runs, compared.labels).cells} for runs in (policy, start)
    )
    return {
        at: Met(cell, of_start[at], contrast(cell.tally, of_start[at].tally))
        for at, cell in of_policy.items()
        if at in of_start
    }


def place(cell: Cell) -> Place:
    """What tells the cells of one experiment and scale apart."""
    return cell.judge, cell.family, cell.regime, cell.method


def comparator_table(compared: Compared, cells: Sequence[Cell]) -> Table:
    """One judge's cells against their start and against every comparator."""
    met_by = {name: met(compared, name) for name in comparators_of(compared.runs)}
    several = len({cell.method for cell in cells}) > 1
    groups: dict[str, list[list[Entry]]] = {}
    for cell in cells:
        rows = groups.setdefault(cell.family, [])
        row = [Entry("" if rows else cell.family), Entry(cell.regime)]
        row += [Entry(cell.method)] if several else []
        row.append(mark_stopped(win_rate_entry(cell), cell))
        for found in met_by.values():
            row += entries(found.get(place(cell)))
        rows.append(row)
    start, policy = side_names(compared.scale)
    against = [
        head for name in met_by for head in (f"{policy} against {name}", f"start against {name}", "gain")
    ]
    return Table(
        name=table_name("comparators", cells[0]),
        title=f"Win rate against further models (%), scale: {compared.scale}, judge: {cells[0].judge}",
        header=["family", "regime", *(["reward"] if several else []), f"against the {start}", *against],
        groups=list(groups.values()),
        notes=[
            f"Comparisons won on the same prompts, a tie counting half, judged by {cells[0].judge}; all seeds pooled. "
            "In brackets: 95 % interval over prompts, for these models.",
            f"Gain: the {policy} model's win rate less that of its start against the same model, in percentage points, "
            "on the prompts both have scored, with the paired 95 % interval over prompts. Bold: the interval excludes "
            f"50 % (of a gain: 0), on {FEW_PROMPTS} prompts or more, each taken alone.",
            *who_they_are(compared.runs, met_by),
            f"{NOT_RUN.text}: the start is that model itself, or no run has met it.",
            *gaps(cells, met_by),
            *stop_notes(cells),
        ],
    )


def entries(found: Met | None) -> list[Entry]:
    """The policy's and the start's win rate against a comparator, and the gain."""
    if found is None:
        return [NOT_RUN] * 3
    gain = found.gain
    text = f"{gain.difference:+.1f} {format_interval(gain.lo, gain.hi)}" if gain.prompts else "n/a"
    told = interval_excludes(gain.lo, gain.hi, 0, gain.prompts) and not (
        found.policy.win.open or found.start.win.open
    )
    return [win_rate_entry(found.policy), win_rate_entry(found.start), Entry(text, bold=told)]


def who_they_are(runs: Sequence[RunRecord], comparators: Mapping[str, object]) -> list[str]:
    """A note on each comparator: its checkpoint, or that of each family."""
    notes = []
    for name in comparators:
        found = {
            (run.family, of.checkpoint): None
            for run in runs
            for of in run.comparisons or []
            if of.name == name
        }
        single = {checkpoint for _, checkpoint in found}
        listed = (
            sorted(single)
            if len(single) == 1
            else [f"{checkpoint} ({family})" for family, checkpoint in found]
        )
        notes.append(f"{name}: {', '.join(listed)}.")
    return notes


def gaps(cells: Sequence[Cell], met_by: Mapping[str, Mapping[Place, Met]]) -> list[str]:
    """Notes on what the comparisons lack: runs that have yet to meet a comparator, unscored verdicts, prompts."""
    notes, sides = [], []
    for name, found in met_by.items():
        for cell in cells:
            if (here := found.get(place(cell))) is None:
                continue
            sides += [here.policy, here.start]
            if len(here.policy.runs) < len(cell.runs):
                share = f"{len(here.policy.runs)} of {len(cell.runs)} runs"
                notes.append(f"{cell.family} {cell.regime} {cell.method}: {share} have met {name}.")
    unscored, half = (sum(getattr(side.win, of) for side in sides) for of in ("unscored", "half_scored"))
    if unscored + half:
        notes.append(
            f"{unscored} verdicts against them are unscored and left out, and {half} whose pair is unscored in the "
            "other order."
        )
    if any(side.win.open for side in sides):
        notes.append(f"{OPEN}: the unscored verdicts could bring the rate to 50 % or past it; never bold.")
    if any(side.win.few for side in sides):
        notes.append(
            f"{FEW}: fewer than {FEW_PROMPTS} scored prompts; the interval means little and is never bold."
        )
    return notes


def comparators_frame(compared: Compared) -> pd.DataFrame:
    """One row a cell and comparator, win rates in percent and gains in percentage points, unrounded."""
    rows = []
    for name in comparators_of(compared.runs):
        for found in met(compared, name).values():
            cell = found.policy
            row: dict[str, Any] = {"comparator": name}
            row |= {
                of: getattr(cell, of) for of in ("scale", "judge", "family", "regime", "reward", "method")
            }
            for who, side in (("policy", cell.win), ("start", found.start.win)):
                row |= {f"{who}_{of}": getattr(side, of) for of in ("rate", "lo", "hi", "scored", "unscored")}
            gain = found.gain
            row |= {"gain": gain.difference, "gain_lo": gain.lo, "gain_hi": gain.hi, "gain_p": gain.p}
            rows.append(row | {"gain_prompts": gain.prompts, "runs": len(cell.runs)})
    return pd.DataFrame(rows)
