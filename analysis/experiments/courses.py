"""Training in blocks of steps: peak, fall, collapse and what happened afterwards, with intervals over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind_from_stats

from analysis.records.frames import IDENTITY, WINDOW, history_frame, last_training_step
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
    "quality",
    "heldout",
    "reward_value",
    "reward_beside",
    "gap",
    "kl",
    "majority_share",
    "label_accuracy",
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

Spread = tuple[float, float, float]
"""A mean over seeds with its 95 % t interval; the bounds are NaN below MIN_SEEDS."""


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
    ran = history.assign(block=np.ceil(history["step"] / BLOCK).astype(int))
    whole = ran[ran.groupby(["run_id", "block"])["step"].transform("size") == BLOCK]
    start = ran.groupby("run_id").head(WINDOW).assign(block=0)
    found = pd.concat([start, whole]).groupby([*IDENTITY, "method", "block"], sort=False)
    means = found[[name for name in COLUMNS if name in history]].mean().reset_index()
    root = np.sqrt(means["kl"].clip(lower=0)).where(means["block"] > 0, 0.0)
    return means.assign(step=means["block"] * BLOCK, sqrt_kl=root)


def runs_by_block(blocks: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of one method's blocks with runs as rows and blocks as columns, NaN after a run's end."""
    return blocks.pivot(index="run_id", columns="block", values=column)


def mean_over_seeds(values: Iterable[float]) -> Spread:
    """The mean of the known values and its 95 % t interval, NaN bounds below MIN_SEEDS."""
    known = np.array([value for value in values if not np.isnan(value)], dtype=float)
    if len(known) < MIN_SEEDS:
        return (float(known.mean()) if len(known) else nan), nan, nan
    mean = float(known.mean())
    return mean, *t_interval(mean, standard_error(known - mean), len(known))


def peak_blocks(quality: pd.DataFrame) -> pd.Series:
    """The block of each run's peak: where the mean of the *other* runs is highest, so its own luck plays no part.

    Only blocks that the run has count, the start among them. `quality` has the form of `runs_by_block`.
    """
    found = {}
    for run, own in quality.iterrows():
        others = quality.drop(index=run) if len(quality) > 1 else quality
        found[run] = others.loc[:, own.notna()].mean().idxmax()
    return pd.Series(found, dtype=int)


def last_blocks(blocks: pd.DataFrame) -> pd.Series:
    """The last block of each run of one method."""
    return blocks.groupby("run_id")["block"].max()


def rise_since(blocks: pd.DataFrame, column: str, origin: pd.Series) -> Spread:
    """How far a column rose from each run's block of origin to its last block, over the seeds of one method."""
    table = runs_by_block(blocks, column)
    return mean_over_seeds(values_at(table, last_blocks(blocks)) - values_at(table, origin))


def values_at(table: pd.DataFrame, block: pd.Series) -> Floats:
    """Each run's value in its own block."""
    return np.array([table.loc[run, block[run]] for run in table.index], dtype=float)


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
    found = ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False)
    return bool(found.statistic < 0 and found.pvalue < 0.05)


def format_change(spread: Spread, decimals: int = 3) -> str:
    """A change over seeds with its interval, such as +0.120 [0.080, 0.160]."""
    value, lo, hi = spread
    if np.isnan(value):
        return "n/a"
    bounds = "[n/a]" if np.isnan(lo) else f"[{lo:.{decimals}f}, {hi:.{decimals}f}]"
    return f"{value:+.{decimals}f} {bounds}"


def columns_of(name: str, spread: Spread) -> dict[str, float]:
    """A spread as three columns of a frame."""
    return dict(zip((name, f"{name}_lo", f"{name}_hi"), spread, strict=True))


def spread_of(row: Mapping[Any, Any], name: str) -> Spread:
    """A spread from a row of a frame, NaN if the row has none."""
    return row.get(name, nan), row.get(f"{name}_lo", nan), row.get(f"{name}_hi", nan)


def course_frame(runs: Sequence[RunRecord], labels: Mapping[str, str]) -> pd.DataFrame:
    """One row per label, in the order of the labels: the course of its runs' training.

    Each measure is a spread over seeds in the columns `name`, `name_lo` and `name_hi`. `start`, `peak` and `final` are
    true quality; `fall` is peak minus final, paired by run. `peak_steps` and `collapse_steps` are listed by seed. Runs
    without true quality and runs without a whole block are left out and counted in `left_out`.
    """
    history = monitored_history(runs)
    method = history["run_id"].map(dict(labels))
    by_label = {
        name: [run for run in runs if labels[run.run_id] == name] for name in dict.fromkeys(labels.values())
    }
    return pd.DataFrame(
        [{"label": name} | course_row(history[method == name], own) for name, own in by_label.items()]
    )


