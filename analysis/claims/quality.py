"""Measures of true quality, accuracy, facts and signals, each with its interval and its controls.

`sampled` quality is that of the completions drawn in training, by step; `greedy` is that of one greedy response to each
evaluation or selection prompt. They can differ, so every comparison names the one that it is about.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan

import numpy as np

from analysis.claims.claim import Measure
from analysis.claims.evidence import CME, TRUTH, TRUTH_ANSWER, Evidence
from analysis.claims.parts import Part, change_part, contrast_part, paired_part
from analysis.claims.rules import NO_TRUTH, Rule
from analysis.experiments.facts import OTHER, Facts, FactTest
from analysis.records.builds import OFFSET
from analysis.records.ceiling import true_quality
from analysis.records.frames import WINDOW
from analysis.records.grouping import group_by
from analysis.records.names import generator_name, plain_name, sort_names, verifier_name
from analysis.records.relations import CONTROLS
from analysis.stats import auroc
from analysis.stats.contrasts import paired_change
from analysis.tables.accuracy import accuracy_cells, correct_by_prompt
from analysis.tables.cells import Cell, place
from analysis.tables.render import mean_over_seeds
from analysis.tables.separation import Separation
from analysis.tables.training.courses import SAMPLED, greedy_since_peak, sampled_since_peak
from analysis.tables.training.trajectory import greedy_quality
from cme.records import RunRecord


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
    qualities = [
        (before, after, prompt, run.seed)
        for run in cell.controls.runs
        for prompt, (before, after) in true_quality(run).items()
    ]
    if not qualities:
        return None
    part = paired_part(name, [(after - before, prompt, seed) for before, after, prompt, seed in qualities])
    return part, float(np.mean([before for before, *_ in qualities]))


def sampled_rise(cell: Cell, name: str) -> tuple[Part, float] | None:
    """Mean true quality of the completions of the last steps minus that of the first ones, and the latter."""
    ends = {}
    for run in cell.controls.runs:
        quality = np.array(run.history.get("quality", []), dtype=float)  # NaN where it was not measured
        if len(quality) >= 2 * WINDOW and not np.isnan(quality).all():
            ends[run.seed] = float(np.nanmean(quality[:WINDOW])), float(np.nanmean(quality[-WINDOW:]))
    if not ends:
        return None
    part = over_seeds(name, {seed: late - early for seed, (early, late) in ends.items()})
    return part, float(np.mean([early for early, _ in ends.values()]))


def over_seeds(name: str, values: Mapping[int, float]) -> Part:
    """The mean of a value by seed, with its interval over seeds alone."""
    by_build = group_by(sorted(values), lambda seed: seed // OFFSET).values()
    return Part(
        name,
        *mean_over_seeds(values.values()),
        prompts=0,
        seeds=len({seed % OFFSET for seed in values}),
        scope="seeds",
        freedom=max(1, len(values) - 1),
        by_build=tuple(float(np.mean([values[seed] for seed in seeds])) for seeds in by_build),
    )


def since_peak(responses: str) -> Measure:
    """True quality at the end of long trainings with CME minus that at its peak, of `sampled` or `greedy` responses.

    A place counts where training on the ground truth keeps its quality: otherwise the fall is that of the training.
    """

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        groups: dict[tuple[str, str], list[RunRecord]] = {}
        truths: dict[str, list[RunRecord]] = {}
        for run in evidence.runs:
            where = generator_name(run.family, run.regime)
            if run.reward == "cme":
                name = f"{where}, verifier {verifier_name(run.verifier)}: {responses}"
                groups.setdefault((where, name), []).append(run)
            elif run.reward == TRUTH:
                truths.setdefault(where, []).append(run)
        found = []
        for (where, name), runs in groups.items():
            control = change_since_peak("", truths[where], responses) if where in truths else None
            reason = "" if control else NO_TRUTH
            if control and rule.sides([control]) != ["supports"]:
                reason = f"the ground truth does not pass the same test: {rule.format(control)}"
            if part := change_since_peak(name, runs, responses):
                found.append(replace(part, insensitive=reason))
        return found

    return Measure(
        f"True quality (0 to 1) of {responses} responses at the end of training minus that at its peak",
        f"no long run of CME with measured true quality of {responses} responses",
        parts,
    )


def change_since_peak(name: str, runs: Sequence[RunRecord], responses: str) -> Part | None:
    """The change of quality since the peak, as the table of over-optimisation has it; None if it was not measured."""
    if responses == SAMPLED:
        changes = sampled_since_peak(runs)
        return over_seeds(name, changes) if changes else None
    saved = [run for run in runs if greedy_quality(run)]
    return change_part(name, greedy_since_peak(saved)) if saved else None


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
    for (data, family, regime, _, method), own in accuracy_cells(runs).items():
        start, after = correct_by_prompt(own)
        part = contrast_part("", paired_change(start, after), after, start)
        where = f"{plain_name(data)}: {generator_name(family, regime)}"
        found[where, method] = part, 100 * (1 - start.rate)
    return found


def fact_test(question: str, what: str) -> Measure:
    """A test of `analysis.experiments.independence`: a difference of shares of right facts, by family and build."""

    def parts(evidence: Evidence, rule: Rule) -> list[Part]:
        facts = Facts(evidence.runs)
        tests = [test for test in facts.tests if test.question == question and test.values]
        seeds = len({run.seed % OFFSET for run in evidence.runs if run.reward not in CONTROLS})
        return [
            Part(
                f"{OTHER} minus {test.against}, {test.group} facts",
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
    shares = facts.shares[test.against, test.group]
    reference = float(np.mean([shares[unit] for unit in test.values]))
    room, policy = (reference, "the worst") if rule.control == "gain" else (1 - reference, "a perfect")
    if room > rule.margin:
        return ""
    return f"even {policy} policy would differ by {room:.{rule.decimals}f} only"


def separation(quantity: str, signal: str, baseline: str = "") -> Measure:
    """AUROC of a signal for wrong against right responses, or its difference from another signal's, by generator.

    Of several builds it is the mean. Their prompts are the same, so its interval is the mean of theirs: it holds
    however they correlate.
    """

    def parts(evidence: Evidence, _: Rule) -> list[Part]:
        measured: dict[tuple[str, int], list[auroc.Estimate]] = {}
        repeats: Counter[tuple[str, int]] = Counter()  # further records of one build are no replicates
        for one in map(Separation, evidence.separation):
            if signal not in one.values or (baseline and baseline not in one.values):
                continue
            if baseline:
                pooled = auroc.pooled_difference(*one.wins(signal, baseline))
            else:
                pooled = auroc.pooled_auroc(*one.wins(signal))
            record = one.record
            name = f"{plain_name(record.data)}: {one.generator}, verifier {verifier_name(record.verifier)}"
            measured.setdefault((name, repeats[name, record.build]), []).append(pooled)
            repeats[name, record.build] += 1
        found = []
        for (name, _repeat), builds in measured.items():
            value, lo, hi = np.mean([(one.value, one.lo, one.hi) for one in builds], axis=0).tolist()
            prompts, by_build = min(one.prompts for one in builds), tuple(one.value for one in builds)
            limits = (-1, 1) if baseline else (0, 1)
            part = Part(name, value, lo, hi, prompts, 1, freedom=max(1, prompts - 1), by_build=by_build)
            found.append(replace(part, limits=limits))
        return found

    missing = "no record of separation has these signals over these spans"
    return Measure(f"Pooled AUROC{quantity}", missing, parts)
