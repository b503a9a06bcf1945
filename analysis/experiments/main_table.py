"""The main result: CME against the untrained model in every family and regime, next to the published range.

Where the runs were compared with further models too, both sides against these: what training gained on them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments.base import Experiment
from analysis.experiments.methods import (
    FAMILY,
    JudgedMethods,
    MethodColumn,
    MethodRow,
    Methods,
    NamedRuns,
    evidence_tables,
    methods_frame,
    seed_tables,
)
from analysis.experiments.rewards import verdict_table
from analysis.figures.style import Plot
from analysis.figures.win_rates import controls_of, main_plot
from analysis.records.grouping import group_by
from analysis.records.names import family_name, regime_name, reward_name, sort_names
from analysis.records.published import main_table_range, sources_of
from analysis.sections.base import Part, write_part
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.intervals import FEW_PROMPTS
from analysis.tables.cell_tables import (
    FEW_NOTE,
    NOT_RUN,
    OPEN_NOTE,
    ceiling_entry,
    cut_start_entry,
    difference_entry,
    mark_stopped,
    stop_notes,
    win_rate_entry,
)
from analysis.tables.cells import Cell, place
from analysis.tables.render import Entry, Table, build_table, pick, slug
from analysis.tables.win_rates import cut_start_tables, quality_table, win_rate_table
from cme.records import CUT_START, RunRecord

identify = attrgetter("judge", "family", "regime", "method")
"""The fields that distinguish the cells of one experiment and scale."""


def win_rate_tables(view: JudgedMethods) -> Iterator[Table]:
    """The win rates, those against the cut start, and the judge's scores: families as rows, regimes as columns."""
    if view.cells:
        yield win_rate_table(view.cells)
        yield from cut_start_tables(view.cells)
    if any(cell.quality is not None for cell in view.cells):
        yield quality_table(view.cells)


def main_plots(view: JudgedMethods) -> Iterator[Plot]:
    """The win rates and scores of every cell, with the published range."""
    if view.cells:
        name = f"win-rates {view.scale} {view.judge}"
        scale = "the paper's scale" if view.scale == "paper" else "other scale"
        source = f"{sources_of()['main_table.csv']}; {scale}"
        yield main_plot(name, view.cells, main_table_range(), source, controls_of(view.cells))


@dataclass(frozen=True)
class ComparedCell:
    """A cell against one further model: the policy's win rate and the untrained model's."""

    policy: Cell
    start: Cell

    @cached_property
    def gain(self) -> Contrast:
        """The policy's win rate minus the untrained model's, paired by prompt."""
        return contrast(self.policy.tally, self.start.tally)

    @property
    def gain_entry(self) -> Entry:
        """The gain with its interval, bold if it excludes 0 and no unscored verdict could change a side."""
        entry = difference_entry(self.gain)
        return replace(entry, bold=entry.bold and not (self.policy.win.open or self.start.win.open))


Comparisons = Mapping[str, Mapping[Any, ComparedCell]]
"""By further model and identity of the cell (`identify`), the compared cells."""


def write_comparators(views: Sequence[JudgedMethods], out: Path) -> Part:
    """Write the comparisons with further models; empty if no run has any."""
    compared = compare_cells(views[0].named)
    tables = [comparator_table(view, compared) for view in views if view.cells and compared]
    if not tables:
        return Part([], [])
    frame = comparators_frame(compared)
    return write_part(f"{slug(views[0].scale)}-main-table-comparators", tables, frame, [], out)


def compare_cells(named: NamedRuns) -> Comparisons:
    """The cells of the runs of which both sides were judged against a further model; the cut start is none."""
    sides: dict[str, tuple[list[RunRecord], list[RunRecord]]] = {}
    for run in named.runs:
        for comparison in run.comparisons or []:
            if comparison.start is not None and comparison.name != CUT_START:
                policies, starts = sides.setdefault(comparison.name, ([], []))
                policies.append(replace(run, verdicts=comparison.policy))
                starts.append(replace(run, verdicts=comparison.start))
    compared = {}
    for name in sort_names(sides):
        policy, start = (
            {identify(cell): cell for cell in NamedRuns(runs, named.labels).cells} for runs in sides[name]
        )
        compared[name] = {key: ComparedCell(policy[key], start[key]) for key in policy if key in start}
    return compared


def comparator_columns(name: str, compared: Mapping[Any, ComparedCell]) -> list[MethodColumn]:
    """The columns on a further model."""

    def column(header: str, entry: Callable[[ComparedCell], Entry]) -> MethodColumn:
        def text(row: MethodRow) -> Entry:
            pair = compared.get(identify(row.cell))
            return NOT_RUN if pair is None else entry(pair)

        return MethodColumn(f"{header} {name}", text)

    return [
        column("trained against", lambda pair: win_rate_entry(pair.policy)),
        column("start against", lambda pair: win_rate_entry(pair.start)),
        column("gain on", lambda pair: pair.gain_entry),
    ]


