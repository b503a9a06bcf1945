"""Win rate and true quality of saved checkpoints by training step."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.curves import place_grid, styles_by_method
from analysis.figures.style import REFERENCE, SELECTED, STOPPED, Plot, Style
from analysis.records.frames import method_rewards
from analysis.records.names import judge_label
from analysis.tables.render import slug
from analysis.tables.training.trajectory import (
    MEASURES,
    collapse_of,
    pool_checkpoints,
    trajectory_frame,
)
from cme.records import RunRecord

MARKS = {"selected checkpoint": SELECTED, "collapse": STOPPED}


def trajectory_plots(records: Sequence[RunRecord]) -> list[Plot]:
    """Win rate and, with an oracle, true quality by step: the figures of one scale, by selection judge."""
    frame = trajectory_frame(records)
    if frame.empty:
        return []
    return [
        trajectory_plot(records, runs, str(judge), measure)
        for judge, runs in frame.groupby("selection_judge", sort=False)
        for measure in MEASURES
        if runs[measure].iloc[1:].notna().any()
    ]


def trajectory_plot(records: Sequence[RunRecord], frame: pd.DataFrame, judge: str, measure: str) -> Plot:
    """One measure by step: regimes as rows, families as columns, one line per method."""
    scale, label = records[0].scale, MEASURES[measure]
    styles = styles_by_method(frame)

    def draw(axes: Axes, here: pd.DataFrame) -> None:
        for method in method_rewards(here):
            runs = here[here["method"] == method]
            of_method = [record for record in records if record.run_id in set(runs["run_id"])]
            draw_trajectory(axes, of_method, runs, measure, styles[method])
        if measure == "win_rate" and axes.lines:
            axes.axhline(50, **REFERENCE)

    title = f"{label.split(' (')[0].capitalize()} at saved checkpoints (scale: {scale})"
    short = label.replace(" against the start", "")
    figure = place_grid(title, frame, short, draw, styles, MARKS, height=1.6)
    prompts = max(len(record.trajectory.prompts) for record in records if record.trajectory)
    caption = (
        f"{label.capitalize()} at saved checkpoints, on the selection prompts (at most {prompts} a run, "
        f"none of them an evaluation prompt; selection judge: {judge_label(judge)}), at scale {scale}. Lines pool all "
        "seeds and end at the last step that all of them reached; bands are 95 % CIs over prompts. Triangles on top: "
        "selected checkpoints. A selected checkpoint is the best point of its line, partly by chance: the table gives "
        "the gain by selection on the evaluation prompts. Crosses: collapse, the first checkpoint of a run "
        "from which on all are significantly worse than the start (quality is compared prompt by prompt, so bands may "
        "overlap)."
    )
    return Plot(f"trajectory-{slug(measure)}-{slug(scale)}-{slug(judge)}", caption, figure)


def draw_trajectory(
    axes: Axes, records: Sequence[RunRecord], frame: pd.DataFrame, measure: str, style: Style
) -> None:
    """Draw a cell's line with its band from step 0, marking selected checkpoints and collapses."""
    curve = pooled_measures(records).dropna(subset=[measure])
    low, high = curve[f"{measure}_lo"], curve[f"{measure}_hi"]
    axes.fill_between(curve.index, low, high, color=style.colour, alpha=0.15, linewidth=0)
    axes.plot(curve.index, curve[measure], **style.look, markersize=3)
    fell = [collapse_of(run, measure) for _, run in frame.groupby("run_id", sort=False)]
    chosen = frame.loc[frame["selected"].eq(True), "step"]
    for marked, mark, size in ((chosen, SELECTED, 6), (fell, STOPPED, 7)):
        there = np.array([step for step in marked if step in curve.index], dtype=int)
        heights = curve.loc[there, measure].to_numpy()
        axes.plot(there, heights, mark.marker, color=mark.colour, markersize=size)


def pooled_measures(records: Sequence[RunRecord]) -> pd.DataFrame:
    """A cell's measures by step with pooled runs, at the steps that all runs have; step 0 is the start."""
    paths = [record.trajectory for record in records if record.trajectory is not None]
    shared = set.intersection(*({checkpoint.step for checkpoint in path.checkpoints} for path in paths))
    rows = {step: pool_checkpoints(paths, step) for step in (0, *sorted(shared))}
    return pd.DataFrame.from_dict(rows, orient="index")
