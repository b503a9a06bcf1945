"""Training histories as curves: smoothing, means over seeds, and grids of panels."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import RC, STOPPED, UNTRAINED, WIDTH, Plot, Style, legend_handles, method_styles
from analysis.records.frames import WINDOW
from analysis.records.names import REWARDS, natural_key, order_key

CURVES = {
    "quality": "true quality\n(0 to 1)",
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
    start = runs["reward_value"].transform(first_mean)
    spread = runs["reward_std"].transform(first_mean)
    gain = (history["reward_value"] - start) / spread.where(spread > 0)
    return history.assign(reward_gain=gain, sqrt_kl=np.sqrt(history["kl"].clip(lower=0)))


def first_mean(values: pd.Series) -> float:
    """Mean of the known values among the first WINDOW ones."""
    return float(values.iloc[:WINDOW].mean())


def seed_curve(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean, lowest and highest seed of a column by step, each run smoothed first by a running mean."""
    known = runs.dropna(subset=[column]).sort_values("step").set_index("step")
    smooth = (
        known.groupby("run_id")[column].rolling(WINDOW, center=True, min_periods=1).mean().unstack("run_id")
    )
    return pd.DataFrame({"mean": smooth.mean(axis=1), "low": smooth.min(axis=1), "high": smooth.max(axis=1)})


