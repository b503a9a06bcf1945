"""The measures of the claims: which comparisons the evidence offers, each an estimate with its interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from analysis.claims.evidence import (
    CME,
    Evidence,
    Kind,
    clustered_mean,
    difference,
    interval_scope,
    knowledge_level,
    place,
    verifier_ladders,
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


@dataclass(frozen=True)
class Measure:
    """A quantity with its unit, and the comparisons of it that the evidence offers.

    `missing` is the reason if there are none; `note` is added to the reason of a verdict. `by_verdicts`: the quantity
    is made of win rates, so a claim about it depends on their judge.
    """

    quantity: str
    missing: str
    parts: Callable[[Evidence], Sequence[Part]]
    by_verdicts: bool = False
    note: Callable[[Evidence], str] = lambda _: ""


def win_rates(kind: Kind) -> Measure:
    """The win rates of the cells of a kind against their untrained models."""
    return Measure(
        "Win rate against the untrained model (%)",
        f"no run of {kind.name} has a verdict",
        lambda evidence: [win_part(cell) for cell in evidence.select(kind)],
        by_verdicts=True,
    )


def difference_measure(what: str, missing: str, parts: Callable[[Evidence], Sequence[Part]]) -> Measure:
    """Differences of win rates."""
    return Measure(f"Difference of win rates, in points, {what}", missing, parts, by_verdicts=True)


def differences(one: Kind, other: Kind, what: str = "CME minus the other") -> Measure:
    """The win rates of the cells of one kind minus those of another kind in the same place."""

    def parts(evidence: Evidence) -> list[Part]:
        pairs = [(a, b) for a in evidence.select(one) for b in evidence.select(other) if a is not b]
        return [difference(a, b) for a, b in pairs if same_setting(a, b)]

    return difference_measure(what, f"no run of {other.name} next to one of {one.name}", parts)


def setting_differences(path: str, usual: str | float, what: str) -> Measure:
    """Every other value of a setting minus the usual one, with scalar CME."""

    def with_value(is_wanted: Callable[[object], bool]) -> Kind:
        return Kind(path, lambda e, cell: CME.includes(e, cell) and is_wanted(e.setting(cell, path)))

    others = with_value(lambda value: value not in (None, usual))
    measure = differences(others, with_value(lambda value: value == usual), what)
    return difference_measure(what, f"no two values of {path}", measure.parts)


def strongest_verifier(what: str, next_only: bool = False) -> Measure:
    """The strongest verifier of another family minus each weaker one of its family, or the next weaker one alone."""

    def parts(evidence: Evidence) -> list[Part]:
        return [
            difference(ladder[-1], weaker, (ladder[-1].verifier, weaker.verifier))
            for ladder in verifier_ladders(evidence)
            for weaker in (ladder[-2:-1] if next_only else ladder[:-1])
        ]

    return difference_measure(what, "no two verifiers of one family and different strength", parts)


def other_family(what: str) -> Measure:
    """Trained verifiers of other families minus those of the generator's own, of equal knowledge."""

    def parts(evidence: Evidence) -> list[Part]:
        own: list[tuple[int, Cell]] = []
        others: list[tuple[int, Cell]] = []
        for cell in evidence.select(CME):
            if level := knowledge_level(cell.verifier):
                family = evidence.setting(cell, "verifier.family")
                (own if family == cell.family else others).append((level, cell))
        return [
            difference(a, b)
            for level, a in sorted(others, key=lambda pair: pair[0])
            for same, b in own
            if same == level and same_setting(a, b)
        ]

    missing = "no verifier of the generator's family next to one of another family with equal knowledge"
    return difference_measure(what, missing, parts)


def accuracy_change(with_random: bool = True) -> Measure:
    """The paired change of pass@1 of every cell of CME by verifier; across seeds if there are enough.

    The published sweep has no verifier with random weights, so the claim about it leaves them out.
    """

    def parts(evidence: Evidence) -> list[Part]:
        runs = [run for run in evidence.runs if run.accuracy is not None and run.reward.startswith("cme")]
        found = []
        for verifier in sort_names(run.verifier for run in runs if with_random or run.verifier != "random"):
            rows = accuracy_frame([run for run in runs if run.verifier == verifier]).to_dict("records")
            for row in (row for row in rows if row["policy"] == "final"):
                name = f"{row['data']}: {row['family']} {row['regime']} {row['method']}, verifier {verifier}"
                wide = not isnan(row["across_seeds_lo"])
                bounds = ("across_seeds_lo", "across_seeds_hi") if wide else ("change_lo", "change_hi")
                change, lo, hi = (100 * float(row[column]) for column in ("change", *bounds))
                part = Part(name, change, lo, hi, row["prompts"], row["seeds"], interval_scope(wide))
                found.append(part)
        return found

    quantity = "Change of pass@1, in points, on the same prompts"
    return Measure(quantity, "no run of CME on mathematics", parts)


