"""The course of a training in blocks of steps: peak, fall, collapse and later changes, with intervals over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind_from_stats

from analysis.experiments.base import UNKNOWN, Estimate
from analysis.records.builds import seed_names
from analysis.records.frames import IDENTITY, WINDOW, history_frame
from analysis.stats.intervals import Floats, standard_error, t_interval
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.trajectory import (
    collapse_of,
    collapse_step,
    greedy_change,
    greedy_quality,
    trajectory_frame,
)
from cme.records import RunRecord

BLOCK = 20  # steps
COLUMNS = (
    *("quality", "heldout", "reward_value", "reward_beside", "gap", "kl"),
    *("majority_share", "label_accuracy"),
)
RISES = ("reward_beside", "heldout", "gap", "quality")
"""Measured from the start to the last block; the first three only at steps that have all of them."""
LATER = ("quality", "reward_value", "heldout")
"""Measured since the peak of quality, and over the second half."""
BLOCKS_NOTE = (
    f"Training is summarised by means over blocks of {BLOCK} steps; the start is the mean of the first {WINDOW} steps. "
    "These are completions sampled in training, for training prompts."
)
COLLAPSE_NOTE = (
    f"Collapse: the end of the first block of {BLOCK} steps from which on true quality lies below the start's (Welch's "
    "95 % interval over steps) until the end, by seed; - means no collapse."
)
COLLAPSED = 0.01
MODEL_COLLAPSE_NOTE = (
    "Model Collapse Step (He et al. 2026, arXiv 2603.08660, by its summaries): the first step at which accuracy is "
    f"below {COLLAPSED:.0%}; accuracy is the share of groups whose most common answer is right where there are "
    f"answers, else true quality, each as a running mean over {WINDOW} steps. Half of peak: the first step at which "
    "that mean is below half of its highest value so far (ours, since a share of parts need not come near 0). By seed; "
    "> means not within the training."
)

Course = dict[str, Any]
"""The course of one method's runs: estimates and texts by name."""


def estimate_of(course: Course, name: str) -> Estimate:
    """A measure of a course; unknown if no run has it."""
    estimate: Estimate = course.get(name, UNKNOWN)
    return estimate


def flatten(course: Mapping[str, Any]) -> dict[str, Any]:
    """A course as a row of a frame: each estimate as the columns `name`, `name_lo` and `name_hi`."""
    row: dict[str, Any] = {}
    for name, value in course.items():
        if isinstance(value, Estimate):
            row |= dict(zip((name, f"{name}_lo", f"{name}_hi"), value, strict=True))
        else:
            row[name] = value
    return row


