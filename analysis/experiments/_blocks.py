"""Training in blocks of steps: peak, fall, collapse and what happened since, with intervals over seeds."""

from collections.abc import Iterable, Sequence
from math import nan, sqrt

import numpy as np
import pandas as pd

from analysis.figures.curves import WINDOW
from analysis.records.frames import IDENTITY, history_frame
from analysis.sections.trajectory import collapse_step
from analysis.stats.intervals import LEVEL, Floats, standard_error, t_interval, t_quantile
from analysis.stats.metrics import MIN_SEEDS
from cme.records import RunRecord

BLOCK = 20  # steps
MEASURES = (
    "quality",
    "heldout",
    "reward_value",
    "reward_beside",
    "gap",
    "sqrt_kl",
    "majority_share",
    "label_accuracy",
)
HOW = (
    f"Training is looked at in means over blocks of {BLOCK} steps, a block a point; the start is the mean of the first "
    f"{WINDOW} steps. These are of completions sampled in training, to training prompts."
)
COLLAPSE = (
    f"Collapse: the end of the first block of {BLOCK} steps from which on true quality lies below the start's for "
    "certain (Welch's 95 % interval over steps) to the end, by seed; - is none."
)

Spread = tuple[float, float, float]
"""Mean over seeds with its 95 % t interval, NaN bounds below MIN_SEEDS."""


def with_gap(records: Sequence[RunRecord]) -> pd.DataFrame:
    """The history with `gap`, the trained reward less the held-out verifier's value at the steps that have both.

    `reward_beside` is the reward at these steps alone, so that both are of the same completions; `sqrt_kl` is 0 where
    the estimated KL divergence fell below 0.
    """
    history = history_frame(records)
    return history.assign(
        reward_beside=history["reward_value"].where(history["heldout"].notna()),
        gap=history["reward_value"] - history["heldout"],
    )


def blocks_frame(history: pd.DataFrame) -> pd.DataFrame:
    """One row a run and whole block of BLOCK steps, with the means of its known values; block 0 is the start.

    `step` is the block's last one. `sqrt_kl` is the root of the block's mean KL divergence, 0 at the start.
    """
    ran = history.assign(block=np.ceil(history["step"] / BLOCK).astype(int))
    whole = ran[ran.groupby(["run_id", "block"])["step"].transform("size") == BLOCK]
    start = ran.groupby("run_id").head(WINDOW).assign(block=0)
    keys = [*IDENTITY, "method", "block"]
    columns = [name for name in (*MEASURES, "kl") if name in history]
    found = pd.concat([start, whole]).groupby(keys, sort=False)[columns].mean().reset_index()
    root = np.sqrt(found["kl"].clip(lower=0)).where(found["block"] > 0, 0.0)
    return found.assign(step=found["block"] * BLOCK, sqrt_kl=root)


def table_of(blocks: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of one method's blocks with runs as rows and blocks as columns, NaN where a run had ended."""
    return blocks.pivot(index="run_id", columns="block", values=column)


def over_seeds(values: Iterable[float]) -> Spread:
    """The mean of the known values and its 95 % t interval, NaN bounds below MIN_SEEDS."""
    known = np.array([value for value in values if not np.isnan(value)], dtype=float)
    if not len(known):
        return nan, nan, nan
    mean = float(known.mean())
    if len(known) < MIN_SEEDS:
        return mean, nan, nan
    return mean, *t_interval(mean, standard_error(known - mean), len(known))


def peaks(quality: pd.DataFrame) -> pd.Series:
    """The block of each run's peak: the highest of the other runs' mean, so that luck of its own plays no part.

    Only blocks that the run has count, the start among them. `quality` is as `table_of` has it.
    """
    found = {}
    for run, own in quality.iterrows():
        others = quality.drop(index=run) if len(quality) > 1 else quality
        found[run] = others.loc[:, own.notna()].mean().idxmax()
    return pd.Series(found, dtype=int)


def last_blocks(blocks: pd.DataFrame) -> pd.Series:
    """The last block that each run of one method has."""
    return blocks.groupby("run_id")["block"].max()


def since(blocks: pd.DataFrame, column: str, origin: pd.Series) -> Spread:
    """How far a column of one method's blocks rose from each run's block of origin to its last, over seeds."""
    table = table_of(blocks, column)
    return over_seeds(at(table, last_blocks(blocks)) - at(table, origin))


def at(table: pd.DataFrame, block: pd.Series) -> Floats:
    """Each run's value in the block given for it."""
    return np.array([table.loc[run, block[run]] for run in table.index], dtype=float)


def collapse(history: pd.DataFrame) -> int | None:
    """The last step of the first block from which on one run's true quality is below its start's for certain.

    None where there is no such block. The history is one run's; blocks that are not whole are left out.
    """
    known = history.dropna(subset=["quality"]).sort_values("step")
    start = known["quality"].head(WINDOW).to_numpy(float)
    ends, worse = [], []
    for block, steps in known.groupby(np.ceil(known["step"] / BLOCK).astype(int)):
        if len(steps) == BLOCK:
            ends.append(int(block) * BLOCK)
            worse.append(difference(steps["quality"].to_numpy(float), start)[2] < 0)
    return collapse_step(ends, worse)


def difference(one: Floats, other: Floats) -> Spread:
    """Mean of `one` less that of `other` with its 95 % interval (Welch 1947); NaN bounds below two values each."""
    gain = float(one.mean() - other.mean())
    if min(len(one), len(other)) < 2:
        return gain, nan, nan
    mine, theirs = standard_error(one - one.mean()) ** 2, standard_error(other - other.mean()) ** 2
    if not mine + theirs:
        return gain, gain, gain
    freedom = (mine + theirs) ** 2 / (mine**2 / (len(one) - 1) + theirs**2 / (len(other) - 1))
    half = t_quantile(LEVEL, freedom) * sqrt(mine + theirs)
    return gain, gain - half, gain + half


def spread_text(of: Spread, decimals: int = 3) -> str:
    """A change over seeds with its interval, such as +0.120 [0.080, 0.160]."""
    value, lo, hi = of
    if np.isnan(value):
        return "n/a"
    bounds = "[n/a]" if np.isnan(lo) else f"[{lo:.{decimals}f}, {hi:.{decimals}f}]"
    return f"{value:+.{decimals}f} {bounds}"
