"""Saved checkpoints during training: the selected one and its gain, the collapse, and greedy quality by step.

The trajectory (win rate and true quality by step) uses the selection prompts. Its best checkpoint is partly chosen by
chance, so the selected and the final policy are compared on the evaluation prompts alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.builds import seed_names
from analysis.records.frames import run_identity, verdicts_frame
from analysis.records.names import judge_label, method_names, sort_names
from analysis.stats.intervals import Floats, clustered_interval, interval_excludes
from analysis.stats.win_rates import Tally, is_undecided, known_mean, tally, win_rate
from analysis.tables.accuracy import PLACE
from analysis.tables.cell_tables import NEVER_BOLD
from analysis.tables.judging.judges import order_columns, rate_of
from analysis.tables.render import Column, Entry, Estimate, Table, build_table, format_estimate
from cme.records import CheckpointResult, RunRecord, Trajectory, majority_verdicts

MEASURES = {"win_rate": "win rate against the start (%)", "quality": "true quality (0 to 1)"}
TENTHS = 10
"""Number of parts of a training in which `fall_after_peak` looks for the highest quality."""


def trajectory_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per run and checkpoint: win rate in percent and true quality on the selection prompts, with intervals.

    Step 0 is the untrained model, whose win rate against itself is 50 by definition. `gain` is the paired difference
    in quality from the start. NaN without an oracle.
    """
    names, rows = method_names(records), []
    for record in records:
        path = record.trajectory
        if path is None:
            continue
        identity = run_identity(record, names) | {"selection_judge": path.judge}
        rows.append(identity | {"step": 0} | pool_checkpoints([path], 0))
        for step in (checkpoint.step for checkpoint in path.checkpoints):
            selected = record.selected is not None and record.selected.step == step
            rows.append(identity | {"step": step, "selected": selected} | pool_checkpoints([path], step))
    return pd.DataFrame(rows)


def pool_checkpoints(paths: Sequence[Trajectory], step: int) -> dict[str, float]:
    """Win rate and quality at a step of one or several runs, pooled, with intervals over prompts; step 0 is the start.

    A prompt counts in a run's win rate only if all of its verdicts are scored.
    """
    prompts = selection_prompts(paths)
    start, quality = (np.concatenate([quality_at(path, at) for path in paths]) for at in (0, step))
    measures = mean_estimate(quality, prompts).columns("quality")
    if step == 0:
        return Estimate(50.0, 50.0, 50.0).columns("win_rate") | measures
    rows = [
        (nan if point is None else point, prompt, None in of_prompt and point is not None)
        for path in paths
        for prompt, of_prompt in zip(path.prompts, checkpoint_at(path, step).points, strict=True)
        for point in of_prompt
    ]
    points, judged_prompts, half = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    win = win_rate(points.astype(float), judged_prompts, half.astype(bool))
    return {
        **Estimate(win.rate, win.lo, win.hi).columns("win_rate"),
        "win_rate_open": win.open,
        "unscored": win.unscored,
        "half_scored": win.half_scored,
        **measures,
        **mean_estimate(quality - start, prompts).columns("gain"),
    }


def checkpoint_at(path: Trajectory, step: int) -> CheckpointResult:
    """The checkpoint that was saved at a step."""
    return next(checkpoint for checkpoint in path.checkpoints if checkpoint.step == step)


def quality_at(path: Trajectory, step: int) -> Floats:
    """True quality (prompts,) at a saved step, of the start at 0; NaN without an oracle."""
    values = checkpoint_at(path, step).quality if step else path.start_quality
    return np.full(len(path.prompts), nan) if values is None else np.array(values, dtype=float)


def mean_estimate(values: Floats, prompts: NDArray[np.object_]) -> Estimate:
    """The mean of the known values with its interval over prompts."""
    return Estimate(known_mean(values), *clustered_interval(values, prompts))


def selection_prompts(paths: Sequence[Trajectory]) -> NDArray[np.object_]:
    """The selection prompts of some runs, one after the other."""
    return np.array([prompt for path in paths for prompt in path.prompts], dtype=object)


