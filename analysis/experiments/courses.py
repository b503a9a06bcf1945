"""The course of a training in blocks of steps: means over blocks, peaks, falls, and when accuracy collapses."""

import numpy as np
import pandas as pd

from analysis.experiments.base import Estimate, mean_over_seeds
from analysis.records.frames import IDENTITY, WINDOW
from analysis.stats.intervals import Floats

BLOCK = 20  # steps
MEASURES = ("quality", "heldout", "reward_value", "kl", "majority_share", "label_accuracy")
COLLAPSED = 0.01


def block_means(history: pd.DataFrame) -> pd.DataFrame:
    """One row per run and whole block of BLOCK steps, with the means of the known values; block 0 is the start.

    Runs without a whole block are left out. `step` is the last step of the block. `sqrt_kl` is the root of the block's
    mean KL divergence, 0 at the start.
    """
    numbered = history.assign(block=np.ceil(history["step"] / BLOCK).astype(int))
    whole = numbered[numbered.groupby(["run_id", "block"])["step"].transform("size") == BLOCK]
    start = numbered[numbered["run_id"].isin(whole["run_id"])].groupby("run_id").head(WINDOW).assign(block=0)
    blocks = pd.concat([start, whole]).groupby([*IDENTITY, "method", "block"], sort=False)
    means = blocks[list(MEASURES)].mean().reset_index()
    root = np.sqrt(means["kl"].clip(lower=0)).where(means["block"] > 0, 0.0)
    return means.assign(step=means["block"] * BLOCK, sqrt_kl=root)


def by_step(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of one method's runs with runs as rows and steps as columns, NaN after a run's end."""
    return frame.pivot(index="run_id", columns="step", values=column)


def values_at(table: pd.DataFrame, step: "pd.Series[int]") -> Floats:
    """Each run's value at a step of its own."""
    return np.array([table.loc[run, step[run]] for run in table.index], dtype=float)


def peaks(quality: pd.DataFrame) -> "pd.Series[int]":
    """The step of each run's peak: where the mean of the *other* runs is highest, so its own luck plays no part.

    `quality` is as in `by_step`. Only steps that the run has count, the start among them.
    """
    found = {}
    for run, own in quality.iterrows():
        others = quality.drop(index=run) if len(quality) > 1 else quality
        found[run] = others.loc[:, own.notna()].mean().idxmax()
    return pd.Series(found).astype(int)


def levels(quality: pd.DataFrame, peak: "pd.Series[int]") -> dict[str, Estimate]:
    """Quality at the start, the peak and the end, the rise to the peak and the fall from it, as in `peaks`."""
    last = pd.Series({run: own.last_valid_index() for run, own in quality.iterrows()})
    start, highest, final = (values_at(quality, step) for step in (0 * peak, peak, last))
    values = {"start": start, "peak": highest, "final": final}
    values |= {"rise_to_peak": highest - start, "fall": highest - final}
    return {name: mean_over_seeds(each) for name, each in values.items()}


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
