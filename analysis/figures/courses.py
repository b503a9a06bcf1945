"""Figures of training in blocks of steps: true quality, sampled and greedy, and the held-out verifier.

The frames have a row per run and block, with the columns `label` (the method), `run_id`, `block`, `step` and measures.
"""

from collections.abc import Mapping, Sequence
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.curves import curve_grid
from analysis.figures.paths import SQRT_KL
from analysis.figures.style import PEAK, UNTRAINED, Plot, Style

SAMPLED, GREEDY = Style("#009E73", "s", (4, 1.5)), Style("#0072B2", "o")
MEASURES = {
    "quality": "true quality\n(0 to 1)",
    "greedy": "greedy quality\n(0 to 1)",
    "heldout": "held-out verifier\n(nats/token)",
}
MARKS_NOTE = (
    "the gray dot is the start. Bands and bars: lowest and highest seed. Stars: highest mean of true quality. Means "
    "are over the blocks that every seed has."
)
MARKS = {"start": UNTRAINED, "peak": PEAK}


def draw_block_path(axes: Axes, blocks: pd.DataFrame, across: str, column: str, style: Style) -> None:
    """A column against another over the blocks that all seeds have, with the range of seeds; a star at best quality.

    The range is a band over steps, and a bar at each block otherwise: a path that turns back would fold a band.
    """
    known = blocks.dropna(subset=[column, across])
    whole = known.groupby("block")["run_id"].nunique() == known["run_id"].nunique()
    by_block = known[known["block"].map(whole).astype(bool)].groupby("block")
    if not len(by_block):
        return
    x, y = by_block[across].mean(), by_block[column].mean()
    low, high = by_block[column].min(), by_block[column].max()
    if across == "step":
        axes.fill_between(x, low, high, color=style.colour, alpha=0.15, linewidth=0)
    else:
        axes.vlines(x, low, high, color=style.colour, alpha=0.3, linewidth=1.5)
    axes.plot(x, y, **style.look, markersize=3)
    axes.plot(x.iloc[-1], y.iloc[-1], style.marker, color=style.colour, markersize=6, clip_on=False)
    axes.plot(x.iloc[0], y.iloc[0], UNTRAINED.marker, color=UNTRAINED.colour, markersize=5, clip_on=False)
    if column in ("quality", "greedy"):
        best = x.iloc[int(y.argmax())]
        axes.plot(best, y.max(), PEAK.marker, color=PEAK.colour, markersize=5, clip_on=False, zorder=4)


def greedy_plot(
    title: str, sampled: pd.DataFrame, greedy: pd.DataFrame, labels: Sequence[str], block_steps: int
) -> Plot:
    """One column per label: true quality by step, of completions sampled in training and of greedy responses."""

    def draw(axes: Axes, _: str, label: str) -> None:
        draw_block_path(axes, sampled[sampled["label"] == label], "step", "quality", SAMPLED)
        draw_block_path(axes, greedy[greedy["label"] == label], "step", "greedy", GREEDY)

    styles = {"sampled in training": SAMPLED, "greedy, saved checkpoints": GREEDY}
    width = max(11, 90 // len(labels))  # of a column's head, in characters
    heads = {label: fill(label, width, break_long_words=False) for label in labels}
    figure = curve_grid(title, {"quality": MEASURES["quality"]}, heads, draw, styles, MARKS, height=1.7)
    caption = (
        f"{title}. Completions sampled in training, for the training prompts, in blocks of {block_steps} steps, and "
        "greedy responses of the saved checkpoints, to the selection prompts. The prompts differ, so compare "
        f"directions, not levels. Means over seeds; {MARKS_NOTE} A training that the guard stopped has no later "
        "checkpoint."
    )
    return Plot("greedy", caption, figure)


def kl_plot(where: str, blocks: pd.DataFrame, styles: Mapping[str, Style], block_steps: int) -> Plot:
    """True quality, greedy quality if known, and the held-out verifier against the root of KL, a line per label."""
    greedy = bool(blocks["greedy"].notna().any())
    measures = {name: label for name, label in MEASURES.items() if greedy or name != "greedy"}

    def draw(axes: Axes, column: str, _: str) -> None:
        for label, style in styles.items():
            draw_block_path(axes, blocks[blocks["label"] == label], "sqrt_kl", column, style)

    title = f"Quality and held-out verifier against √KL ({where})"
    figure = curve_grid(title, measures, {"": ""}, draw, styles, MARKS, SQRT_KL, height=2.1)
    of_greedy = (
        "Greedy quality: true quality of the saved checkpoints' greedy responses to the selection prompts, at the "
        "distance of the block that ends there. "
    )
    caption = (
        f"{title}: true quality and the likelihood under the held-out verifier against the root of the policy's KL "
        "divergence from its start, measured on completions sampled in training. "
        f"{of_greedy if greedy else ''}Each mark is a block of {block_steps} steps, the largest the end; {MARKS_NOTE} "
        "A line that falls as it moves right is over-optimised."
    )
    return Plot("sqrt-kl", caption, figure)
