"""The measures of the claims: the comparisons that the evidence offers, each with its interval and its controls.

An interval is over other prompts and other trainings from MIN_SEEDS seeds on, because claims are about a way to train
and not about the models at hand; with fewer seeds it is over other prompts alone, and the part says so.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from operator import attrgetter
from typing import Any

import numpy as np

from analysis.claims.evidence import (
    APPARENT,
    CME,
    RANDOM,
    TRUTH,
    TRUTH_ANSWER,
    Evidence,
    Kind,
    knowledge_level,
    setting,
    verifier_ladders,
)
from analysis.claims.parts import PROMPTS_AND_SEEDS, Part, absent, widest_part
from analysis.claims.rules import NO_TRUTH, Rule
from analysis.experiments.base import mean_over_seeds
from analysis.experiments.independence import Facts, FactTest
from analysis.records.builds import OFFSET
from analysis.records.ceiling import EXACT_JUDGES, ceiling, floor, perfect_win_rate, scored_quality
from analysis.records.frames import WINDOW
from analysis.records.names import generator_name, judge_label, plain_name, sort_names, verifier_name
from analysis.records.published import read_published
from analysis.stats.auroc import pooled_auroc, pooled_difference
from analysis.stats.contrasts import contrast
from analysis.stats.intervals import Floats
from analysis.stats.metrics import Tally, WinRate, across_seeds, difference_with_interval, tally, win_rate
from analysis.tables.accuracy import accuracy_frame
from analysis.tables.cells import (
    Cell,
    build_cells,
    builds,
    by_build,
    number_of_seeds,
    on_common_builds,
    place,
    same_setting,
)
from analysis.tables.separation import Separation
from analysis.tables.trajectory import greedy_change, greedy_quality
from cme.records import CUT_START, Generation, RunRecord, judge_name, points, scores, verdicts_by_order

COMPUTED = (*EXACT_JUDGES, "reference_similarity")
"""Judges whose verdict depends on the two texts alone."""
Compare = Callable[[Evidence, Cell, Rule], Part]


@dataclass(frozen=True)
class Measure:
    """A quantity with its unit, and the comparisons of it that the evidence offers a rule.

    `missing` is the reason if there are none; `note` is added to the reason of a verdict. `by_verdicts`: the quantity
    is made of win rates, so a claim about it depends on their judge.
    """

    quantity: str
    missing: str
    parts: Callable[[Evidence, Rule], Sequence[Part]]
    by_verdicts: bool = False
    note: Callable[[Evidence, Sequence[Part]], str] = lambda *_: ""


# Win rates, in percent, and their differences, in points


def rate_measure(quantity: str, kind: Kind, *comparisons: Compare) -> Measure:
    """Comparisons of each cell of a kind, such as `against_start`."""

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        return [compare(evidence, cell, rule) for cell in evidence.select(kind) for compare in comparisons]

    return Measure(quantity, f"no run of {kind.name} has a verdict", parts, by_verdicts=True)


def win_rates(kind: Kind) -> Measure:
    """Win rates against the untrained model."""
    return rate_measure("Win rate against the untrained model (%)", kind, against_start)


def below_random(kind: Kind) -> Measure:
    """Win rates minus those of the random reward."""
    quantity = "Difference of win rates, in points, the reward minus the random reward"
    return rate_measure(quantity, kind, against_random)


def works(kind: Kind) -> Measure:
    """What a reward that works beats: the random reward, and the untrained model's own responses cut short."""
    quantity = "Win rate minus the random reward's, and win rate against the cut start minus 50, in points"
    return rate_measure(quantity, kind, against_random, against_cut_start)


def against_start(evidence: Evidence, cell: Cell, rule: Rule) -> Part:
    """A cell's win rate against the untrained model, in percent."""
    truth = evidence.control(cell, TRUTH)
    control = None if truth is None else gain_part("", truth)
    return rule.restrict(rate_part(place(cell), cell), control, cell.controls.ceiling - 50)


def against_cut_start(evidence: Evidence, cell: Cell, rule: Rule) -> Part:
    """A cell's win rate against the untrained model's own responses cut short, minus 50."""
    name = f"{place(cell)}: {cell.method} against the cut start"
    judged, truth = cut_start_cell(cell), evidence.control(cell, TRUTH)
    if judged is None:
        return absent(name, "no verdicts against the cut start")
    against = None if truth is None else cut_start_cell(truth)
    control = None if against is None else gain_part("", against)
    best = perfect_win_rate([scored_quality(run) for run in judged.controls.runs])
    return rule.restrict(gain_part(name, judged), control, nan if best is None else best - 50)