def course_row(history: pd.DataFrame, runs: Sequence[RunRecord]) -> dict[str, Any]:
    """The row of one method's runs."""
    blocks = block_means(history)
    trained = set(blocks.loc[blocks["block"] > 0, "run_id"])
    measured = set(blocks.loc[blocks["block"].eq(0) & blocks["quality"].notna(), "run_id"])
    kept = [run for run in runs if run.run_id in trained & measured]
    row: dict[str, Any] = {
        "seeds": " ".join(str(run.seed) for run in kept),
        "left_out": len(runs) - len(kept),
        "stopped": " ".join("-" if run.stopped is None else str(last_training_step(run)) for run in kept),
        "peak_steps": "n/a",
        "collapse_steps": "n/a",
    }
    if not kept:
        return row
    blocks = blocks[blocks["run_id"].isin([run.run_id for run in kept])]
    quality = runs_by_block(blocks, "quality")
    peak, last = peak_blocks(quality), last_blocks(blocks)
    start, half = pd.Series(0, index=last.index), last // 2
    for name, block in (("start", start), ("peak", peak), ("final", last)):
        row |= columns_of(name, mean_over_seeds(values_at(quality, block)))
    row |= columns_of("fall", mean_over_seeds(values_at(quality, peak) - values_at(quality, last)))
    for name in LATER:
        row |= columns_of(f"since_peak_{name}", rise_since(blocks, name, peak))
        row |= columns_of(f"second_half_{name}", rise_since(blocks, name, half))
    for name in RISES:
        row |= columns_of(f"rise_{name}", rise_since(blocks, name, start))
    fallen = [collapse_end(history[history["run_id"] == run.run_id]) for run in kept]
    row["peak_steps"] = " ".join(str(peak[run.run_id] * BLOCK) for run in kept)
    row["collapse_steps"] = " ".join("-" if step is None else str(step) for step in fallen)
    return row


def greedy_steps(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per run and saved checkpoint, the start at step 0: `greedy`, the mean true quality of its responses."""
    rows = [
        (run.run_id, step, float(quality.mean()))
        for run in runs
        for step, quality in greedy_quality(run).items()
    ]
    return pd.DataFrame(rows, columns=["run_id", "step", "greedy"])


def greedy_course_frame(runs: Sequence[RunRecord], labels: Mapping[str, str]) -> pd.DataFrame:
    """One row per label with saved checkpoints of known quality: the course of their greedy responses.

    `greedy_start`, `greedy_peak`, `greedy_final`, `greedy_fall` (peak minus final) and `greedy_second_half_quality`
    (since the first checkpoint at half of the steps or later) have intervals over seeds; those of the last two are over
    prompts too. `greedy_since_peak_reward_value` is the trained reward's rise from the peak's block to the last one.
    """
    kept = [run for run in runs if greedy_quality(run)]
    by_label = {
        labels[run.run_id]: [r for r in kept if labels[r.run_id] == labels[run.run_id]] for run in kept
    }
    return pd.DataFrame([{"label": label} | greedy_course_row(own) for label, own in by_label.items()])


def greedy_course_row(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """The row of one method's runs."""
    quality = greedy_steps(runs).pivot(index="run_id", columns="step", values="greedy")
    quality = quality.loc[[run.run_id for run in runs]]
    last = quality.apply(lambda values: values.last_valid_index(), axis=1)
    steps = {run.run_id: [step for step in greedy_quality(run) if step] for run in runs}
    half = {run: min(step for step in own if step >= own[-1] / 2) for run, own in steps.items()}
    peak = peak_blocks(quality)
    rise, lo, hi = greedy_change(runs, {run.run_id: int(peak[run.run_id]) for run in runs})
    blocks = block_means(monitored_history(runs))
    origin = np.ceil(peak / BLOCK).astype(int).clip(upper=last_blocks(blocks))
    saved = trajectory_frame(runs)
    fallen = [collapse_of(saved[saved["run_id"] == run.run_id], "quality") for run in runs]
    return {
        **columns_of("greedy_start", mean_over_seeds(quality[0])),
        **columns_of("greedy_peak", mean_over_seeds(values_at(quality, peak))),
        **columns_of("greedy_final", mean_over_seeds(values_at(quality, last))),
        **columns_of("greedy_fall", (0 - rise, 0 - hi, 0 - lo)),
        **columns_of("greedy_second_half_quality", greedy_change(runs, half)),
        **columns_of("greedy_since_peak_reward_value", rise_since(blocks, "reward_value", origin)),
        "greedy_seeds": " ".join(str(run.seed) for run in runs),
        "greedy_peak_steps": " ".join(str(peak[run.run_id]) for run in runs),
        "greedy_collapse_steps": " ".join("-" if step is None else str(step) for step in fallen),
    }
