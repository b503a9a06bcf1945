"""Drift from the untrained model as a figure: a panel per metric, a row per method."""

from dataclasses import replace
from math import ceil

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import RC, UNTRAINED, WIDTH, Plot, Style, legend_handles, method_styles
from analysis.records.names import generator_name
from analysis.tables.drift import MATCHED, METRICS, OTHERS
from analysis.tables.render import slug

COLUMNS = 4  # of panels
POLICY = "s"  # for every method: a triangle would pass for an arrow, and a round mark for the start


def drift_plot(frame: pd.DataFrame, name: str, scale: str) -> Plot:
    """A panel for each metric of a drift frame, a row for each method: gray dot the start, square the policy."""
    styles = method_styles(dict(zip(frame["method"], frame["reward"], strict=True)))
    height = row_heights(frame)
    shown = [metric for metric in METRICS if metric.name in set(frame["metric"])]
    lines = ceil(len(shown) / COLUMNS)
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 0.7 + lines * (0.55 + 0.17 * len(height))), layout="constrained")
        panels = figure.subplots(lines, COLUMNS, sharey=True, squeeze=False)
        for axes in panels.flat[len(shown) :]:
            axes.set_visible(False)
        for axes, metric in zip(panels.flat, shown, strict=False):
            draw_metric(axes, frame[frame["metric"] == metric.name], height, styles)
            axes.set_title(metric.label)
            axes.set_xlabel(metric.unit)
        for axes in panels[:, 0]:
            axes.set_yticks(list(height.values()), [method or place for place, method in height])
            for tick, (_, method) in zip(axes.get_yticklabels(), height, strict=True):
                tick.set_fontweight("normal" if method else "bold")
            axes.set_ylim(min(height.values()) - 0.7, 0.7)
        figure.suptitle(f"Drift from the start, {name} (scale: {scale})")
        marks = {
            "untrained model": UNTRAINED,
            "trained policy": replace(next(iter(styles.values())), marker=POLICY),
        }
        figure.legend(handles=legend_handles(marks, lines=False), loc="outside lower center", ncols=2)
    caption = (
        f"Drift in {name} at scale {scale}: from the untrained model (gray dot) to the trained policy (square), "
        "means over seeds; the pale band spans the lowest and the highest seed. Every panel has its own unit: "
        f"compare within a panel. {MATCHED} {OTHERS}"
    )
    return Plot(f"drift-{slug(name)}-{slug(scale)}", caption, figure)


def row_heights(frame: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Height of each row: a heading per family and regime (with an empty method), followed by its methods."""
    rows: dict[tuple[str, str], int] = {}
    for family, regime, method in zip(frame["family"], frame["regime"], frame["method"], strict=True):
        place = generator_name(family, regime)
        rows.setdefault((place, ""), -len(rows))
        rows.setdefault((place, method), -len(rows))
    return rows


def draw_metric(
    axes: Axes, frame: pd.DataFrame, height: dict[tuple[str, str], int], styles: dict[str, Style]
) -> None:
    """One metric's panel."""
    for row in frame.to_dict("records"):
        style, y = styles[row["method"]], height[generator_name(row["family"], row["regime"]), row["method"]]
        axes.plot([row["start"], row["policy"]], [y, y], color=style.colour, linewidth=1)
        axes.plot(row["start"], y, UNTRAINED.marker, color=UNTRAINED.colour, markersize=4.5)
        axes.plot(row["policy"], y, POLICY, color=style.colour, markersize=4)
        axes.plot(
            [row["start"] + row["seed_low"], row["start"] + row["seed_high"]],
            [y, y],
            color=style.colour,
            linewidth=3,
            alpha=0.3,
            solid_capstyle="butt",
        )
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
