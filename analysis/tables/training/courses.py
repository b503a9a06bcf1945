"""The course of a training: means over blocks of steps, peaks, falls, when accuracy collapses, and the direction."""

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.frames import IDENTITY, WINDOW, history_frame
from analysis.stats.intervals import Floats
from analysis.stats.win_rates import Tally
from analysis.tables.render import UNKNOWN
from analysis.tables.training.trajectory import greedy_changes, greedy_quality
from cme.records import RunRecord

BLOCK = 20  # steps
MEASURES = ("quality", "heldout", "reward_value", "kl", "majority_share", "label_accuracy")
COLLAPSED = 0.01
MARGIN = 0.05
"""True quality: a smaller rise or fall counts as none."""
SAMPLED, GREEDY = "sampled", "greedy"
"""The responses whose quality a course follows: those sampled in training, and those of the saved checkpoints."""
DIRECTIONS = {
    "falls": "rises and then falls from its peak (over-optimisation) with",
    "degrades": "falls without a rise before it with",
    "no fall": f"does not fall by more than {MARGIN} from its peak with",
    "undecided": f"may or may not fall by more than {MARGIN} from its peak (not decided) with",
    "unknown": "cannot be judged (too few seeds, or no true quality) with",
}
Course = dict[str, Any]
"""The course of one method's sampled or greedy responses: estimates and texts by name."""


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


def levels(quality: pd.DataFrame, peak: "pd.Series[int]") -> dict[str, Floats]:
    """By run, quality at the start, the peak and the end, the rise to the peak and the fall from it."""
    last = pd.Series({run: own.last_valid_index() for run, own in quality.iterrows()})
    start, highest, final = (values_at(quality, step) for step in (0 * peak, peak, last))
    values = {"start": start, "peak": highest, "final": final}
    return values | {"rise_to_peak": highest - start, "fall": highest - final}


def sampled_quality(blocks: pd.DataFrame) -> pd.DataFrame:
    """Quality of sampled responses `by_step`, of the runs with two known blocks; `blocks` are `block_means`."""
    return by_step(blocks, "quality").dropna(thresh=2)


def sampled_since_peak(runs: Sequence[RunRecord]) -> dict[int, float]:
    """By seed, sampled quality in the last block minus that at the peak; without runs of unknown quality."""
    quality = sampled_quality(block_means(history_frame(runs)))
    if quality.empty:
        return {}
    falls = dict(zip(quality.index, levels(quality, peaks(quality))["fall"].tolist(), strict=True))
    return {run.seed: 0 - falls[run.run_id] for run in runs if run.run_id in falls}


def greedy_since_peak(saved: Sequence[RunRecord]) -> Tally:
    """Greedy quality of the last checkpoint minus that at the peak, by prompt and seed; `saved` have known quality."""
    peak = peaks(by_step(greedy_steps(saved), "greedy"))
    return greedy_changes(saved, {run.run_id: int(peak[run.run_id]) for run in saved})


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


def greedy_steps(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per run and saved checkpoint, the start at step 0: `greedy`, the mean true quality of its responses."""
    rows = [
        (run.run_id, step, float(quality.mean()))
        for run in runs
        for step, quality in greedy_quality(run).items()
    ]
    return pd.DataFrame(rows, columns=["run_id", "step", "greedy"])


def direction(course: Course) -> str:
    """The final direction of a method's true quality: a key of DIRECTIONS."""
    fall, rise = (course.get(name, UNKNOWN) for name in ("fall", "rise_to_peak"))
    if isnan(fall.lo):
        return "unknown"
    if fall.lo > MARGIN:
        return "falls" if rise.lo > MARGIN else "degrades"
    return "no fall" if fall.hi < MARGIN else "undecided"


def summary(courses: Sequence[Course]) -> str:
    """With which rewards quality falls and with which it does not, with the numbers."""
    methods: dict[str, list[str]] = {way: [] for way in DIRECTIONS}
    for course in courses:
        fall = course.get("fall", UNKNOWN).text()
        methods[direction(course)].append(f"{course['label']} ({fall})")
    gamed = [c["label"] for c in courses if direction(c) == "falls" and c["since_peak_reward_value"].lo > 0]
    text = "; ".join(f"{DIRECTIONS[way]} {', '.join(names)}" for way, names in methods.items() if names)
    more = f" While quality fell, the trained reward rose with {', '.join(gamed)}." if gamed else ""
    return f"{courses[0]['responses'].capitalize()} quality {text}.{more}"
