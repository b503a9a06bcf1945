"""The measures of the claims: which comparisons the evidence offers, each an estimate with its interval."""

from collections.abc import Callable
from math import isnan

import numpy as np

from analysis.claims.evidence import (
    Evidence,
    Measure,
    Measured,
    Which,
    clustered,
    difference,
    over,
    place,
    scalar_cme,
    win_part,
)
from analysis.claims.rules import Part
from analysis.records.frames import judge_name, prompt_names
from analysis.records.names import sort_names
from analysis.stats.auroc import pooled_auroc, pooled_difference
from analysis.stats.metrics import win_rate
from analysis.tables.accuracy import accuracy_frame
from analysis.tables.cells import Cell, same_setting
from analysis.tables.separation import Separation
from analysis.tables.trajectory import greedy_change, greedy_quality
from cme.records import Generation, RunRecord, points

KNOWLEDGE = ("random", "pretrained", "sft", "instruct")
"""The training of a verifier's checkpoint, from least to most knowledge; any other name stands above these."""


def win_rates(which: Which, missing: str) -> Measure:
    """The win rates of the cells of a kind against their untrained models."""
    return lambda evidence: Measured([win_part(cell) for cell in evidence.select(which)], missing)


def differences(one: Which, other: Which, missing: str) -> Measure:
    """The win rates of the cells of one kind minus those of another kind in the same place, in points."""

    def measure(evidence: Evidence) -> Measured:
        pairs = [(a, b) for a in evidence.select(one) for b in evidence.select(other) if a is not b]
        return Measured([difference(a, b) for a, b in pairs if same_setting(a, b)], missing)

    return measure


def setting_differences(path: str, usual: str | float) -> Measure:
    """Every other value of a setting minus the usual one, with scalar CME."""

    def is_usual(evidence: Evidence, cell: Cell) -> bool:
        return scalar_cme(evidence, cell) and evidence.setting(cell, path) == usual

    def is_other(evidence: Evidence, cell: Cell) -> bool:
        return scalar_cme(evidence, cell) and evidence.setting(cell, path) not in (None, usual)

    return differences(is_other, is_usual, f"no two values of {path}")


def knowledge_level(verifier: str) -> int | None:
    """How much a verifier knows, from random weights (0) upwards, by its name; None for start and ensembles."""
    if verifier == "start" or verifier.startswith("ensemble"):
        return None
    kind = verifier.rsplit("_", 1)[-1]
    return KNOWLEDGE.index(kind) if kind in KNOWLEDGE else len(KNOWLEDGE)


def verifier_ladders(evidence: Evidence) -> list[list[Cell]]:
    """The cells of scalar CME in one place with verifiers of one other family, weakest first, of two levels or more."""
    found: dict[tuple[str, ...], list[Cell]] = {}
    for cell in evidence.select(scalar_cme):
        family = evidence.setting(cell, "verifier.family")
        if family not in (None, cell.family) and knowledge_level(cell.verifier) is not None:
            found.setdefault((cell.judge, cell.family, cell.regime, str(family)), []).append(cell)
    ladders = [
        sorted(cells, key=lambda cell: knowledge_level(cell.verifier) or 0) for cells in found.values()
    ]
    return [own for own in ladders if knowledge_level(own[0].verifier) != knowledge_level(own[-1].verifier)]


def strongest_verifier(evidence: Evidence, next_only: bool = False) -> Measured:
    """The strongest verifier of another family minus each weaker one of its family, or the next weaker one alone."""
    parts = [
        difference(ladder[-1], weaker, (ladder[-1].verifier, weaker.verifier))
        for ladder in verifier_ladders(evidence)
        for weaker in (ladder[-2:-1] if next_only else ladder[:-1])
    ]
    return Measured(parts, "no two verifiers of one family and different strength")


def other_family(evidence: Evidence) -> Measured:
    """Trained verifiers of other families minus those of the generator's own, of equal knowledge."""
    parts = []
    cells = [cell for cell in evidence.select(scalar_cme) if knowledge_level(cell.verifier)]
    for level in sorted({knowledge_level(cell.verifier) or 0 for cell in cells}):
        level_cells = [cell for cell in cells if knowledge_level(cell.verifier) == level]
        own = [cell for cell in level_cells if evidence.setting(cell, "verifier.family") == cell.family]
        others = [cell for cell in level_cells if cell not in own]
        parts += [difference(a, b) for a in others for b in own if same_setting(a, b)]
    missing = "no verifier of the generator's family next to one of another family with equal knowledge"
    return Measured(parts, missing)


def accuracy_change(evidence: Evidence, with_random: bool = True) -> Measured:
    """The paired change of pass@1, in points, of every cell of CME by verifier; across seeds if there are enough.

    The published sweep has no verifier with random weights, so the claim about it leaves them out.
    """
    runs = [run for run in evidence.runs if run.accuracy is not None and run.reward.startswith("cme")]
    parts = []
    for verifier in sort_names(run.verifier for run in runs if with_random or run.verifier != "random"):
        rows = accuracy_frame([run for run in runs if run.verifier == verifier]).to_dict("records")
        for row in (row for row in rows if row["policy"] == "final"):
            name = f"{row['data']}: {row['family']} {row['regime']} {row['method']}, verifier {verifier}"
            wide = not isnan(row["across_seeds_lo"])
            bounds = ("across_seeds_lo", "across_seeds_hi") if wide else ("change_lo", "change_hi")
            change, lo, hi = (100 * float(row[column]) for column in ("change", *bounds))
            parts.append(Part(name, change, lo, hi, row["prompts"], row["seeds"], over(wide)))
    return Measured(parts, "no run of CME on mathematics")