def separation(quantity: str, signal: str, baseline: str = "") -> Measure:
    """AUROC of a signal for wrong against right responses, or its difference from another signal's, by record."""

    def parts(evidence: Evidence) -> list[Part]:
        found = []
        for one in map(Separation, evidence.separation):
            if signal in one.values and (not baseline or baseline in one.values):
                wins = one.wins(signal, baseline) if baseline else one.wins(signal)
                auroc = pooled_difference(*wins) if baseline else pooled_auroc(wins[0])
                name = f"{one.record.data}: {one.name}, verifier {one.record.verifier}"
                found.append(Part(name, auroc.value, auroc.lo, auroc.hi, auroc.prompts, 1))
        return found

    missing = "no record of separation has these signals over these spans"
    return Measure(f"Pooled AUROC{quantity}", missing, parts)


def late_quality_parts(evidence: Evidence) -> list[Part]:
    """True quality late in long trainings with CME minus that at a quarter: sampled, and greedy if saved."""
    groups: dict[str, list[RunRecord]] = {}
    for run in evidence.runs:
        if run.reward == "cme":
            groups.setdefault(f"{run.family} {run.regime}, verifier {run.verifier}", []).append(run)
    parts = []
    for name, runs in groups.items():
        changes = [change for change in map(late_change, runs) if change is not None]
        if changes:
            mean = clustered_mean([[change] for change in changes])
            parts.append(Part(f"{name}: sampled", *mean, 0, len(changes), "seeds"))
        if saved := [run for run in runs if len(greedy_quality(run)) > 2]:
            steps = {run.run_id: [step for step in greedy_quality(run) if step] for run in saved}
            early = {run: min(step for step in own if step >= max(own) / 4) for run, own in steps.items()}
            prompts = {prompt for run in saved if run.trajectory for prompt in run.trajectory.prompts}
            change = greedy_change(saved, early)
            parts.append(Part(f"{name}: greedy", *change, len(prompts), len(saved), interval_scope(True)))
    return parts


def late_change(run: RunRecord) -> float | None:
    """Mean true quality over the last tenth of the steps minus that over the tenth around a quarter of them."""
    quality = np.array([np.nan if v is None else v for v in run.history.get("quality", [])], dtype=float)
    tenth, quarter = len(quality) // 10, len(quality) // 4
    if not tenth or np.isnan(quality).all():
        return None
    first = quarter - tenth // 2
    change = float(np.nanmean(quality[-tenth:]) - np.nanmean(quality[first : first + tenth]))
    return None if isnan(change) else change


LATE_QUALITY = Measure(
    "True quality (0 to 1) late in training minus that at a quarter of it",
    "no long run of CME with measured true quality",
    late_quality_parts,
)


def failure_parts(evidence: Evidence) -> list[Part]:
    """How far counting failed calls as ties would shift the win rates, cell by cell."""
    parts = []
    for cell in (cell for cell in evidence.cells if cell.win.unscored):
        win = cell.win
        tied = (win.worst_lo + win.worst_hi) / 2  # halfway between all failed calls lost and all won
        shift = tied if isnan(win.rate) else abs(tied - win.rate)  # the whole rate if no verdict is scored
        name = f"{cell.judge}: {place(cell)} {cell.method}"
        parts.append(Part(name, shift, shift, shift, win.prompts, len(cell.seeds.rates), "these verdicts"))
    return parts


def failure_note(evidence: Evidence) -> str:
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


def first_position_parts(evidence: Evidence) -> list[Part]:
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
    return parts


FIRST_POSITION = Measure(
    "Share of decided verdicts for the response shown first (%)",
    "no verdict is decided",
    first_position_parts,
    note=lambda _: "A judge that is computed from the texts, such as an oracle, has no position bias.",
)


def apparent_wins(evidence: Evidence) -> list[Part]:
    """CME's win rates above 50 %, which would pass for wins without an interval."""
    return [win_part(cell) for cell in evidence.select(CME) if cell.win.rate > 50]


def half_width_note(evidence: Evidence) -> str:
    """The range of the half-widths of their intervals."""
    halves = [(part.hi - part.lo) / 2 for part in apparent_wins(evidence)]
    return f"Half-widths are {min(halves):.1f} to {max(halves):.1f} points." if halves else ""


APPARENT_WINS = Measure(
    "Win rate of CME above 50 %",
    "no cell of CME has a win rate above 50 %",
    apparent_wins,
    note=half_width_note,
)


def text_change(quantity: str, kind: Kind, value: Callable[[Generation], float | None]) -> Measure:
    """By cell, a value of the policy's responses minus that of the untrained model's, prompt by prompt."""

    def parts(evidence: Evidence) -> list[Part]:
        found = []
        for cell in evidence.select(kind):
            changes: dict[str, list[float]] = {}
            for run in (evidence.by_id[run_id] for run_id in cell.runs):
                names = prompt_names(run)
                for pair in run.pairs:
                    before, after = value(pair.start), value(pair.policy)
                    if before is not None and after is not None:
                        changes.setdefault(names[pair.prompt_id], []).append(after - before)
            if changes:
                mean = clustered_mean(list(changes.values()))
                found.append(Part(place(cell), *mean, len(changes), len(cell.seeds.rates)))
        return found

    return Measure(quantity, f"no run of {kind.name} has this measured", parts)