def monitored_history(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """The history with `gap`: the trained reward minus the held-out verifier's value at the steps that have both.

    `reward_beside` is the reward at these steps alone, so both are measured on the same completions.
    """
    history = history_frame(runs)
    return history.assign(
        reward_beside=history["reward_value"].where(history["heldout"].notna()),
        gap=history["reward_value"] - history["heldout"],
    )


def block_means(history: pd.DataFrame) -> pd.DataFrame:
    """One row per run and whole block of BLOCK steps, with the means of the known values; block 0 is the start.

    `step` is the last step of the block. `sqrt_kl` is the root of the block's mean KL divergence, 0 at the start.
    """
    numbered = history.assign(block=np.ceil(history["step"] / BLOCK).astype(int))
    whole = numbered[numbered.groupby(["run_id", "block"])["step"].transform("size") == BLOCK]
    start = numbered.groupby("run_id").head(WINDOW).assign(block=0)
    blocks = pd.concat([start, whole]).groupby([*IDENTITY, "method", "block"], sort=False)
    means = blocks[[name for name in COLUMNS if name in history]].mean().reset_index()
    root = np.sqrt(means["kl"].clip(lower=0)).where(means["block"] > 0, 0.0)
    return means.assign(step=means["block"] * BLOCK, sqrt_kl=root)


def runs_by_block(blocks: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of one method's blocks with runs as rows and blocks as columns, NaN after a run's end."""
    return blocks.pivot(index="run_id", columns="block", values=column)


def mean_over_seeds(values: Iterable[float]) -> Estimate:
    """The mean of the known values with its 95 % t interval, whose bounds are NaN below MIN_SEEDS."""
    known = np.array([value for value in values if not np.isnan(value)], dtype=float)
    if len(known) < MIN_SEEDS:
        return Estimate(float(known.mean()) if len(known) else nan, nan, nan)
    mean = float(known.mean())
    return Estimate(mean, *t_interval(mean, standard_error(known - mean), len(known)))


def peaks(quality: pd.DataFrame) -> pd.Series:
    """The column of each run's peak: where the mean of the *other* runs is highest, so its own luck plays no part.

    `quality` has runs as rows, and blocks or steps as columns. Only those that the run has count, the start among them.
    """
    found = {}
    for run, own in quality.iterrows():
        others = quality.drop(index=run) if len(quality) > 1 else quality
        found[run] = others.loc[:, own.notna()].mean().idxmax()
    return pd.Series(found, dtype=int)


def values_at(table: pd.DataFrame, column: pd.Series) -> Floats:
    """Each run's value in a column of its own."""
    return np.array([table.loc[run, column[run]] for run in table.index], dtype=float)


def levels(quality: pd.DataFrame, peak: pd.Series, last: pd.Series, prefix: str = "") -> Course:
    """Quality at the start, the peak and the end, and the rise to the peak; `quality` and `peak` as in `peaks`."""
    start = pd.Series(0, index=last.index)
    landmarks = {"start": start, "peak": peak, "final": last}
    found = {f"{prefix}{name}": mean_over_seeds(values_at(quality, at)) for name, at in landmarks.items()}
    rise = mean_over_seeds(values_at(quality, peak) - values_at(quality, start))
    return found | {f"{prefix}rise_to_peak": rise}


def last_blocks(blocks: pd.DataFrame) -> pd.Series:
    """The last block of each run."""
    return blocks.groupby("run_id")["block"].max()


def rise_since(blocks: pd.DataFrame, column: str, origin: pd.Series) -> Estimate:
    """How far a column rose from each run's block of origin to its last block, over the seeds of one method."""
    table = runs_by_block(blocks, column)
    return mean_over_seeds(values_at(table, last_blocks(blocks)) - values_at(table, origin))


def collapse_end(history: pd.DataFrame) -> int | None:
    """The last step of the first block from which on one run's true quality lies below its start's until the end.

    Returns None without a collapse. Blocks that are not whole are left out.
    """
    known = history.dropna(subset=["quality"]).sort_values("step")
    start = known["quality"].head(WINDOW).to_numpy(float)
    ends, worse = [], []
    for block, steps in known.groupby(np.ceil(known["step"] / BLOCK).astype(int)):
        if len(steps) == BLOCK:
            ends.append(int(block) * BLOCK)
            worse.append(is_lower(steps["quality"].to_numpy(float), start))
    return collapse_step(ends, worse)


def is_lower(values: Floats, others: Floats) -> bool:
    """Whether the 95 % interval of the difference in means (Welch 1947) lies below 0."""
    if min(len(values), len(others)) < 2:
        return False
    if np.ptp(values) == np.ptp(others) == 0:
        return bool(values.mean() < others.mean())
    sides = [(side.mean(), side.std(ddof=1), len(side)) for side in (values, others)]
    test = ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False)
    return bool(test.statistic < 0 and test.pvalue < 0.05)


def first_step_below(history: pd.DataFrame, of_peak: float | None = None) -> str:
    """The Model Collapse Step of one run, such as `120`; `>240` if there is none in 240 steps, `n/a` if unmeasured.

    With `of_peak`, the first step below that share of the highest value so far.
    """
    graded = history["label_accuracy"].notna().any()
    measured = history.set_index("step")["label_accuracy" if graded else "quality"].dropna().sort_index()
    means = measured.rolling(WINDOW).mean().dropna()
    if means.empty:
        return "n/a"
    below = means[means < (COLLAPSED if of_peak is None else of_peak * means.cummax())]
    return str(int(below.index[0])) if len(below) else f">{int(means.index[-1])}"


def courses(runs: Sequence[RunRecord], labels: Mapping[str, str]) -> list[Course]:
    """The course of each label's runs, in the order of the labels.

    `start`, `peak` and `final` are true quality; `fall` is peak minus final, paired by run. `peak_steps` and
    `collapse_steps` are listed by seed. Runs without true quality and runs without a whole block are left out and
    counted in `left_out`.
    """
    history, found = monitored_history(runs), []
    for label in dict.fromkeys(labels.values()):
        own = [run for run in runs if labels[run.run_id] == label]
        mine = history[history["run_id"].isin([run.run_id for run in own])]
        found.append({"label": label} | course_of(mine, own))
    return found


def course_of(history: pd.DataFrame, runs: Sequence[RunRecord]) -> Course:
    """The course of one method's runs."""
    blocks = block_means(history)
    trained = set(blocks.loc[blocks["block"] > 0, "run_id"])
    measured = set(blocks.loc[blocks["block"].eq(0) & blocks["quality"].notna(), "run_id"])
    kept = [run for run in runs if run.run_id in trained & measured]
    course: Course = {
        "seeds": seed_names(run.seed for run in kept),
        "left_out": len(runs) - len(kept),
        "stopped": " ".join("-" if run.stopped is None else str(run.last_step) for run in kept),
        "peak_steps": "n/a",
        "collapse_steps": "n/a",
        "model_collapse_steps": "n/a",
        "half_of_peak_steps": "n/a",
    }
    if not kept:
        return course
    blocks = blocks[blocks["run_id"].isin([run.run_id for run in kept])]
    quality = runs_by_block(blocks, "quality")
    peak, last = peaks(quality), last_blocks(blocks)
    collapses = [collapse_end(history[history["run_id"] == run.run_id]) for run in kept]
    course["peak_steps"] = " ".join(str(peak[run.run_id] * BLOCK) for run in kept)
    course["collapse_steps"] = " ".join("-" if step is None else str(step) for step in collapses)
    by_run = [history[history["run_id"] == run.run_id] for run in kept]
    course["model_collapse_steps"] = " ".join(map(first_step_below, by_run))
    course["half_of_peak_steps"] = " ".join(first_step_below(own, of_peak=0.5) for own in by_run)
    course |= levels(quality, peak, last)
    course["fall"] = mean_over_seeds(values_at(quality, peak) - values_at(quality, last))
    for name in LATER:
        course[f"since_peak_{name}"] = rise_since(blocks, name, peak)
        course[f"second_half_{name}"] = rise_since(blocks, name, last // 2)
    for name in RISES:
        course[f"rise_{name}"] = rise_since(blocks, name, 0 * last)
    return course


def greedy_steps(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per run and saved checkpoint, the start at step 0: `greedy`, the mean true quality of its responses."""
    rows = [
        (run.run_id, step, float(quality.mean()))
        for run in runs
        for step, quality in greedy_quality(run).items()
    ]
    return pd.DataFrame(rows, columns=["run_id", "step", "greedy"])


def greedy_course(runs: Sequence[RunRecord]) -> Course:
    """The course of the greedy responses of one method's saved checkpoints; empty if none has known quality.

    As in `courses`, with the prefix `greedy_`; `greedy_second_half_quality` is since the first checkpoint at half of
    the steps or later. The intervals of fall and second half are over seeds and prompts.
    `greedy_since_peak_reward_value` is the trained reward's rise from the peak's block to the last one.
    """
    runs = [run for run in runs if greedy_quality(run)]
    if not runs:
        return {}
    quality = greedy_steps(runs).pivot(index="run_id", columns="step", values="greedy")
    quality = quality.loc[[run.run_id for run in runs]]
    last = quality.apply(lambda values: values.last_valid_index(), axis=1)
    steps = {run.run_id: [step for step in greedy_quality(run) if step] for run in runs}
    half = {run: min(step for step in own if step >= own[-1] / 2) for run, own in steps.items()}
    peak = peaks(quality)
    rise, lo, hi = greedy_change(runs, {run.run_id: int(peak[run.run_id]) for run in runs})
    blocks = block_means(monitored_history(runs))
    origin = np.ceil(peak / BLOCK).astype(int).clip(upper=last_blocks(blocks))
    saved = trajectory_frame(runs)
    collapses = [collapse_of(saved[saved["run_id"] == run.run_id], "quality") for run in runs]
    return {
        **levels(quality, peak, last, "greedy_"),
        "greedy_fall": Estimate(0 - rise, 0 - hi, 0 - lo),
        "greedy_second_half_quality": Estimate(*greedy_change(runs, half)),
        "greedy_since_peak_reward_value": rise_since(blocks, "reward_value", origin),
        "greedy_seeds": seed_names(run.seed for run in runs),
        "greedy_peak_steps": " ".join(str(peak[run.run_id]) for run in runs),
        "greedy_collapse_steps": " ".join("-" if step is None else str(step) for step in collapses),
    }
