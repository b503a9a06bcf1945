"""Policies against further models, next to the untrained model against the same: what training gained on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from analysis.experiments.base import NamedRuns, column_table
from analysis.records.names import sort_names
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.intervals import FEW_PROMPTS, interval_excludes
from analysis.tables.cells import Cell, row_of
from analysis.tables.render import Entry, Table, format_interval
from analysis.tables.win_rates import (
    FEW,
    NOT_RUN,
    OPEN,
    mark_stopped,
    side_names,
    stop_notes,
    table_name,
    win_rate_entry,
)
from cme.records import RunRecord

Place = tuple[str, str, str, str]


@dataclass(frozen=True)
class Compared:
    """A cell against one comparator: the policy's win rate, the untrained model's, and their difference."""

    policy: Cell
    start: Cell
    gain: Contrast


def comparators_of(runs: Sequence[RunRecord]) -> list[str]:
    """Names of the comparators against which both sides of any run were judged."""
    return sort_names(c.name for run in runs for c in run.comparisons or [] if c.start is not None)


def compared_cells(named: NamedRuns, name: str) -> dict[Place, Compared]:
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
        at: Compared(cell, starts[at], contrast(cell.tally, starts[at].tally))
        for at, cell in policies.items()
        if at in starts
    }


def place_of(cell: Cell) -> Place:
    """The fields that distinguish the cells of one experiment and scale."""
    return cell.judge, cell.family, cell.regime, cell.method


def comparator_table(named: NamedRuns, cells: Sequence[Cell]) -> Table:
    """One judge's cells against their untrained model and against every comparator."""
    found = {name: compared_cells(named, name) for name in comparators_of(named.runs)}
    start, policy = side_names(named.scale)
    several = len({cell.method for cell in cells}) > 1
    columns: dict[str, Callable[[Cell], Entry | str]] = {
        "family": lambda cell: cell.family,
        "regime": lambda cell: cell.regime,
        **({"reward": lambda cell: cell.method} if several else {}),
        f"against the {start}": lambda cell: mark_stopped(win_rate_entry(cell), cell),
    }
    for name, by_place in found.items():
        columns[f"{policy} against {name}"] = partial(side_entry, by_place, "policy")
        columns[f"start against {name}"] = partial(side_entry, by_place, "start")
        columns[f"gain on {name}"] = partial(gain_entry, by_place)
    families = dict.fromkeys(cell.family for cell in cells)
    return column_table(
        name=table_name("comparators", cells[0]),
        title=f"Win rate against further models (%), scale: {named.scale}, judge: {cells[0].judge}",
        columns=columns,
        groups=[[cell for cell in cells if cell.family == family] for family in families],
        notes=[
            f"Share of comparisons won on the same prompts, judged by {cells[0].judge}; ties count half and all seeds "
            "are pooled. In brackets: 95 % interval over prompts, for these models.",
            f"Gain: the {policy} model's win rate minus the untrained model's against the same model, in percentage "
            "points, on the prompts scored for both, with the paired 95 % interval over prompts. Bold: the interval "
            f"excludes 50 % (for a gain: 0), on {FEW_PROMPTS} prompts or more, without correction for the number of "
            "cells.",
            *(f"{name}: {', '.join(checkpoints(named.runs, name))}." for name in found),
            f"{NOT_RUN.text}: the untrained model is that model itself, or no run was compared with it.",
            *gap_notes(cells, found),
            *stop_notes(cells),
        ],
        once=("family",),
    )


def side_entry(found: Mapping[Place, Compared], side: str, cell: Cell) -> Entry:
    """The policy's or the untrained model's win rate against a comparator."""
    here = found.get(place_of(cell))
    return NOT_RUN if here is None else win_rate_entry(here.policy if side == "policy" else here.start)


def gain_entry(found: Mapping[Place, Compared], cell: Cell) -> Entry:
    """The gain with its interval, bold if it excludes 0 and no unscored verdict could change a side."""
    here = found.get(place_of(cell))
    if here is None:
        return NOT_RUN
    gain = here.gain
    text = f"{gain.difference:+.1f} {format_interval(gain.lo, gain.hi)}" if gain.prompts else "n/a"
    certain = not (here.policy.win.open or here.start.win.open)
    return Entry(text, bold=certain and interval_excludes(gain.lo, gain.hi, 0, gain.prompts))


def checkpoints(runs: Sequence[RunRecord], name: str) -> list[str]:
    """A comparator's checkpoint, or that of each family."""
    found = {
        (run.family, c.checkpoint): None for run in runs for c in run.comparisons or [] if c.name == name
    }
    single = {checkpoint for _, checkpoint in found}
    return (
        sorted(single) if len(single) == 1 else [f"{checkpoint} ({family})" for family, checkpoint in found]
    )


def gap_notes(cells: Sequence[Cell], found: Mapping[str, Mapping[Place, Compared]]) -> list[str]:
    """Notes on missing comparisons, unscored verdicts and few prompts."""
    notes, sides = [], []
    for name, by_place in found.items():
        for cell in (cell for cell in cells if place_of(cell) in by_place):
            here = by_place[place_of(cell)]
            sides += [here.policy.win, here.start.win]
            if len(here.policy.runs) < len(cell.runs):
                share = f"{len(here.policy.runs)} of {len(cell.runs)} runs"
                notes.append(f"{cell.family} {cell.regime} {cell.method}: {share} were compared with {name}.")
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
            f"{FEW}: fewer than {FEW_PROMPTS} scored prompts; the interval means little and is never bold."
        )
    return notes


def comparators_frame(named: NamedRuns) -> pd.DataFrame:
    """One row per cell and comparator: win rates in percent and gains in percentage points, unrounded."""
    rows = []
    for name in comparators_of(named.runs):
        for found in compared_cells(named, name).values():
            cell, gain = row_of(found.policy), found.gain
            row: dict[str, Any] = {"comparator": name}
            row |= {key: cell[key] for key in ("scale", "judge", "family", "regime", "reward", "method")}
            for side, win in (("policy", found.policy.win), ("start", found.start.win)):
                row |= {f"{side}_{k}": asdict(win)[k] for k in ("rate", "lo", "hi", "scored", "unscored")}
            row |= {"gain": gain.difference, "gain_lo": gain.lo, "gain_hi": gain.hi, "gain_p": gain.p}
            rows.append(row | {"gain_prompts": gain.prompts, "runs": len(found.policy.runs)})
    return pd.DataFrame(rows)
