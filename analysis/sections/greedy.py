"""True quality of the greedy responses of saved checkpoints, and its change between two of them."""

from collections.abc import Mapping, Sequence
from math import nan

import numpy as np

from analysis.stats.intervals import Floats
from analysis.stats.metrics import MIN_SEEDS, tally, wide_half_width
from cme.records import RunRecord


def greedy_quality(run: RunRecord) -> dict[int, Floats]:
    """True quality (prompts,) by step, with the start at 0; empty without saved checkpoints or without an oracle.

    The prompts are the selection prompts, in the order of the run's trajectory.
    """
    path = run.trajectory
    if path is None or path.start_quality is None:
        return {}
    known = {m.step: np.array(m.quality, dtype=float) for m in path.milestones if m.quality is not None}
    return {0: np.array(path.start_quality, dtype=float)} | known


def greedy_change(runs: Sequence[RunRecord], origin: Mapping[str, int]) -> tuple[float, float, float]:
    """Rise of quality from each run's checkpoint of origin to its last one, with the 95 % interval.

    Paired by prompt and run. The interval is over prompts and seeds together; NaN below MIN_SEEDS. `origin` gives a
    step by run id.
    """
    changes = [
        quality[max(quality)] - quality[origin[run.run_id]]
        for run, quality in ((run, greedy_quality(run)) for run in runs)
    ]
    prompts = [prompt for run in runs if run.trajectory for prompt in run.trajectory.prompts]
    number = np.repeat(np.arange(len(runs)), [len(change) for change in changes])
    of = tally(np.concatenate(changes), np.array(prompts, dtype=object), number)
    half = wide_half_width(of) if len(runs) >= MIN_SEEDS else nan
    return of.rate, of.rate - half, of.rate + half
