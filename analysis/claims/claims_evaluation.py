"""What the records of one scale say of the weaknesses of the released evaluation: are they here, too?"""

from math import isnan

import numpy as np

from analysis.claims.claims import Claim
from analysis.claims.evidence import Evidence, Part, rate_part, text_parts, win_part
from analysis.claims.rules import Result, decide
from analysis.records.frames import judge_name, prompt_names
from analysis.stats.metrics import win_rate
from cme.records import Generation, points

NOTICED = 1.0  # points of the win rate


def failures_as_ties(evidence: Evidence, claim: Claim) -> Result:
    """What counting failed calls as ties would do to the win rates, cell by cell."""
    cells = evidence.cells(*claim.experiments)
    unscored, verdicts = sum(c.win.unscored for c in cells), sum(c.win.verdicts for c in cells)
    if not unscored:
        return Result("not testable here", f"none of the {verdicts:,} verdicts is of a failed call")
    parts = []
    for cell in (cell for cell in cells if cell.win.unscored):
        win = cell.win
        tied = (win.worst_lo + win.worst_hi) / 2  # halfway between all failed ones lost and all won
        name = f"{cell.judge}: {cell.family} {cell.regime} {cell.method}"
        shift = tied if isnan(win.rate) else abs(tied - win.rate)  # all of a rate that has no other verdict
        parts.append(Part(name, shift, shift, shift, win.prompts, len(cell.seeds.rates), "these verdicts"))
    note = f"{unscored:,} of {verdicts:,} verdicts are of failed calls; they are counted and left out."
    return decide(parts, claim.rule, "", note)


def position(evidence: Evidence, claim: Claim) -> Result:
    """The share of decided verdicts that went to the response shown first, judge by judge."""
    first: dict[str, list[tuple[float, str, int]]] = {}
    for run in evidence.runs(*claim.experiments):
        names = prompt_names(run)
        for verdict in run.verdicts:
            won = points(verdict)
            if won in (0, 1):
                shown_first = float((won == 1) == verdict.policy_first)
                first.setdefault(judge_name(run, verdict), []).append(
                    (shown_first, names[verdict.prompt_id], run.seed)
                )
    parts = []
    for judge, rows in first.items():
        shares, prompts, seeds = zip(*rows, strict=True)
        win = win_rate(np.array(shares), np.array(prompts, dtype=object))
        parts.append(rate_part(f"judge {judge}", win, len(set(seeds))))
    note = "A judge that is computed from the texts, such as an oracle, has no order to prefer."
    return decide(parts, claim.rule, "no verdict is decided", note)


def without_intervals(evidence: Evidence, claim: Claim) -> Result:
    """How many of CME's win rates above 50 % would pass for a win if they had no interval."""
    cells = [c for c in evidence.cells(*claim.experiments) if evidence.scalar_cme(c) and c.win.rate > 50]
    parts = [win_part(cell) for cell in cells]
    if not parts:
        return Result("not testable here", "no cell of CME has a win rate above 50 %")
    loose = [part for part in parts if not (part.enough and part.lo > 50)]
    reason = (
        f"{len(loose)} of {len(parts)} cells of CME with a win rate above 50 % are not told apart from it; half-widths "
        f"are {min(half(p) for p in parts):.1f} to {max(half(p) for p in parts):.1f} points."
    )
    return Result("reproduced" if loose else "not reproduced", reason, parts)


def half(part: Part) -> float:
    """Half the width of an interval."""
    return (part.hi - part.lo) / 2


def shorter(evidence: Evidence, claim: Claim) -> Result:
    """Characters of the trained policy's response less those of its pretrained start's, CME alone."""
    cells = [
        c for c in evidence.cells(*claim.experiments) if evidence.scalar_cme(c) and c.regime == "pretrained"
    ]
    parts = list(text_parts(evidence.runs(*claim.experiments), cells, lambda g: float(len(g.response))))
    return decide(parts, claim.rule, "no run of CME has a pretrained start")


def likelier(evidence: Evidence, claim: Claim) -> Result:
    """Surprisal of the trained policy's response less that of its start's, under a model that took no part."""

    def surprisal(generation: Generation) -> float | None:
        return generation.surprisal

    cells = [cell for cell in evidence.cells(*claim.experiments) if evidence.scalar_cme(cell)]
    parts = list(text_parts(evidence.runs(*claim.experiments), cells, surprisal))
    return decide(
        parts, claim.rule, "no run of CME has its responses' surprisal measured under another model"
    )