def cut_start_cell(cell: Cell) -> Cell | None:
    """The cell with its verdicts against the cut start in place of those against the untrained model.

    None if a run has none.
    """
    judged = [
        replace(run, verdicts=comparison.policy, experiment=None)
        for run in cell.controls.runs
        for comparison in run.comparisons or []
        if comparison.name == CUT_START
    ]
    cells = build_cells(judged) if len(judged) == len(cell.runs) else []
    return next((one for one in cells if one.judge == cell.judge), None)


def against_random(evidence: Evidence, cell: Cell, rule: Rule) -> Part:
    """A cell's win rate minus that of the random reward in the same place."""
    random = evidence.control(cell, RANDOM)
    if random is None:
        name = f"{place(cell)}: {cell.method} minus random"
        return absent(name, "no run with a random reward in this place")
    return difference(evidence, cell, random, rule)


def pair_measure(
    what: str,
    missing: str,
    pairs: Callable[[Evidence], Iterable[tuple[Cell, Cell]]],
    name: Callable[[Cell], str] = attrgetter("method"),
) -> Measure:
    """Differences of the win rates of pairs of cells, which `name` tells apart."""

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        return [difference(evidence, one, other, rule, name) for one, other in pairs(evidence)]

    return Measure(f"Difference of win rates, in points, {what}", missing, parts, by_verdicts=True)


def differences(one: Kind, other: Kind, what: str = "CME minus the other") -> Measure:
    """The cells of one kind minus those of another kind in the same place."""
    missing = f"no run of {other.name} next to one of {one.name}"
    return pair_measure(
        what, missing, lambda evidence: same_place(evidence.select(one), evidence.select(other))
    )


def setting_differences(path: str, usual: str | float, what: str) -> Measure:
    """Every other value of a setting minus the usual one, with scalar CME."""

    def pairs(evidence: Evidence) -> list[tuple[Cell, Cell]]:
        cells = [cell for cell in evidence.select(CME) if setting(cell, path) is not None]
        others = [cell for cell in cells if setting(cell, path) != usual]
        return same_place(others, [cell for cell in cells if setting(cell, path) == usual])

    return pair_measure(what, f"no two values of {path}", pairs)