def fall_after_peak(run: RunRecord) -> str | None:
    """Where the quality of sampled completions was highest and what it was in the end, in words; None without a fall.

    The steps are divided into TENTHS parts of equal length. A fall is a difference between the best part and the last
    above three standard errors, so that the best of ten noisy parts does not count.
    """
    values = np.array(run.history.get("quality", []), dtype=float)  # None as NaN
    size = len(values) // TENTHS
    if size < 2 or np.isnan(values).any():
        return None
    parts = values[len(values) - TENTHS * size :].reshape(TENTHS, size)
    means, variances = parts.mean(axis=1), parts.var(axis=1, ddof=1) / size
    best = int(means.argmax())
    if means[best] - means[-1] <= 3 * np.sqrt(variances[best] + variances[-1]):
        return None
    last = len(values) - (TENTHS - 1 - best) * size
    steps = [run.history["step"][place - 1] for place in (last - size + 1, last)]
    return f"{means[best]:.2f} at steps {steps[0]:g} to {steps[1]:g}, {means[-1]:.2f} in the end"


def greedy_quality(run: RunRecord) -> dict[int, Floats]:
    """True quality (prompts,) of greedy responses by step, with the start at 0; empty without checkpoints or oracle.

    The prompts are the selection prompts, in the order of the run's trajectory.
    """
    path = run.trajectory
    if path is None or path.start_quality is None:
        return {}
    known = [checkpoint.step for checkpoint in path.checkpoints if checkpoint.quality is not None]
    return {step: quality_at(path, step) for step in (0, *known)}


def greedy_changes(runs: Sequence[RunRecord], origin: Mapping[str, int]) -> Tally:
    """Rise of greedy quality from each run's checkpoint of origin to its last one, by prompt and seed.

    `origin` gives a step by run id.
    """
    changes = [
        quality[max(quality)] - quality[origin[run.run_id]]
        for run, quality in ((run, greedy_quality(run)) for run in runs)
    ]
    prompts = selection_prompts([run.trajectory for run in runs if run.trajectory])
    seeds = np.repeat([run.seed for run in runs], [len(change) for change in changes])
    return tally(np.concatenate(changes), prompts, seeds)


def collapse_of(run: pd.DataFrame, measure: str) -> int | str | None:
    """The first checkpoint of one run's rows from which on all are significantly worse than the start.

    By `win_rate`, its interval lies below 50 % for any outcome of the unscored verdicts; by `quality`, that of the
    paired difference lies below 0. A checkpoint without an interval, such as an unscored one, is skipped and not a
    recovery; "n/a" if none has one. A training that the collapse guard stopped is no collapse by itself, since it may
    have stopped with nothing left to learn.
    """
    bound, level = {"win_rate": ("win_rate_hi", 50), "quality": ("gain_hi", 0)}[measure]
    checkpoints = run[run["step"] > 0].dropna(subset=[bound]).sort_values("step")
    if checkpoints.empty:
        return "n/a"
    worse = checkpoints[bound] < level
    if measure == "win_rate":
        worse &= ~checkpoints["win_rate_open"].astype(bool)
    all_worse_from = worse[::-1].cummin()[::-1]
    steps = checkpoints.loc[all_worse_from, "step"]
    return None if steps.empty else int(steps.iloc[0])


def trajectory_table(records: Sequence[RunRecord]) -> Table:
    """The runs of one scale that have a trajectory: final and selected policy, and the step of a collapse."""
    frame = trajectory_frame(records)
    by_id = {record.run_id: record for record in records}
    groups: dict[str, list[dict[str, Any]]] = {}
    place = ["family", "regime", "reward", "method", "judge", "selection_judge"]
    for key, rows in frame.groupby(place, sort=False):
        runs = [by_id[run] for run in dict.fromkeys(rows["run_id"])]
        final, selected = (judged_policies(runs, policy) for policy in ("final", "selected"))
        complete = all(run.selected is not None for run in runs)
        cell = {"runs": runs, "final": final, "selected": selected if complete else selected.iloc[:0]}
        groups.setdefault(str(key[0]), []).append(cell | dict(zip(place, key, strict=True)))

    def steps(step: Callable[[RunRecord], int | str | None]) -> Callable[[dict[str, Any]], str]:
        return lambda cell: steps_text(step(run) for run in cell["runs"])

    def collapse(measure: str) -> Callable[[dict[str, Any]], str]:
        return steps(lambda run: collapse_of(frame[frame["run_id"] == run.run_id], measure))

    judges = sort_names(judge_label(run.judge) for run in records if run.trajectory)
    selection_judges = sort_names(judge_label(run.trajectory.judge) for run in records if run.trajectory)
    return build_table(
        name="selection",
        title=f"Final and selected checkpoint (scale: {records[0].scale})",
        columns=[
            *PLACE,
            Column("seeds", lambda cell: seed_names(run.seed for run in cell["runs"])),
            Column("final (%)", lambda cell: win_rate_entry(cell["final"])),
            Column("selected (%)", lambda cell: win_rate_entry(cell["selected"])),
            Column("selected - final", lambda cell: gain_entry(cell["final"], cell["selected"])),
            Column("selected at step", steps(lambda run: run.selected.step if run.selected else None)),
            Column("collapse: win rate", collapse("win_rate")),
            Column("collapse: quality", collapse("quality")),
            Column("stopped at step", steps(lambda run: None if run.stopped is None else run.last_step)),
        ],
        groups=groups.values(),
        notes=[
            f"Final, selected: win rate on the evaluation prompts, judged by {', '.join(judges)}, all seeds pooled; in "
            f"brackets the 95 % CI over prompts. Bold: it excludes 50 %, {NEVER_BOLD} prompts.",
            "Selected: the checkpoint with the highest win rate against the start on the selection prompts, judged by "
            f"{', '.join(selection_judges)}; none of these is an evaluation prompt. The earliest one in a tie.",
            "Selected - final: in percentage points, paired by comparison; its CI is bootstrapped by "
            f"prompt. Bold: it excludes 0, {NEVER_BOLD} prompts.",
            "Collapse: the first saved checkpoint from which on all are significantly worse than the start, on the "
            "selection prompts, by seed; - for no collapse. Unscored checkpoints are skipped. "
            "Stopped: the collapse guard ended the training.",
            *verdict_notes(records),
        ],
    )


