"""Measures of the evaluation itself: failed calls, positions, intervals and texts, of ours and of the released one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan, nan
from typing import Any

import numpy as np

from analysis.claims.claim import Measure
from analysis.claims.evidence import APPARENT, Evidence, Kind
from analysis.claims.parts import Part, paired_part, rate_part
from analysis.claims.rules import Rule
from analysis.records.builds import OFFSET
from analysis.records.ceiling import EXACT_JUDGES, OWN_WORDS
from analysis.records.names import judge_label
from analysis.records.published import read_published
from analysis.stats.win_rates import WinRate, win_rate
from analysis.tables.cells import Cell, place
from cme.records import Generation, judge_name, points, verdicts_by_order

COMPUTED = (*EXACT_JUDGES, OWN_WORDS, "reference_similarity")
"""Judges whose verdict depends on the two texts alone."""


def failure_part(name: str, win: WinRate, seeds: int) -> Part:
    """The shift of one win rate; it is about these verdicts alone and has no error."""
    tied = (win.worst_lo + win.worst_hi) / 2  # halfway between all failed calls lost and all won
    shift = tied if isnan(win.rate) else abs(tied - win.rate)  # the whole rate if no verdict is scored
    return Part(name, shift, shift, shift, win.prompts, seeds, "these verdicts")


def failure_note(evidence: Evidence, _: Sequence[Part]) -> str:
    """The number of failed calls."""
    wins = [cell.win for cell in evidence.cells]
    unscored, verdicts = sum(win.unscored for win in wins), sum(win.verdicts for win in wins)
    return f"{unscored:,} of {verdicts:,} verdicts are failed calls; they are counted and left out."


FAILURES_AS_TIES = Measure(
    "Shift of the win rate, in points, if failed calls were ties",
    "there is no failed call",
    lambda evidence, _: [
        failure_part(comparison_name(cell), cell.win, len({run.seed % OFFSET for run in cell.controls.runs}))
        for cell in evidence.cells
        if cell.win.unscored
    ],
    note=failure_note,
)


def comparison_name(cell: Cell) -> str:
    """A cell's judge and what it compared; of imported outputs, their labels."""
    imported = cell.scale == "imported"
    sides = f"{cell.method} against {cell.regime}" if imported else f"{place(cell)} {cell.method}"
    return f"{judge_label(cell.judge)}: {sides}"


def first_position_parts(evidence: Evidence, _: Rule) -> list[Part]:
    """The share of decided verdicts that went to the response shown first, judge by judge."""
    shown: dict[str, list[tuple[float, str, int]]] = {}
    for run in evidence.runs:
        names = run.prompt_names
        for verdict in verdicts_by_order(run.verdicts):
            won = points(verdict)
            if won in (0, 1):
                row = (float((won == 1) == verdict.policy_first), names[verdict.prompt_id], run.seed)
                shown.setdefault(judge_name(run.judge, verdict), []).append(row)
    return [
        position_part(f"judge {judge_label(judge)}", *(list(column) for column in zip(*rows, strict=True)))
        for judge, rows in shown.items()
    ]


def position_part(name: str, shares: Sequence[float], prompts: Sequence[str], seeds: Sequence[int]) -> Part:
    """The share of some decided verdicts that went to the response shown first, clustered by prompt."""
    win = win_rate(np.array(shares), np.array(prompts, dtype=object))
    return Part(name, win.rate, win.lo, win.hi, win.scored, len(set(seeds)), freedom=max(1, win.scored - 1))


FIRST_POSITION = Measure(
    "Share of decided verdicts for the response shown first (%)",
    "no verdict is decided",
    first_position_parts,
    note=lambda evidence, _: (
        "A judge that computes its verdicts from the texts has no position bias."
        if any(run.judge in COMPUTED for run in evidence.runs)
        else ""
    ),
)


def half_width_note(_: Evidence, parts: Sequence[Part]) -> str:
    """The range of the half-widths of their intervals."""
    halves = [(part.hi - part.lo) / 2 for part in parts]
    return f"Half-widths are {min(halves):.1f} to {max(halves):.1f} points." if halves else ""


APPARENT_WINS = Measure(
    "Win rate above 50 %",
    "no cell of CME has a win rate above 50 %",
    lambda evidence, _: [
        rate_part(comparison_name(cell), cell) for cell in evidence.select(APPARENT) if cell.win.rate > 50
    ],
    note=half_width_note,
)
"""The win rates that would pass for wins without an interval."""


def text_change(quantity: str, kind: Kind, value: Callable[[Generation], float | None]) -> Measure:
    """By cell, a value of the policy's responses minus that of the untrained model's, prompt by prompt.

    A cell does not count where a policy has collapsed: the change is then that of one text.
    """

    def parts(evidence: Evidence, _: Rule) -> list[Part]:
        found = []
        for cell in evidence.select(kind):
            rows = [
                (after - before, run.prompt_names[pair.prompt_id], run.seed)
                for run in cell.controls.runs
                for pair in run.pairs
                if (before := value(pair.start)) is not None and (after := value(pair.policy)) is not None
            ]
            if rows:
                collapsed = "a policy that gives most prompts the same response" if cell.collapsed else ""
                found.append(replace(paired_part(place(cell), rows), insensitive=collapsed))
        return found

    return Measure(quantity, f"no run of {kind.name} has this measured", parts)


# The released evaluation of the paper, by its published counts. An interval from them takes every verdict as that of
# another prompt; `cme import` on the files themselves gives intervals that keep the verdicts of a prompt together.


def released_failures() -> list[Part]:
    """How far counting failed calls as ties shifts each released win rate that has any."""
    return [failure_part(name, win, 1) for name, win in released_rates() if win.unscored]


def released_position() -> list[Part]:
    """The share of the decided verdicts that went to the response shown first."""
    rows = {row["quantity"]: row for row in read_published("evaluation.csv").to_dict("records")}
    first, second = (rows[f"verdicts for the response shown {place}"] for place in ("first", "second"))
    shares = [1.0] * int(first["value"]) + [0.0] * int(second["value"])
    return [position_part(str(first["over"]), shares, [str(i) for i in range(len(shares))], [0])]


def released_wins() -> list[Part]:
    """The released win rates above 50 % with a working judge."""
    return [
        Part(name, win.rate, win.lo, win.hi, win.scored, 1, freedom=win.scored - 1)
        for name, win in released_rates()
        if win.rate > 50
    ]


def released_rates() -> list[tuple[str, WinRate]]:
    """The released win rates with their names; failed calls, which the file counts among the ties, are unscored."""
    found = []
    for row in read_published("released_evaluation.csv").to_dict("records"):
        failed: Any = row["failed_calls"]
        counts = {1.0: row["wins"], 0.5: row["ties"] - failed, 0.0: row["losses"], nan: failed}
        won = np.repeat(list(counts), list(counts.values()))
        name = f"{row['judge']}: {row['policy']} against {row['opponent']}"
        found.append((name, win_rate(won, np.arange(len(won)).astype(str).astype(object))))
    return found
