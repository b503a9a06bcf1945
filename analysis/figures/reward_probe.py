"""Reward probe as a heat map: the mean rank that each reward gives to answers of known quality."""

from collections.abc import Sequence
from math import isnan
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from analysis.figures.style import STYLES, Plot, new_figure
from analysis.tables.render import slug
from analysis.tables.reward_probe import (
    ANSWERS,
    BEST,
    first_text,
    is_cme,
    line_label,
    probed_models,
    reward_probe_frame,
)
from cme.records import RewardProbeRecord

LABELS = {
    "boilerplate": "boiler- plate",
    "truncated": "trun- cated",
    "repeated word": "word (x10)",  # beside "prompt copied", of which the lines would read "repeated prompt"
}
"""Heads of narrow columns."""
SHADES = LinearSegmentedColormap.from_list("rank", [STYLES["cme"].colour, "#ffffff"])
"""Colours of mean ranks: dark is rank 1."""


def reward_probe_plot(records: Sequence[RewardProbeRecord]) -> Plot:
    """Heat maps of the mean ranks of one scale, one panel per record."""
    scale = records[0].scale
    heights = [0.18 * len(record.values) for record in records]
    title = f"Mean rank of graded answers by reward (scale: {scale})"
    with new_figure(title, 0.35 + sum(heights) + 0.75 * len(records)) as figure:
        panels = figure.subplots(len(records), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
        for record, axes in zip(records, panels[:, 0], strict=True):
            draw_ranks(axes, record)
    caption = (
        f"Before any training, at scale {scale}: the mean rank that each reward gives to answers of known quality, "
        "1 (dark) the highest; a dash where no answer of a kind could be scored. On the right: the percentage of "
        "prompts whose right answer is first, with the 95 % CI. Training on the reward can drift to a column that is "
        f"darker than that of the right answer. {ANSWERS}"
    )
    return Plot(f"reward-probe-{slug(scale)}", caption, figure)


def draw_ranks(axes: Axes, record: RewardProbeRecord) -> None:
    """Draw one record as a heat map: lines in rows, grades in columns, numbers in the cells."""
    frame = reward_probe_frame([record])
    lines = sorted(record.values, key=lambda line: not is_cme(line))
    grades = list(dict.fromkeys(frame["grade"]))
    table = frame.pivot(index="line", columns="grade", values="mean_rank").loc[lines, grades].to_numpy(float)
    axes.imshow(table, cmap=SHADES, vmin=1, vmax=len(grades), aspect="auto")
    for row, column in np.ndindex(*table.shape):
        rank = table[row, column]
        dark = rank < 1 + (len(grades) - 1) / 7  # white text has more contrast there
        text = "-" if isnan(rank) else f"{rank:.1f}"
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    for row, line in enumerate(lines):
        text = first_text(frame[frame["line"] == line], decimals=0)
        axes.text(1.01, row, text, transform=axes.get_yaxis_transform(), ha="left", va="center")
    axes.text(1.01, -1, "right first (%)", transform=axes.get_yaxis_transform(), ha="left", va="bottom")
    axes.axhline(sum(map(is_cme, lines)) - 0.5, color="black", linewidth=0.8)
    axes.axvline(grades.index(BEST) - 0.5, color="black", linewidth=0.8)
    axes.set_yticks(range(len(lines)), [line_label(line) for line in lines])
    axes.set_xticks(range(len(grades)), [fill(LABELS.get(g, g), 8, break_long_words=False) for g in grades])
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.set_xlabel(probed_models(record))
