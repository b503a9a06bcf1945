"""Drift as a table and a figure, for the sections of experiments."""

from collections.abc import Mapping, Sequence
from math import ceil, isnan
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.curves import WINDOW
from analysis.figures.style import RC, WIDTH, Plot, Style, method_styles
from analysis.sections.base import Part, write_part
from analysis.sections.drift import METRICS, Metric, drift_frame
from analysis.stats.intervals import interval_excludes
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import Entry, Table, format_interval, group_rows, slug
from analysis.tables.win_rates import NEVER_BOLD
from cme.records import RunRecord

HEADER = ("metric", "family", "regime", "reward", "start", "policy", "change", "over seeds", "seeds")
COLUMNS = 4  # of panels
MATCHED = (
    "Distinct-1 and -2 (distinct n-grams over n-grams), self-BLEU (BLEU-4 of each response with all others as its "
    "references) and compression (bytes over bytes after DEFLATE) are of all responses together, each truncated to the "
    "shorter of start's and policy's response to its prompt, so that length has no effect."
)
OTHERS = (
    "Similarity to verifier: ROUGE-L F1 of a whole response and the frozen verifier's greedy response to the prompt. "
    f"Entropy (first and last {WINDOW} steps with a value) and the root of the KL divergence from the start (last "
    "value) are of completions sampled in training; the others are of greedy responses to the evaluation prompts."
)


def drift_part(
    runs: Sequence[RunRecord], name: str, out: Path, labels: Mapping[str, str] | None = None
) -> Part:
    """Write the drift of an experiment's runs of one scale; `name` is the experiment's.

    `labels` gives the runs' methods by run id, by default `method_names`.
    """
    frame, scale = drift_frame(runs, labels), runs[0].scale
    table, plot = drift_table(frame, name, scale), drift_plot(frame, name, scale)
    return write_part(f"{slug(scale)}-{slug(name)}-drift", [table], frame, [plot], out)


def drift_table(frame: pd.DataFrame, name: str, scale: str) -> Table:
    """Start, policy and change of each cell of a drift frame, grouped by metric."""
    rows: list[Sequence[Entry | str]] = []
    for metric in METRICS:
        own = frame[frame["metric"] == metric.name]
        rows += [[f"{metric.label} ({metric.unit})", *entries(row, metric)] for _, row in own.iterrows()]
    return Table(
        name=f"drift-{slug(name)}-{slug(scale)}",
        title=f"Drift from the start, {name}, scale: {scale}",
        header=HEADER,
        groups=group_rows(rows),
        notes=notes(frame),
    )


def entries(row: "pd.Series[Any]", metric: Metric) -> list[Entry]:
    """One cell of one metric as a row of the table, without the metric's label."""
    change = f"{row['change']:+.{metric.decimals}f}"
    if not isnan(row["lo"]):
        change = f"{change} {format_interval(row['lo'], row['hi'], metric.decimals)}"
    return [
        *(Entry(row[field]) for field in ("family", "regime", "method")),
        *(Entry(f"{row[side]:.{metric.decimals}f}") for side in ("start", "policy")),
        Entry(change, bold=interval_excludes(row["lo"], row["hi"], 0, row["prompts"])),
        Entry(format_interval(row["seed_lo"], row["seed_hi"], metric.decimals)),
        Entry(str(row["seeds"])),
    ]


def notes(frame: pd.DataFrame) -> list[str]:
    """The notes of the table."""
    found = [
        "Means over seeds. Change: policy minus start; in brackets, if a metric is a mean over prompts, its paired "
        f"95 % CI over prompts for these models. Bold: that interval excludes 0, {NEVER_BOLD} prompts.",
        f"Over seeds: 95 % t interval of the seeds' changes on these prompts, [n/a] below {MIN_SEEDS} seeds.",
        MATCHED,
        OTHERS,
    ]
    having = frame.loc[frame["metric"] == "verifier_similarity", "method"]
    if lacking := [method for method in dict.fromkeys(frame["method"]) if method not in set(having)]:
        found.append(f"Without recorded responses of one verifier: {', '.join(lacking)}.")
    return found


def drift_plot(frame: pd.DataFrame, name: str, scale: str) -> Plot:
    """A panel for each metric of a drift frame, a row for each method: open dot the start, filled marker the policy."""
    styles = method_styles(dict(zip(frame["method"], frame["reward"], strict=True)))
    height = heights(frame)
    shown = [metric for metric in METRICS if metric.name in set(frame["metric"])]
    lines = ceil(len(shown) / COLUMNS)
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 0.5 + lines * (0.55 + 0.17 * len(height))), layout="constrained")
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
    caption = (
        f"Drift in {name} at scale {scale}: from the untrained model (open dot) to the trained policy (filled dot), "
        "means over seeds; the pale band spans the lowest and the highest seed. Every panel has its own unit: "
        f"compare within a panel. {MATCHED} {OTHERS}"
    )
    return Plot(f"drift-{slug(name)}-{slug(scale)}", caption, figure)


def heights(frame: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Height of each row: a heading per family and regime (with an empty method), followed by its methods."""
    rows: dict[tuple[str, str], int] = {}
    for family, regime, method in zip(frame["family"], frame["regime"], frame["method"], strict=True):
        place = f"{family} {regime}"
        rows.setdefault((place, ""), -len(rows))
        rows.setdefault((place, method), -len(rows))
    return rows


def draw_metric(
    axes: Axes, frame: pd.DataFrame, height: dict[tuple[str, str], int], styles: dict[str, Style]
) -> None:
    """One metric's panel."""
    for row in frame.to_dict("records"):
        style, y = styles[row["method"]], height[f"{row['family']} {row['regime']}", row["method"]]
        axes.plot([row["start"], row["policy"]], [y, y], color=style.colour, linewidth=1)
        axes.plot(row["start"], y, "o", color=style.colour, markerfacecolor="white", markersize=4)
        axes.plot(
            row["policy"], y, "o", color=style.colour, markersize=4.5
        )  # a triangle would pass for an arrow
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
