"""The measures of claims about true quality: sampled and greedy, and accuracy on mathematics.

`Sampled` quality is that of the completions drawn in training, by step; `greedy` quality is that of one greedy response
to each evaluation or selection prompt. They can differ, so every comparison names the one that it is about.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isnan, nan

import numpy as np

from analysis.claims.comparisons import NO_TRUTH, with_controls
from analysis.claims.evidence import (
    CME,
    TRUTH,
    TRUTH_ANSWER,
    Evidence,
    clustered_mean,
    greedy_qualities,
)
from analysis.claims.measures import Measure
from analysis.claims.parts import PROMPTS_AND_SEEDS, Part, choose_interval
from analysis.claims.rules import Rule
from analysis.records.builds import OFFSET
from analysis.records.frames import WINDOW
from analysis.records.names import generator_name, plain_name, sort_names, verifier_name
from analysis.stats.intervals import standard_error
from analysis.stats.metrics import MIN_SEEDS, across_seeds_half_width, difference_with_interval, tally
from analysis.stats.seeds import Component, combine_components, seed_component
from analysis.tables.accuracy import accuracy_frame
from analysis.tables.cells import Cell, by_build, number_of_seeds, place
from analysis.tables.trajectory import greedy_change, greedy_quality
from cme.records import RunRecord


def quality_gains(evidence: Evidence, rule: Rule) -> list[Part]:
    """Rise of true quality by training with CME, cell by cell: of greedy responses, and of sampled completions."""
    parts = []
    for cell in evidence.select(CME):
        truth = evidence.control(cell, TRUTH)
        for kind, rise in (("greedy", greedy_rise), ("sampled", sampled_rise)):
            found = rise(evidence, cell, f"{place(cell)}: {kind}")
            if found is not None:
                part, start = found
                control = None if truth is None else rise(evidence, truth, "")
                parts.append(with_controls(part, rule, None if control is None else control[0], 1 - start))
    return parts


def greedy_rise(evidence: Evidence, cell: Cell, name: str) -> tuple[Part, float] | None:
    """The policy's true quality minus the untrained model's on the evaluation prompts, and the latter's."""
    rows = [
        (after - before, before, prompt, run.seed)
        for run in evidence.runs_of(cell)
        for prompt, (before, after) in greedy_qualities(run).items()
    ]
    if not rows:
        return None
    changes, starts, prompts, seeds = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    change = tally(changes.astype(float), prompts, seeds.astype(int))
    value, lo, hi = difference_with_interval(change)
    own = Component(standard_error(change.deviations), max(1, len(change.prompts) - 1), False)
    half, width = nan, own
    if len(change.seeds) >= MIN_SEEDS:
        half, width = across_seeds_half_width(change), combine_components(own, seed_component(change.means))
    lo, hi, scope, freedom = choose_interval(
        (lo, hi, own.freedom), (value - half, value + half, width.freedom)
    )
    part = Part(
        name,
        value,
        lo,
        hi,
        len(change.prompts),
        number_of_seeds(change),
        scope,
        freedom,
        floored=width.floored,
        by_build=tuple(one.rate for one in by_build(change).values()),
    )
    return part, float(starts.astype(float).mean())


def sampled_rise(evidence: Evidence, cell: Cell, name: str) -> tuple[Part, float] | None:
    """Mean true quality of the completions of the last steps minus that of the first ones, and the latter.

    The interval is over seeds.
    """
    ends = {}
    for run in evidence.runs_of(cell):
        quality = np.array([np.nan if v is None else v for v in run.history.get("quality", [])], dtype=float)
        if len(quality) >= 2 * WINDOW and not np.isnan(quality).all():
            ends[run.seed] = float(np.nanmean(quality[:WINDOW])), float(np.nanmean(quality[-WINDOW:]))
    if not ends:
        return None
    return over_seeds(name, {seed: late - early for seed, (early, late) in ends.items()}), float(
        np.mean([early for early, _ in ends.values()])
    )


def over_seeds(name: str, values: dict[int, float]) -> Part:
    """The mean of a value by seed, with its interval over seeds alone."""
    mean = clustered_mean([[value] for value in values.values()])
    builds = sorted({seed // OFFSET for seed in values})
    by_build = [float(np.mean([v for seed, v in values.items() if seed // OFFSET == b])) for b in builds]
    seeds = len({seed % OFFSET for seed in values})
    return Part(name, *mean, 0, seeds, "seeds", freedom=max(1, len(values) - 1), by_build=tuple(by_build))


QUALITY_GAINS = Measure(
    "True quality (0 to 1) after training minus before",
    "no run of CME with known true quality",
    quality_gains,
)


def late_quality_parts(evidence: Evidence, rule: Rule) -> list[Part]:
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
            if not reason and rule.side(controls[kind]) != "supports":
                reason = f"quality falls with the ground truth too: {rule.format(controls[kind])}"
            parts.append(replace(part, insensitive=reason))
    return parts


def late_parts(name: str, runs: Sequence[RunRecord]) -> dict[str, Part]:
    """The change of `sampled` and of `greedy` quality late in some trainings."""
    parts = {}
    changes = {run.seed: change for run in runs if (change := late_change(run)) is not None}
    if changes:
        parts["sampled"] = over_seeds(f"{name}: sampled", changes)
    if saved := [run for run in runs if len(greedy_quality(run)) > 2]:
        steps = {run.run_id: [step for step in greedy_quality(run) if step] for run in saved}
        early = {run: min(step for step in own if step >= max(own) / 4) for run, own in steps.items()}
        prompts = {prompt for run in saved if run.trajectory for prompt in run.trajectory.prompts}
        rise = greedy_change(saved, early)
        seeds = len({run.seed % OFFSET for run in saved})
        parts["greedy"] = Part(
            f"{name}: greedy",
            *rise,
            len(prompts),
            seeds,
            PROMPTS_AND_SEEDS,
            freedom=max(1, len(saved) - 1),
        )
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


def accuracy_change(published: str, with_random: bool = True) -> Measure:
    """The paired change of pass@1 of every cell of CME by verifier; across seeds if there are enough.

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
                found.append(with_controls(named, rule, control, room))
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
        lo, hi, scope, freedom = choose_interval(
            (100 * row["change_lo"], 100 * row["change_hi"], row["prompts"] - 1),
            (100 * row["across_seeds_lo"], 100 * row["across_seeds_hi"], row["seeds"] - 1),
        )
        part = Part("", 100 * row["change"], lo, hi, row["prompts"], row["seeds"], scope, freedom)
        where = f"{plain_name(row['data'])}: {generator_name(row['family'], row['regime'])}"
        found[where, row["method"]] = part, 100 * (1 - float(row["before"]))
    return found
