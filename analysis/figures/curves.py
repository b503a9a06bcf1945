"""Training histories as curves: smoothing, means over seeds, and grids of panels."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import STOPPED, UNTRAINED, Plot, Style, add_legend, method_styles, new_figure
from analysis.records.frames import WINDOW, method_rewards
from analysis.records.names import REGIMES, family_name, regime_name, sort_names

CURVES = {
    "quality": "exact score\n(0 to 1)",  # true quality, or the constraints met
    "heldout": "held-out verifier\n(nats/token)",
    "length": "length\n(tokens)",
    "kl": "KL from start\n(nats/response)",
}
"""The columns of a history that are drawn over training, with their labels."""
SMOOTHING_NOTE = f"Lines are means over seeds, each seed first smoothed over {WINDOW} steps"
NO_MARKS: Mapping[str, Style] = {}
BAND_NOTE = "the band spans the lowest and the highest seed; a cross marks a run that stopped early"


def add_derived_columns(history: pd.DataFrame) -> pd.DataFrame:
    """Add `reward_gain` (in standard deviations of the first rewards) and `sqrt_kl` to a history.

    The gain is relative to the mean of a run's first WINDOW steps. An estimated KL divergence can fall below 0 by
    sampling noise; its root is then 0.
    """
    runs = history.groupby("run_id", sort=False)
    start, spread = (
        runs[column].transform(lambda values: float(values.iloc[:WINDOW].mean()))
        for column in ("reward_value", "reward_std")
    )
    gain = (history["reward_value"] - start) / spread.where(spread > 0)
    return history.assign(reward_gain=gain, sqrt_kl=np.sqrt(history["kl"].clip(lower=0)))


def seed_curve(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean, lowest and highest seed of a column by step, each run smoothed first by a running mean."""
    known = runs.dropna(subset=[column]).sort_values("step").set_index("step")
    smooth = (
        known.groupby("run_id")[column].rolling(WINDOW, center=True, min_periods=1).mean().unstack("run_id")
    )
    return pd.DataFrame({"mean": smooth.mean(axis=1), "low": smooth.min(axis=1), "high": smooth.max(axis=1)})


def styles_by_method(runs: pd.DataFrame) -> dict[str, Style]:
    """The style of each method among the runs."""
    return method_styles(method_rewards(runs))


def draw_curve(axes: Axes, runs: pd.DataFrame, column: str, style: Style) -> None:
    """Mean line with the band of seeds, and a cross where a run stopped early."""
    curve = seed_curve(runs, column)
    if curve.empty:
        return
    axes.fill_between(curve.index, curve["low"], curve["high"], color=style.colour, alpha=0.15, linewidth=0)
    axes.plot(curve.index, curve["mean"], **style.look, markersize=3.5, markevery=max(1, len(curve) // 4))
    for _, run in runs[runs["stopped"]].groupby("run_id"):
        last = run.dropna(subset=[column])["step"].max()
        if last in curve.index:
            height = curve.loc[last, "mean"]
            axes.plot(last, height, STOPPED.marker, color=STOPPED.colour, markersize=6, markeredgewidth=1.2)


def draw_quality_paths(axes: Axes, runs: pd.DataFrame, column: str, styles: Mapping[str, Style]) -> None:
    """The path of true quality against a column, from a gray dot to a marker, of each method."""
    for method, style in styles.items():
        own = runs[runs["method"] == method]
        x, y = seed_curve(own, column)["mean"], seed_curve(own, "quality")["mean"]
        steps = x.index.intersection(y.index)
        if steps.empty:
            continue
        x, y = x[steps], y[steps]
        axes.plot(x, y, color=style.colour, linestyle=style.line, linewidth=1)
        axes.plot(x.iloc[0], y.iloc[0], UNTRAINED.marker, color=UNTRAINED.colour, markersize=4, zorder=3)
        axes.plot(x.iloc[-1], y.iloc[-1], style.marker, color=style.colour, markersize=5.5)


def training_plot(
    name: str, title: str, panels: Mapping[str, pd.DataFrame], styles: Mapping[str, Style]
) -> Plot:
    """The measured CURVES over training as rows, the histories of `panels` (by title) as columns, a line per method."""
    whole = pd.concat(panels.values())
    measured = {column: label for column, label in CURVES.items() if whole[column].notna().any()}

    def draw(axes: Axes, column: str, panel: str) -> None:
        history = panels[panel]
        for method, style in styles.items():
            draw_curve(axes, history[history["method"] == method], column, style)

    heads = {panel: panel for panel in panels}
    figure = curve_grid(title, measured, heads, draw, styles, stop_mark(whole))
    caption = (
        f"{title}: completions sampled for training prompts. {SMOOTHING_NOTE}; {BAND_NOTE}. No run is trained on the "
        "likelihood under the held-out verifier: if it rises without quality, the reward is over-optimised."
    )
    if missing := [column for column in CURVES if column not in measured]:
        caption += f" Not measured here: {', '.join(missing)}."
    return Plot(name, caption, figure)


def stop_mark(history: pd.DataFrame) -> dict[str, Style]:
    """The legend's entry for runs that stopped early; empty without any."""
    return {"stopped early": STOPPED} if history["stopped"].any() else {}


def curve_grid(
    title: str,
    rows: Mapping[str, str],
    columns: Mapping[str, str],
    draw: Callable[[Axes, str, str], None],
    styles: Mapping[str, Style],
    marks: Mapping[str, Style] = NO_MARKS,
    x_label: str = "training step",
    height: float = 1.25,
) -> Figure:
    """A figure of rows x columns panels (label by key), filled by `draw(axes, row, column)`.

    The rows are about `height` inches high. The legend has the lines `styles` and the single `marks`.
    """
    with new_figure(title, 1.0 + height * len(rows)) as figure:
        # in a subfigure, because the legend would hide a label of the figure
        [[part]] = figure.subfigures(1, 1, squeeze=False)
        panels = part.subplots(len(rows), len(columns), sharex=True, sharey="row", squeeze=False)
        for (row, label), axes_of_row in zip(rows.items(), panels, strict=True):
            for column, axes in zip(columns, axes_of_row, strict=True):
                draw(axes, row, column)
                if not axes.lines:
                    centre: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
                    axes.text(0.5, 0.5, "no data", color="#666666", **centre)
                    axes.grid(visible=False)
            axes_of_row[0].set_ylabel(label)
        for axes, head in zip(panels[0], columns.values(), strict=True):
            axes.set_title(head)
        ticks = 6 if len(columns) == 1 else 4 if len(columns) < 6 else 3
        panels[0, 0].xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
        part.align_ylabels(panels[:, 0])
        part.supxlabel(x_label, fontsize=8)
        add_legend(figure, styles, marks)
    return figure


def place_grid(
    title: str,
    frame: pd.DataFrame,
    label: str,
    draw: Callable[[Axes, pd.DataFrame], None],
    styles: Mapping[str, Style],
    marks: Mapping[str, Style],
    x_label: str = "training step",
    height: float = 1.3,
) -> Figure:
    """A grid with regimes as rows and families as columns, filled by `draw(axes, part of the frame)`."""

    def draw_place(axes: Axes, regime: str, family: str) -> None:
        draw(axes, frame[(frame["regime"] == regime) & (frame["family"] == family)])

    rows = {regime: f"{regime_name(regime)}\n{label}" for regime in sort_names(frame["regime"], REGIMES)}
    columns = {family: family_name(family) for family in sort_names(frame["family"])}
    return curve_grid(title, rows, columns, draw_place, styles, marks, x_label, height)