def same_place(ones: Sequence[Cell], others: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """The pairs of two different cells in the same place."""
    return [(a, b) for a in ones for b in others if a is not b and same_setting(a, b)]


def strongest_verifier(what: str, next_only: bool = False) -> Measure:
    """The strongest verifier of another family minus each weaker one of its family, or the next weaker one alone."""

    def pairs(evidence: Evidence) -> list[tuple[Cell, Cell]]:
        return [
            (ladder[-1], weaker)
            for ladder in verifier_ladders(evidence.select(CME))
            for weaker in (ladder[-2:-1] if next_only else ladder[:-1])
        ]

    missing = "no two verifiers of one family and different strength"
    return pair_measure(what, missing, pairs, lambda cell: verifier_name(cell.verifier))


def other_family(what: str) -> Measure:
    """Trained verifiers of other families minus those of the generator's own, of equal knowledge."""

    def pairs(evidence: Evidence) -> list[tuple[Cell, Cell]]:
        own: list[tuple[int, Cell]] = []
        others: list[tuple[int, Cell]] = []
        for cell in evidence.select(CME):
            if level := knowledge_level(cell.verifier):
                is_own = setting(cell, "verifier.family") == cell.family
                (own if is_own else others).append((level, cell))
        others.sort(key=lambda pair: pair[0])
        return [(a, b) for x, a in others for y, b in own if x == y and same_setting(a, b)]

    missing = "no verifier of the generator's family next to one of another family with equal knowledge"
    return pair_measure(what, missing, pairs)


def difference(
    evidence: Evidence,
    one: Cell,
    other: Cell,
    rule: Rule,
    name: Callable[[Cell], str] = attrgetter("method"),
) -> Part:
    """One cell's win rate minus another's on the prompts and builds of both."""
    part = difference_part(f"{place(one)}: {name(one)} minus {name(other)}", one.tally, other.tally)
    truth, shared = evidence.control(one, TRUTH), builds(one.tally) & builds(other.tally)
    if not shared:
        return part

    def bound(of_runs: Callable[[Sequence[RunRecord]], float | None], cell: Cell) -> float:
        known = of_runs([run for run in cell.controls.runs if run.seed // OFFSET in shared])
        return nan if known is None else known

    if rule.control == "gain":
        control = None if truth is None else gain_part("", truth)
        return rule.restrict(part, control, bound(ceiling, one) - 50)
    control = None if truth is None else difference_part("", truth.tally, other.tally)
    reference = 100 * on_common_builds(one.tally, other.tally)[1].rate
    room = reference - bound(floor, other) if rule.control == "loss" else bound(ceiling, one) - reference
    return rule.restrict(part, control, room)


def rate_part(name: str, cell: Cell) -> Part:
    """A cell's win rate."""
    win, seeds = cell.win, cell.seeds
    return widest_part(
        name,
        win.rate,
        (win.lo, win.hi, win.scored - 1),
        (seeds.across_seeds_lo, seeds.across_seeds_hi, seeds.freedom),
        win.scored,
        number_of_seeds(cell.tally),
        seeds.floored,
        [100 * tally.rate for tally in by_build(cell.tally).values()],
    )


def difference_part(name: str, one: Tally, other: Tally) -> Part:
    """One win rate minus another on the prompts and builds of both."""
    one, other = on_common_builds(one, other)
    if not len(one.seeds):
        return absent(name, "the two were trained from different builds of the checkpoints")
    change, ours, theirs = contrast(one, other), by_build(one), by_build(other)
    return widest_part(
        name,
        change.difference,
        (change.lo, change.hi, change.freedom),
        (change.across_seeds_lo, change.across_seeds_hi, change.freedom),
        change.prompts,
        min(number_of_seeds(one), number_of_seeds(other)),
        change.floored,
        [contrast(ours[build], theirs[build]).difference for build in ours],
    )


def gain_part(name: str, cell: Cell) -> Part:
    """A cell's win rate minus 50 %."""
    part = rate_part(name, cell)
    return replace(part, value=part.value - 50, lo=part.lo - 50, hi=part.hi - 50)


# True quality: `sampled` is that of the completions drawn in training, by step; `greedy` is that of one greedy response
# to each evaluation or selection prompt. They can differ, so every comparison names the one that it is about.


def quality_gains(evidence: Evidence, rule: Rule) -> list[Part]:
    """Rise of true quality by training with CME, cell by cell: of greedy responses, and of sampled completions."""
    parts = []
    for cell in evidence.select(CME):
        truth = evidence.control(cell, TRUTH)
        for kind, rise in (("greedy", greedy_rise), ("sampled", sampled_rise)):
            found = rise(cell, f"{place(cell)}: {kind}")
            if found is not None:
                part, start = found
                control = None if truth is None else rise(truth, "")
                parts.append(rule.restrict(part, None if control is None else control[0], 1 - start))
    return parts


QUALITY_GAINS = Measure(
    "True quality (0 to 1) after training minus before",
    "no run of CME with known true quality",
    quality_gains,
)


def greedy_rise(cell: Cell, name: str) -> tuple[Part, float] | None:
    """The policy's true quality minus the untrained model's on the evaluation prompts, and the latter's."""
    rows = [
        (after - before, before, prompt, run.seed)
        for run in cell.controls.runs
        for prompt, (before, after) in greedy_qualities(run).items()
    ]
    if not rows:
        return None
    changes, starts, prompts, seeds = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    change = tally(changes.astype(float), prompts, seeds.astype(int))
    value, lo, hi = difference_with_interval(change)
    half, error = across_seeds(change)
    part = widest_part(
        name,
        value,
        (lo, hi, len(change.prompts) - 1),
        (value - half, value + half, error.freedom),
        len(change.prompts),
        number_of_seeds(change),
        error.floored,
        [one.rate for one in by_build(change).values()],
    )
    return part, float(starts.astype(float).mean())


def greedy_qualities(run: RunRecord) -> dict[str, tuple[float, float]]:
    """True quality of the untrained model's and of the policy's greedy response by prompt; empty without the truth."""
    if run.grades is not None:
        graded = zip(run.pairs, run.grades.start, run.grades.policy, strict=True)
        return {pair.prompt_id: (start.quality, policy.quality) for pair, start, policy in graded}
    if run.judge not in EXACT_JUDGES:
        return {}
    return {verdict.prompt_id: scores(verdict) for verdict in run.verdicts if verdict.scores is not None}


def sampled_rise(cell: Cell, name: str) -> tuple[Part, float] | None:
    """Mean true quality of the completions of the last steps minus that of the first ones, and the latter."""
    ends = {}
    for run in cell.controls.runs:
        quality = sampled_quality(run)
        if len(quality) >= 2 * WINDOW and not np.isnan(quality).all():
            ends[run.seed] = float(np.nanmean(quality[:WINDOW])), float(np.nanmean(quality[-WINDOW:]))
    if not ends:
        return None
    part = over_seeds(name, {seed: late - early for seed, (early, late) in ends.items()})
    return part, float(np.mean([early for early, _ in ends.values()]))


def sampled_quality(run: RunRecord) -> Floats:
    """True quality of the sampled completions by step, NaN where it was not measured."""
    return np.array(run.history.get("quality", []), dtype=float)


def over_seeds(name: str, values: Mapping[int, float]) -> Part:
    """The mean of a value by seed, with its interval over seeds alone."""
    build_numbers = sorted({seed // OFFSET for seed in values})
    by_build = [
        float(np.mean([v for seed, v in values.items() if seed // OFFSET == build]))
        for build in build_numbers
    ]
    return Part(
        name,
        *mean_over_seeds(values.values()),
        0,
        len({seed % OFFSET for seed in values}),
        "seeds",
        freedom=max(1, len(values) - 1),
        by_build=tuple(by_build),
    )


def late_quality(evidence: Evidence, rule: Rule) -> list[Part]:
    """True quality late in long trainings with CME minus that at a quarter: sampled, and greedy if saved.

    A place counts where training on the ground truth keeps its quality: otherwise the fall is that of the training.
    """
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    truths: dict[str, list[RunRecord]] = {}
    for run in evidence.runs:
        where = generator_name(run.family, run.regime)
        if run.reward == "cme":
            groups.setdefault((where, f"{where}, verifier {verifier_name(run.verifier)}"), []).append(run)
        elif run.reward == TRUTH:
            truths.setdefault(where, []).append(run)
    parts = []
    for (where, name), runs in groups.items():
        controls = late_parts("", truths.get(where, []))
        for kind, part in late_parts(name, runs).items():
            reason = "" if kind in controls else NO_TRUTH
            if not reason and rule.sides([controls[kind]]) != ["supports"]:
                reason = f"quality falls with the ground truth too: {rule.format(controls[kind])}"
            parts.append(replace(part, insensitive=reason))
    return parts


LATE_QUALITY = Measure(
    "True quality (0 to 1) late in training minus that at a quarter of it",
    "no long run of CME with measured true quality",
    late_quality,
)


def late_parts(name: str, runs: Sequence[RunRecord]) -> dict[str, Part]:
    """The change of `sampled` and of `greedy` quality late in some trainings."""
    parts = {}
    if changes := {run.seed: change for run in runs if not isnan(change := late_change(run))}:
        parts["sampled"] = over_seeds(f"{name}: sampled", changes)
    if saved := [run for run in runs if len(greedy_quality(run)) > 2]:
        steps = {run.run_id: [step for step in greedy_quality(run) if step] for run in saved}
        early = {run: min(step for step in own if step >= max(own) / 4) for run, own in steps.items()}
        prompts = {prompt for run in saved if run.trajectory for prompt in run.trajectory.prompts}
        seeds, freedom = len({run.seed % OFFSET for run in saved}), max(1, len(saved) - 1)
        value, lo, hi, floored = greedy_change(saved, early)
        scope = PROMPTS_AND_SEEDS
        parts["greedy"] = Part(
            f"{name}: greedy", value, lo, hi, len(prompts), seeds, scope, freedom, floored=floored
        )
    return parts


def late_change(run: RunRecord) -> float:
    """Mean sampled quality over the last tenth of the steps minus that around a quarter of them; NaN if unknown."""
    quality = sampled_quality(run)
    tenth, quarter = len(quality) // 10, len(quality) // 4
    if not tenth or np.isnan(quality).all():
        return nan
    first = quarter - tenth // 2
    return float(np.nanmean(quality[-tenth:]) - np.nanmean(quality[first : first + tenth]))


def accuracy_change(published: str, with_random: bool = True) -> Measure:
    """The paired change of pass@1 of every cell of CME by verifier.

    The published sweep has no verifier with random weights, so the claim about it leaves them out. `published` is the
    published change, beside which the note states the change that these runs detect.
    """

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        measured = [run for run in (*evidence.runs, *evidence.controls) if run.accuracy is not None]
        truth = accuracy_parts([run for run in measured if run.reward == TRUTH_ANSWER])
        found = []
        runs = [run for run in evidence.runs if run in measured and run.reward.startswith("cme")]
        for verifier in sort_names(run.verifier for run in runs if with_random or run.verifier != "random"):
            own = accuracy_parts([run for run in runs if run.verifier == verifier])
            for (where, method), (part, room) in own.items():
                control = next((one for (there, _), (one, _) in truth.items() if there == where), None)
                named = replace(part, name=f"{where} {method}, verifier {verifier_name(verifier)}")
                found.append(rule.restrict(named, control, room))
        return found

    def note(_: Evidence, parts: Sequence[Part]) -> str:
        detectable = [part.detectable for part in parts if not isnan(part.lo)]
        if not detectable:
            return ""
        ends = dict.fromkeys(f"{end:.0f}" for end in (min(detectable), max(detectable)))
        return (
            f"With 80 % power these runs detect a change of {' to '.join(ends)} points; the published change is "
            f"{published}."
        )

    quantity = "Change of pass@1, in points, on the same prompts"
    return Measure(quantity, "no run of CME on mathematics", parts, note=note)


def accuracy_parts(runs: Sequence[RunRecord]) -> dict[tuple[str, str], tuple[Part, float]]:
    """The change of pass@1 of the final policies, and the room above the untrained model, by place and method."""
    found = {}
    for row in accuracy_frame(runs).to_dict("records") if runs else []:
        if row["policy"] != "final":
            continue
        part = widest_part(
            "",
            100 * row["change"],
            (100 * row["change_lo"], 100 * row["change_hi"], row["prompts"] - 1),
            (100 * row["across_seeds_lo"], 100 * row["across_seeds_hi"], row["seeds"] - 1),
            row["prompts"],
            row["seeds"],
            row["floored"],
        )
        where = f"{plain_name(row['data'])}: {generator_name(row['family'], row['regime'])}"
        found[where, row["method"]] = part, 100 * (1 - float(row["before"]))
    return found


# Facts that families have wrong, and signals of right responses


def fact_test(question: str, what: str) -> Measure:
    """A test of `analysis.experiments.independence`: a difference of shares of right facts, by family and build."""

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        facts = Facts(evidence.runs)
        tests = [test for test in facts.tests if test.question == question and test.values]
        seeds = len({run.seed % OFFSET for run in evidence.runs})
        return [
            Part(
                f"{test.one} minus {test.other}, {test.group} facts",
                *test.estimate,
                0,
                seeds,
                "families, builds",
                freedom=max(1, len(test.values) - 1),
                insensitive=test.untestable or without_room(facts, test, rule),
            )
            for test in tests
        ]

    return Measure(
        f"Share of the facts that greedy responses have right: {what}",
        "no run with a verifier of another family whose false beliefs are recorded",
        parts,
    )


def without_room(facts: Facts, test: FactTest, rule: Rule) -> str:
    """Why even a perfect policy (or, if the claim is that none becomes worse, the worst) would not pass the margin."""
    shares = facts.shares[test.other, test.group]
    reference = float(np.mean([shares[unit] for unit in test.values]))
    room, policy = (reference, "the worst") if rule.control == "gain" else (1 - reference, "a perfect")
    if room > rule.margin:
        return ""
    return f"even {policy} policy would differ by {room:.{rule.decimals}f} only"


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


# Judges and texts


def failure_parts(evidence: Evidence, _: Rule) -> list[Part]:
    """How far counting failed calls as ties would shift the win rates, cell by cell."""
    return [
        failure_part(comparison_name(cell), cell.win, len({run.seed % OFFSET for run in cell.controls.runs}))
        for cell in evidence.cells
        if cell.win.unscored
    ]


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
    cells = [cell for cell in evidence.select(APPARENT) if cell.win.rate > 50]
    return [rate_part(comparison_name(cell), cell) for cell in cells]


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
            rows = [
                (after - before, run.prompt_names[pair.prompt_id])
                for run in cell.controls.runs
                for pair in run.pairs
                if (before := value(pair.start)) is not None and (after := value(pair.policy)) is not None
            ]
            if rows:
                changes, prompts = zip(*rows, strict=True)
                change = tally(np.array(changes, dtype=float), np.array(prompts, dtype=object))
                number, seeds = len(change.prompts), number_of_seeds(cell.tally)
                estimate = difference_with_interval(change)
                found.append(Part(place(cell), *estimate, number, seeds, freedom=max(1, number - 1)))
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