def group_by_method(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The runs of each method, in the order of methods."""
    for method in method_rewards(runs):
        yield method, runs[runs["method"] == method]


def method_rewards(runs: pd.DataFrame) -> dict[str, str]:
    """Each method's reward, ordered by reward, then by name."""
    pairs = set(zip(runs["method"], runs["reward"], strict=True))
    return dict(sorted(pairs, key=lambda pair: (order_key(pair[1], REWARDS), natural_key(pair[0]))))


def styles_by_method(runs: pd.DataFrame) -> dict[str, Style]:
    """The style of each method among the runs."""
    return method_styles(method_rewards(runs))


def draw_curve(axes: Axes, runs: pd.DataFrame, column: str, style: Style) -> None:
    """Mean line with the band of seeds, and a cross where a run stopped early."""
    curve = seed_curve(runs, column)
    if curve.empty:
        return
    steps = curve.index.to_numpy()
    axes.fill_between(steps, curve["low"], curve["high"], color=style.colour, alpha=0.15, linewidth=0)
    every = max(1, len(steps) // 4)
    look = {"color": style.colour, "linestyle": style.line, "marker": style.marker, "markersize": 3.5}
    axes.plot(steps, curve["mean"], markevery=every, **look)
    for _, run in runs[runs["stopped"]].groupby("run_id"):
        last = run.dropna(subset=[column])["step"].max()
        if last in curve.index:
            look = {"color": STOPPED.colour, "markersize": 6, "markeredgewidth": 1.2}
            axes.plot(last, curve.loc[last, "mean"], STOPPED.marker, **look)


def draw_quality_path(axes: Axes, runs: pd.DataFrame, column: str, style: Style) -> None:
    """The path of true quality against a column, from a gray dot to a marker."""
    x, y = seed_curve(runs, column)["mean"], seed_curve(runs, "quality")["mean"]
    steps = x.index.intersection(y.index)
    if steps.empty:
        return
    x, y = x[steps], y[steps]
    axes.plot(x, y, color=style.colour, linestyle=style.line, linewidth=1)
    axes.plot(x.iloc[0], y.iloc[0], UNTRAINED.marker, color=UNTRAINED.colour, markersize=4, zorder=3)
    axes.plot(x.iloc[-1], y.iloc[-1], style.marker, color=style.colour, markersize=5.5)


def training_plot(
    name: str, title: str, panels: Mapping[str, pd.DataFrame], styles: Mapping[str, Style]
) -> Plot:
    """The measured CURVES over training as rows, the histories of `panels` (by title) as columns, a line per method."""
    measured = {
        column: label
        for column, label in CURVES.items()
        if any(history[column].notna().any() for history in panels.values())
    }

    def draw(axes: Axes, column: str, panel: str) -> None:
        history = panels[panel]
        for method, style in styles.items():
            draw_curve(axes, history[history["method"] == method], column, style)

    marks = stop_mark(pd.concat(panels.values()))
    figure = curve_grid(title, measured, {panel: panel for panel in panels}, draw, styles, marks)
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

    The legend has the lines `styles` and the single `marks`.
    """
    heads = list(columns.values())
    with rc_context(RC):
        shape, names = (len(rows), len(columns)), [*styles, *marks]
        figure, panels = panel_grid(shape, height, names, most_lines(heads), most_lines(rows.values()))
        for (row, label), axes_of_row in zip(rows.items(), panels, strict=True):
            for column, axes in zip(columns, axes_of_row, strict=True):
                draw(axes, row, column)
                mark_empty_panel(axes)
            axes_of_row[0].set_ylabel(label)
        finish_grid(figure, panels, heads, x_label, title, styles, marks)
    return figure


def most_lines(labels: Iterable[str]) -> int:
    """The lines of the label that has most."""
    return 1 + max(label.count("\n") for label in labels)


def panel_grid(
    shape: tuple[int, int], height: float, names: Iterable[str], head_lines: int, label_lines: int
) -> tuple[Figure, Any]:
    """A figure of the text width with `shape` (rows, columns) panels, each row `height` inches high.

    Margins are in inches, so the room around the panels does not depend on their number: title and column heads (of
    `head_lines` lines) above, x label and the legend of the names below, row labels (of `label_lines`) on the left.
    """
    above, below, right = 0.36 + 0.14 * head_lines, 0.55 + legend_height(names), 0.1
    left = 0.57 + 0.14 * max(2, label_lines)
    total = above + height * shape[0] + below
    figure = Figure(figsize=(WIDTH, total))
    edges = {
        "left": left / WIDTH,
        "right": 1 - right / WIDTH,
        "bottom": below / total,
        "top": 1 - above / total,
    }
    spacing = edges | {"wspace": 0.08, "hspace": 0.14}
    panels = figure.subplots(*shape, sharex=True, sharey="row", squeeze=False, gridspec_kw=spacing)
    return figure, panels


def legend_columns(names: Iterable[str]) -> int:
    """Columns of the legend: as many as fit, with the names spread evenly over its rows."""
    names = list(names)
    fit = max(1, int(WIDTH / (0.62 + 0.055 * max(map(len, names)))))
    return ceil(len(names) / ceil(len(names) / fit))


def legend_height(names: Iterable[str]) -> float:
    """Height of the legend in inches."""
    names = list(names)
    return 0.1 + 0.17 * ceil(len(names) / legend_columns(names))


def finish_grid(
    figure: Figure,
    panels: Any,
    columns: Sequence[str],
    x_label: str,
    title: str,
    styles: Mapping[str, Style],
    marks: Mapping[str, Style],
) -> None:
    """Column heads, the shared label of the x axis, the title, and the legend."""
    for axes, name in zip(panels[0], columns, strict=True):
        axes.set_title(name)
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    for row in panels:
        row[0].yaxis.set_label_coords(-0.5 / (row[0].get_position().width * WIDTH), 0.5)
    height = figure.get_figheight()
    figure.suptitle(title, y=1 - 0.08 / height, va="top")
    figure.supxlabel(x_label, fontsize=8, y=(0.05 + legend_height([*styles, *marks])) / height, va="bottom")
    figure.legend(
        handles=legend_handles(styles, marks),
        loc="lower center",
        ncols=legend_columns([*styles, *marks]),
        handlelength=3,
        columnspacing=1.2,
    )


def mark_empty_panel(axes: Axes) -> None:
    """Write "no data" into a panel without lines."""
    if not axes.lines:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", color="#666666")
        axes.grid(visible=False)