def judged_policies(runs: Sequence[RunRecord], policy: str) -> pd.DataFrame:
    """The verdicts of the runs' own judges, of a panel its majority's, on the `final` or the `selected` policy."""
    judged = []
    for run in runs:
        verdicts = run.verdicts
        if policy == "selected" and run.selected and run.selected.verdicts is not None:
            verdicts = run.selected.verdicts  # None: the final policy was selected
        judged.append(replace(run, verdicts=majority_verdicts(verdicts) or verdicts, further_judges=None))
    return verdicts_frame(judged)


def verdict_notes(records: Sequence[RunRecord]) -> list[str]:
    """Notes on verdicts left out of the win rates of final and selected policies, and on panels."""
    also_selected = [run for run in records if run.selected is not None and run.selected.verdicts is not None]
    judged = [judged_policies(records, "final"), judged_policies(also_selected, "selected")]
    unscored = sum(int(frame["points"].isna().sum()) for frame in judged)
    half = sum(int(order_columns(frame)[-1].sum()) for frame in judged)
    panel = any(frame["panel"].notna().any() for frame in judged)
    return [
        *(["The verdict of a panel is that of its majority."] if panel else []),
        *([f"{unscored} of {sum(map(len, judged))} verdicts are unscored and left out."] if unscored else []),
        *([f"{half} more are left out, because their pair is unscored in the other order."] if half else []),
    ]


def win_rate_entry(verdicts: pd.DataFrame) -> Entry:
    """A win rate with its interval; n/a without a verdict."""
    if verdicts.empty:
        return Entry("n/a")
    win = rate_of(verdicts)
    return Entry(format_estimate(win.rate, win.lo, win.hi), bold=not is_undecided(win))


def gain_entry(final: pd.DataFrame, selected: pd.DataFrame) -> Entry:
    """The difference between two policies' win rates, paired by comparison, with its interval."""
    key = ["run_id", "prompt_id", "policy_first", "judge"]
    pairs = final.merge(selected[[*key, "points"]], "left", on=key, suffixes=("_final", ""))
    gains = pairs.assign(points=pairs["points"] - pairs["points_final"])
    values, _, _, half = order_columns(gains)
    counted = ~np.isnan(values) & ~half
    if not counted.any():
        return Entry("n/a")
    gained, prompts = 100 * values[counted], gains["prompt_id"].to_numpy(object)[counted]
    lo, hi = clustered_interval(gained, prompts)
    # an unscored comparison would add between -1 and 1
    certain = bool(abs(np.nansum(values)) > np.isnan(values).sum())
    bold = certain and interval_excludes(lo, hi, 0, len(set(prompts)), decimals=1)
    return Entry(format_estimate(gained.mean(), lo, hi, sign="+"), bold)


def steps_text(steps: Iterable[int | str | None]) -> str:
    """Steps in the order of the seeds; - for none."""
    return " ".join("-" if step is None else str(step) for step in steps)