def separation(signal: str, baseline: str = "", missing: str = "no record of separation") -> Measure:
    """AUROC of a signal for wrong against right responses, or its difference from another signal's, by record."""

    def measure(evidence: Evidence) -> Measured:
        parts = []
        for found in map(Separation, evidence.separation):
            if signal in found.values and (not baseline or baseline in found.values):
                wins = found.wins(signal, baseline) if baseline else found.wins(signal)
                of = pooled_difference(*wins) if baseline else pooled_auroc(wins[0])
                name = f"{found.record.data}: {found.name}, verifier {found.record.verifier}"
                parts.append(Part(name, of.value, of.lo, of.hi, of.prompts, 1))
        return Measured(parts, missing)

    return measure


def late_quality(evidence: Evidence) -> Measured:
    """True quality late in long trainings with CME minus that at a quarter: sampled, and greedy if saved."""
    groups: dict[str, list[RunRecord]] = {}
    for run in evidence.runs:
        if run.reward == "cme":
            groups.setdefault(f"{run.family} {run.regime}, verifier {run.verifier}", []).append(run)
    parts = []
    for name, runs in groups.items():
        changes = [change for change in map(late_change, runs) if change is not None]
        if changes:
            of = clustered([[change] for change in changes])
            parts.append(Part(f"{name}: sampled", *of, 0, len(changes), "seeds"))
        if saved := [run for run in runs if len(greedy_quality(run)) > 2]:
            steps = {run.run_id: [step for step in greedy_quality(run) if step] for run in saved}
            early = {
                run_id: min(step for step in own if step >= max(own) / 4) for run_id, own in steps.items()
            }
            prompts = {prompt for run in saved if run.trajectory for prompt in run.trajectory.prompts}
            change = greedy_change(saved, early)
            parts.append(Part(f"{name}: greedy", *change, len(prompts), len(saved), over(True)))
    return Measured(parts, "no long run of CME with measured true quality")


def late_change(run: RunRecord) -> float | None:
    """Mean true quality over the last tenth of the steps minus that over the tenth around a quarter of them."""
    quality = np.array([np.nan if v is None else v for v in run.history.get("quality", [])], dtype=float)
    tenth, quarter = len(quality) // 10, len(quality) // 4
    if not tenth or np.isnan(quality).all():
        return None
    first = quarter - tenth // 2
    change = float(np.nanmean(quality[-tenth:]) - np.nanmean(quality[first : first + tenth]))
    return None if isnan(change) else change


def failures_as_ties(evidence: Evidence) -> Measured:
    """How far counting failed calls as ties would shift the win rates, cell by cell."""
    cells = evidence.cells
    unscored, verdicts = sum(c.win.unscored for c in cells), sum(c.win.verdicts for c in cells)
    parts = []
    for cell in (cell for cell in cells if cell.win.unscored):
        win = cell.win
        tied = (win.worst_lo + win.worst_hi) / 2  # halfway between all failed calls lost and all won
        name = f"{cell.judge}: {place(cell)} {cell.method}"
        shift = (
            tied if isnan(win.rate) else abs(tied - win.rate)
        )  # the whole rate if there is no other verdict
        parts.append(Part(name, shift, shift, shift, win.prompts, len(cell.seeds.rates), "these verdicts"))
    note = f"{unscored:,} of {verdicts:,} verdicts are failed calls; they are counted and left out."
    return Measured(parts, f"none of the {verdicts:,} verdicts is a failed call", note)


def first_position(evidence: Evidence) -> Measured:
    """The share of decided verdicts that went to the response shown first, judge by judge."""
    shown: dict[str, list[tuple[float, str, int]]] = {}
    for run in evidence.runs:
        names = prompt_names(run)
        for verdict in run.verdicts:
            won = points(verdict)
            if won in (0, 1):
                row = (float((won == 1) == verdict.policy_first), names[verdict.prompt_id], run.seed)
                shown.setdefault(judge_name(run, verdict), []).append(row)
    parts = []
    for judge, rows in shown.items():
        shares, prompts, seeds = zip(*rows, strict=True)
        win = win_rate(np.array(shares), np.array(prompts, dtype=object))
        parts.append(Part(f"judge {judge}", win.rate, win.lo, win.hi, win.scored, len(set(seeds))))
    note = "A judge that is computed from the texts, such as an oracle, has no position bias."
    return Measured(parts, "no verdict is decided", note)


def wins_without_interval(evidence: Evidence) -> Measured:
    """CME's win rates above 50 %, which would pass for wins without an interval."""
    parts = [win_part(cell) for cell in evidence.select(scalar_cme) if cell.win.rate > 50]
    halves = [(part.hi - part.lo) / 2 for part in parts]
    note = f"Half-widths are {min(halves):.1f} to {max(halves):.1f} points." if halves else ""
    return Measured(parts, "no cell of CME has a win rate above 50 %", note)


def text_change(which: Which, measure: Callable[[Generation], float | None], missing: str) -> Measure:
    """By cell, a measure of the policy's responses minus that of the untrained model's, prompt by prompt."""

    def measured(evidence: Evidence) -> Measured:
        parts = []
        for cell in evidence.select(which):
            changes: dict[str, list[float]] = {}
            for run in (evidence.by_id[run_id] for run_id in cell.runs):
                names = prompt_names(run)
                for pair in run.pairs:
                    before, after = measure(pair.start), measure(pair.policy)
                    if before is not None and after is not None:
                        changes.setdefault(names[pair.prompt_id], []).append(after - before)
            if changes:
                of = clustered(list(changes.values()))
                parts.append(Part(place(cell), *of, len(changes), len(cell.seeds.rates)))
        return Measured(parts, missing)

    return measured
