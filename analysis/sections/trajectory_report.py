"""The report's section on saved checkpoints, with figures of win rate and true quality by step."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes

from analysis.figures.curves import (
    finish_grid,
    group_by_method,
    mark_empty_panel,
    panel_grid,
    styles_by_method,
)
from analysis.figures.style import RC, Plot, Style
from analysis.records.names import REGIMES, sort_names
from analysis.sections.base import Section, group_by_scale, write_part
from analysis.sections.trajectory import (
    MEASURES,
    at_start,
    collapse_of,
    measured,
    trajectory_frame,
    trajectory_table,
)
from analysis.tables.render import slug
from cme.records import RunRecord


def trajectory_section(records: Sequence[RunRecord], out: Path) -> Section:
    """The trajectories of the runs with saved checkpoints, scale by scale."""
    parts = []
    for scale, own in group_by_scale([record for record in records if record.trajectory is not None]):
        tables, plots = [trajectory_table(own)], trajectory_plots(own)
        parts.append(write_part(f"{slug(scale)}-trajectory", tables, trajectory_frame(own), plots, out))
    return Section(
        "trajectory",
        "During training: saved checkpoints, the selected and the final one",
        "Checkpoints were compared on separate prompts by a separate judge; the selected and the final policy were "
        "compared on the evaluation prompts alone.",
        parts,
    )


def trajectory_plots(records: Sequence[RunRecord]) -> list[Plot]:
    """Win rate and, with an oracle, true quality by step: the figures of one scale, by selection judge."""
    frame = trajectory_frame(records)
    if frame.empty:
        return []
    plots = []
    for judge, runs in frame.groupby("selection_judge", sort=False):
        measures = [m for m in MEASURES if runs[m].iloc[1:].notna().any()]
        plots += [trajectory_plot(records, runs, str(judge), measure) for measure in measures]
    return plots


def trajectory_plot(records: Sequence[RunRecord], frame: pd.DataFrame, judge: str, measure: str) -> Plot:
    """One measure by step: regimes as rows, families as columns, one line per method."""
    scale = records[0].scale
    families, regimes = sort_names(frame["family"]), sort_names(frame["regime"], REGIMES)
    styles = styles_by_method(frame)
    with rc_context(RC):
        figure, panels = panel_grid(len(regimes), len(families), 1.6, styles)
        for regime, row in zip(regimes, panels, strict=True):
            for family, axes in zip(families, row, strict=True):
                here = frame[(frame["regime"] == regime) & (frame["family"] == family)]
                for method, runs in group_by_method(here):
                    own = [record for record in records if record.run_id in set(runs["run_id"])]
                    draw_trajectory(axes, own, runs, measure, styles[method])
                mark_empty_panel(axes)
                if measure == "win_rate":
                    axes.axhline(50, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
            row[0].set_ylabel(f"{regime}\n{MEASURES[measure].replace(' against the start', '')}")
        title = f"{MEASURES[measure].split(' (')[0].capitalize()} at saved checkpoints (scale: {scale})"
        finish_grid(figure, panels, families, "training step", title, styles)
    prompts = max(len(record.trajectory.prompts) for record in records if record.trajectory)
    caption = (
        f"{MEASURES[measure].capitalize()} at saved checkpoints, on the selection prompts (at most {prompts} a run, "
        f"none of them an evaluation prompt; selection judge: {judge}), at scale {scale}. Lines pool all seeds and "
        "end at the last step that all of them reached; bands are 95 % CIs over prompts. Rings: selected "
        "checkpoints. A ring is the best point of its line, partly by chance: the table gives the gain by selection on "
        "the evaluation prompts. Crosses: collapse, the first checkpoint of a run from which on all are significantly "
        "worse than the start (quality is compared prompt by prompt, so bands may overlap)."
    )
    return Plot(f"trajectory-{slug(measure)}-{slug(scale)}-{slug(judge)}", caption, figure)


def draw_trajectory(
    axes: Axes, records: Sequence[RunRecord], frame: pd.DataFrame, measure: str, style: Style
) -> None:
    """Draw a cell's line with its band from step 0, with rings at selected checkpoints and crosses at collapses."""
    curve = pooled(records).dropna(subset=[measure])
    steps = curve.index.to_numpy()
    axes.fill_between(
        steps, curve[f"{measure}_lo"], curve[f"{measure}_hi"], color=style.colour, alpha=0.15, linewidth=0
    )
    axes.plot(
        steps, curve[measure], color=style.colour, linestyle=style.line, marker=style.marker, markersize=3
    )
    fell = [collapse_of(run, measure) for _, run in frame.groupby("run_id", sort=False)]
    for marked, marker, size in ((frame.loc[frame["selected"].eq(True), "step"], "o", 9), (fell, "x", 7)):
        there = np.array([step for step in marked if step in curve.index], dtype=int)
        heights = curve.loc[there, measure].to_numpy()
        axes.plot(there, heights, marker, color="black", markerfacecolor="none", markersize=size)


def pooled(records: Sequence[RunRecord]) -> pd.DataFrame:
    """A cell's measures by step with pooled runs, at the steps that all runs have; step 0 is the start."""
    paths = [record.trajectory for record in records if record.trajectory is not None]
    seen = [{m.step: (path, m) for m in path.milestones} for path in paths]
    rows = {0: at_start(paths)}
    for step in sorted(set.intersection(*(set(of_run) for of_run in seen))):
        rows[step] = measured([of_run[step] for of_run in seen])
    return pd.DataFrame.from_dict(rows, orient="index")
