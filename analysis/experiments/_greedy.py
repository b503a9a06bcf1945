"""Long trainings in the greedy responses of their saved checkpoints, beside what was sampled in training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context

from analysis.experiments._blocks import (
    BLOCK,
    at,
    blocks_frame,
    last_blocks,
    over_seeds,
    peaks,
    since,
    with_gap,
)
from analysis.experiments._gaming import columns, draw_path
from analysis.figures.curves import finish_grid, mark_empty_panel, panel_grid
from analysis.figures.overview import Plot
from analysis.figures.style import RC, Style
from analysis.sections.greedy import greedy_change, greedy_quality
from analysis.sections.trajectory import collapse_of, trajectory_frame
from cme.records import RunRecord

SHOWN = {
    "sampled in training": Style("#009E73", "s", (4, 1.5)),
    "greedy, saved checkpoints": Style("#0072B2", "o", ()),
}


def greedy_steps(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """One row a run and saved checkpoint, the start at step 0: `greedy`, the mean true quality of its responses."""
    return pd.DataFrame(
        [
            (run.run_id, step, float(quality.mean()))
            for run in runs
            for step, quality in greedy_quality(run).items()
        ],
        columns=["run_id", "step", "greedy"],
    )


def greedy_courses(runs: Sequence[RunRecord], labels: Mapping[str, str]) -> pd.DataFrame:
    """One row a label with saved checkpoints of known quality: its course, as `_gaming.courses` has the sampled one.

    `greedy_start`, `greedy_peak`, `greedy_final`, `greedy_fall` (peak less final) and `greedy_second_half_quality` (of
    the first checkpoint at half the steps or later), with intervals over seeds; those of the last two are over prompts
    too. `greedy_since_peak_reward_value` is the trained reward's rise from the peak's block to the last.
    """
    kept = [run for run in runs if greedy_quality(run)]
    return pd.DataFrame(
        [
            {"label": label} | greedy_course([run for run in kept if labels[run.run_id] == label])
            for label in dict.fromkeys(labels[run.run_id] for run in kept)
        ]
    )


def greedy_course(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """The row of one method's runs."""
    quality = greedy_steps(runs).pivot(index="run_id", columns="step", values="greedy")
    quality = quality.loc[[run.run_id for run in runs]]
    last = quality.apply(lambda of: of.last_valid_index(), axis=1)
    steps = {run.run_id: [step for step in greedy_quality(run) if step] for run in runs}
    half = {run: min(step for step in own if step >= own[-1] / 2) for run, own in steps.items()}
    peak = peaks(quality)
    value, lo, hi = greedy_change(runs, {run.run_id: int(peak[run.run_id]) for run in runs})
    blocks = blocks_frame(with_gap(runs))
    origin = np.ceil(peak / BLOCK).astype(int).clip(upper=last_blocks(blocks))
    saved = trajectory_frame(runs)
    fell = [collapse_of(saved[saved["run_id"] == run.run_id], "quality") for run in runs]
    return {
        **columns("greedy_start", over_seeds(quality[0])),
        **columns("greedy_peak", over_seeds(at(quality, peak))),
        **columns("greedy_final", over_seeds(at(quality, last))),
        **columns("greedy_fall", (0 - value, 0 - hi, 0 - lo)),
        **columns("greedy_second_half_quality", greedy_change(runs, half)),
        **columns("greedy_since_peak_reward_value", since(blocks, "reward_value", origin)),
        "greedy_seeds": " ".join(str(run.seed) for run in runs),
        "greedy_peak_steps": " ".join(str(peak[run.run_id]) for run in runs),
        "greedy_collapse_steps": " ".join("-" if step is None else str(step) for step in fell),
    }


def greedy_plot(name: str, title: str, runs: Sequence[RunRecord], labels: Mapping[str, str]) -> Plot:
    """By label in columns: true quality by step, of the completions sampled in training and of greedy responses."""
    blocks = blocks_frame(with_gap(runs))
    saved = greedy_steps(runs).assign(block=lambda of: of["step"])
    names = list(dict.fromkeys(labels.values()))
    heads = [name if len(name) <= 15 else name.replace(" ", "\n", 1).replace("_", "_\n", 1) for name in names]
    with rc_context(RC):
        lines = 1 + max(head.count("\n") for head in heads)
        figure, panels = panel_grid(1, len(names), 1.7, SHOWN, head_lines=lines)
        sampled, greedy = SHOWN.values()
        for label, axes in zip(names, panels[0], strict=True):
            draw_path(axes, blocks[blocks["run_id"].map(labels) == label], "step", "quality", sampled)
            draw_path(axes, saved[saved["run_id"].map(labels) == label], "step", "greedy", greedy)
            mark_empty_panel(axes)
        panels[0, 0].set_ylabel("true quality\n(0 to 1)")
        finish_grid(figure, panels, heads, "training step", title, SHOWN)
    caption = (
        f"{title}. Completions sampled in training, of the training prompts, in blocks of {BLOCK} steps, and greedy "
        "responses of the saved checkpoints, of the selection prompts: levels are of different prompts, so compare "
        "directions. Means over seeds at what every seed has, the open mark the start; bands: lowest and highest seed; "
        "rings: highest mean. A training that the guard ended has no checkpoint after that."
    )
    return Plot(name, caption, figure)