def comparator_table(view: JudgedMethods, compared: Comparisons) -> Table:
    """One judge's cells against their untrained model and against every further model."""
    several = len({cell.method for cell in view.cells}) > 1
    columns = [
        FAMILY,
        MethodColumn("regime", lambda row: regime_name(row.cell.regime)),
        *([MethodColumn("reward", lambda row: row.cell.method)] if several else []),
        MethodColumn(
            "against the untrained model", lambda row: mark_stopped(win_rate_entry(row.cell), row.cell)
        ),
        MethodColumn("cut start", lambda row: cut_start_entry(row.cell.controls)),
        MethodColumn("ceiling", lambda row: ceiling_entry(row.cell.controls)),
        *(column for name, cells in compared.items() for column in comparator_columns(name, cells)),
    ]
    rows = [row for group in view.groups for row in group]
    return build_table(
        name=slug(f"main-table-comparators {view.scale} {view.judge}"),
        title=f"Win rate against further models (%), {view.where}",
        columns=columns,
        groups=group_by(rows, lambda row: row.cell.family).values(),
        notes=[
            "Share of comparisons won on the same prompts; ties count half and all seeds are pooled. In brackets: 95 % "
            "interval over prompts, for these models.",
            "Gain: the trained model's win rate minus the untrained model's against the same model, in percentage "
            "points, on the prompts scored for both, with the paired 95 % interval over prompts. Bold: the interval "
            f"excludes 50 % (for a gain: 0), on {FEW_PROMPTS} prompts or more, without correction for the number of "
            "cells.",
            "Cut start: what the untrained model's own responses, cut short, win against the uncut ones.",
            "Ceiling: what a perfect policy would win against the untrained model, where the truth is known.",
            *(f"{name}: {checkpoints_of(view.named.runs, name)}." for name in compared),
            f"{NOT_RUN.text}: the untrained model is that model itself, or no run was compared with it.",
            *gap_notes(view.cells, compared),
            *stop_notes(view.cells),
        ],
    )


def checkpoints_of(runs: Sequence[RunRecord], name: str) -> str:
    """A further model's checkpoint, or that of each family."""
    found = {
        (run.family, c.checkpoint): None for run in runs for c in run.comparisons or [] if c.name == name
    }
    distinct = {checkpoint for _, checkpoint in found}
    if len(distinct) == 1:
        return distinct.pop()
    return ", ".join(f"{checkpoint} ({family_name(family)})" for family, checkpoint in found)


def gap_notes(cells: Sequence[Cell], compared: Comparisons) -> list[str]:
    """Notes on missing comparisons, unscored verdicts and few prompts."""
    pairs = [
        (name, cell, pairs[identify(cell)])
        for name, pairs in compared.items()
        for cell in cells
        if identify(cell) in pairs
    ]
    notes = [
        f"{place(cell)} {cell.method}: {len(pair.policy.runs)} of {len(cell.runs)} runs were compared with {name}."
        for name, cell, pair in pairs
        if len(pair.policy.runs) < len(cell.runs)
    ]
    sides = [side.win for *_, pair in pairs for side in (pair.policy, pair.start)]
    unscored, half = sum(win.unscored for win in sides), sum(win.half_scored for win in sides)
    if unscored + half:
        notes.append(
            f"{unscored} of these verdicts are unscored and left out, and {half} more because their pair is unscored "
            "in the other order."
        )
    if any(win.open for win in sides):
        notes.append(OPEN_NOTE)
    if any(win.few for win in sides):
        notes.append(FEW_NOTE)
    return notes


def comparators_frame(compared: Comparisons) -> pd.DataFrame:
    """One row per cell and further model: win rates in percent and gains in percentage points, unrounded."""
    rows: list[dict[str, Any]] = []
    for name, pairs in compared.items():
        for pair in pairs.values():
            gain, judged = pair.gain, "rate lo hi scored unscored"
            rows.append(
                {"comparator": name}
                | pick(pair.policy, "scale judge family regime reward method")
                | pick(pair.policy.win, judged, "policy_")
                | pick(pair.start.win, judged, "start_")
                | {"gain": gain.difference}
                | pick(gain, "lo hi p prompts", "gain_")
                | {"runs": len(pair.policy.runs)}
            )
    return pd.DataFrame(rows)


MAIN_TABLE = Experiment(
    name="main_table",
    title="The main table: CME against its untrained model",
    question=(
        "The paper's claim: a model trained with CME beats its untrained self in four families and three regimes. A "
        "cell refutes the claim here if the whole interval of its win rate lies below 50 %, and does not support it if "
        "the interval covers 50 %. The paper publishes only the range of the win rates, without cells or intervals. It "
        "used other models, prompts and judges, so only the side of 50 % can be compared. Beating a weak model proves "
        "little: if the runs were compared with the family's instruct model and a fixed reference, the policy and the "
        "untrained model are compared on the same prompts."
    ),
    views=Methods("CME against its untrained model", "reward", reward_name),
    tables=(win_rate_tables, verdict_table, seed_tables, evidence_tables),
    figures=(main_plots,),
    frame=methods_frame,
    appendices=(write_comparators,),
)
