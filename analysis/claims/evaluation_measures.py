"""The measures of claims about signals, judges and texts: separation, failed calls, position, intervals, text."""

from collections.abc import Callable, Sequence
from math import isnan

import numpy as np

from analysis.claims.comparisons import rate_part
from analysis.claims.evidence import APPARENT, Evidence, Kind, clustered_mean
from analysis.claims.measures import Measure
from analysis.claims.parts import Part
from analysis.claims.rules import Rule
from analysis.records.builds import OFFSET
from analysis.records.ceiling import EXACT_JUDGES
from analysis.records.names import judge_label, plain_name, verifier_name
from analysis.stats.auroc import pooled_auroc, pooled_difference
from analysis.stats.metrics import WinRate, win_rate
from analysis.tables.cells import Cell, number_of_seeds, place
from analysis.tables.separation import Separation
from cme.records import Generation, judge_name, points, verdicts_by_order

COMPUTED = (*EXACT_JUDGES, "reference_similarity")
"""Judges whose verdict depends on the two texts alone."""


def separation(quantity: str, signal: str, baseline: str = "") -> Measure:
    """AUROC of a signal for wrong against right responses, or its difference from another signal's, by record."""

    def parts(evidence: Evidence, _: Rule) -> list[Part]:
        found = []
        for one in map(Separation, evidence.separation):
            if signal in one.values and (not baseline or baseline in one.values):
                wins = one.wins(signal, baseline) if baseline else one.wins(signal)
                auroc = pooled_difference(*wins) if baseline else pooled_auroc(wins[0])
                name = f"{plain_name(one.record.data)}: {one.name}, verifier {verifier_name(one.record.verifier)}"
                freedom = max(1, auroc.prompts - 1)
                found.append(Part(name, auroc.value, auroc.lo, auroc.hi, auroc.prompts, 1, freedom=freedom))
        return found

    missing = "no record of separation has these signals over these spans"
    return Measure(f"Pooled AUROC{quantity}", missing, parts)


def failure_parts(evidence: Evidence, _: Rule) -> list[Part]:
    """How far counting failed calls as ties would shift the win rates, cell by cell."""
    cells = [cell for cell in evidence.cells if cell.win.unscored]
    return [
        failure_part(
            comparison_name(cell), cell.win, len({run.seed % OFFSET for run in evidence.runs_of(cell)})
        )
        for cell in cells
    ]


def comparison_name(cell: Cell) -> str:
    """A cell's judge and what it compared; of imported outputs, their labels."""
    sides = f"{place(cell)} {cell.method}"
    if cell.scale == "imported":
        sides = f"{cell.method} against {cell.regime}"
    return f"{judge_label(cell.judge)}: {sides}"


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
    failure_parts,
    note=failure_note,
)


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


def position_note(evidence: Evidence, _: Sequence[Part]) -> str:
    """Why some of the judges have no position bias; empty if all could have one."""
    computed = any(run.judge in COMPUTED for run in evidence.runs)
    return "A judge that computes its verdicts from the texts has no position bias." if computed else ""


FIRST_POSITION = Measure(
    "Share of decided verdicts for the response shown first (%)",
    "no verdict is decided",
    first_position_parts,
    note=position_note,
)


def apparent_wins(evidence: Evidence, _: Rule) -> list[Part]:
    """The win rates above 50 %, which would pass for wins without an interval."""
    return [
        rate_part(comparison_name(cell), cell) for cell in evidence.select(APPARENT) if cell.win.rate > 50
    ]


def half_width_note(_: Evidence, parts: Sequence[Part]) -> str:
    """The range of the half-widths of their intervals."""
    halves = [(part.hi - part.lo) / 2 for part in parts]
    return f"Half-widths are {min(halves):.1f} to {max(halves):.1f} points." if halves else ""


APPARENT_WINS = Measure(
    "Win rate above 50 %",
    "no cell of CME has a win rate above 50 %",
    apparent_wins,
    note=half_width_note,
)


def text_change(quantity: str, kind: Kind, value: Callable[[Generation], float | None]) -> Measure:
    """By cell, a value of the policy's responses minus that of the untrained model's, prompt by prompt."""

    def parts(evidence: Evidence, _: Rule) -> list[Part]:
        found = []
        for cell in evidence.select(kind):
            changes: dict[str, list[float]] = {}
            for run in evidence.runs_of(cell):
                names = run.prompt_names
                for pair in run.pairs:
                    before, after = value(pair.start), value(pair.policy)
                    if before is not None and after is not None:
                        changes.setdefault(names[pair.prompt_id], []).append(after - before)
            if changes:
                mean = clustered_mean(list(changes.values()))
                freedom = max(1, len(changes) - 1)
                seeds = number_of_seeds(cell.tally)
                found.append(Part(place(cell), *mean, len(changes), seeds, freedom=freedom))
        return found

    return Measure(quantity, f"no run of {kind.name} has this measured", parts)
