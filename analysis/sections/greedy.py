"""True quality of the greedy responses of saved checkpoints, and how it changed between two of them."""

from collections.abc import Mapping, Sequence
from math import hypot, nan

import numpy as np

from analysis.stats.intervals import Floats, standard_error
from analysis.stats.metrics import MIN_SEEDS, half_width, seed_error, tally
from cme.records import RunRecord


def greedy_quality(run: RunRecord) -> dict[int, Floats]:
    """True quality (prompts,) by step, the start's at 0; empty where no checkpoints were saved, or without an oracle.

    It is of the selection prompts, in the order of the run's trajectory.
    """
    path = run.trajectory
    if path is None or path.start_quality is None:
        return {}
    known = {m.step: np.array(m.quality, dtype=float) for m in path.milestones if m.quality is not None}
    return {0: np.array(path.start_quality, dtype=float)} | known


def greedy_change(runs: Sequence[RunRecord], origin: Mapping[str, int]) -> tuple[float, float, float]:
    """How far quality rose from each run's checkpoint of origin to its last one, and the 95 % interval.

    Paired by prompt and run; the interval is about other seeds and other prompts both, as `metrics.seed_spread` has
    it, NaN below MIN_SEEDS. `origin` has a step by run id.
    """
    changes = [
        quality[max(quality)] - quality[origin[run.run_id]]
        for run, quality in ((run, greedy_quality(run)) for run in runs)
    ]
    prompts = [prompt for run in runs if run.trajectory for prompt in run.trajectory.prompts]
    number = np.repeat(np.arange(len(runs)), [len(change) for change in changes])
    of = tally(np.concatenate(changes), np.array(prompts, dtype=object), number)
    if len(runs) < MIN_SEEDS:
        return of.rate, nan, nan
    over_prompts = half_width(standard_error(of.deviations), len(of.prompts))
    half = hypot(over_prompts, half_width(seed_error(of), len(runs)))
    return of.rate, of.rate - half, of.rate + half
