"""Figures of training in blocks of steps: reward, held-out verifier and true quality, sampled and greedy."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes

from analysis.experiments.courses import BLOCK, block_means, greedy_steps, monitored_history
from analysis.figures.curves import curve_grid
from analysis.figures.style import Plot, Style
from cme.records import RunRecord

REWARD = Style("#0072B2", "o")
HELDOUT = Style("#D55E00", "^", (4, 1.5))
QUALITY = Style("#009E73", "s")


def draw_block_path(axes: Axes, blocks: pd.DataFrame, across: str, column: str, style: Style) -> None:
    """A column against another over the blocks that all seeds have, with the band of seeds; a ring at best quality."""
    known = blocks.dropna(subset=[column, across])
    whole = known.groupby("block")["run_id"].nunique() == known["run_id"].nunique()
    by_block = known[known["block"].map(whole).astype(bool)].groupby("block")
    if not len(by_block):
        return
    x, y = by_block[across].mean(), by_block[column].mean()
    low, high = by_block[column].min(), by_block[column].max()
    axes.fill_between(x, low, high, color=style.colour, alpha=0.15, linewidth=0)
    axes.plot(x, y, color=style.colour, linestyle=style.line, marker=style.marker, markersize=3)
    axes.plot(x.iloc[0], y.iloc[0], style.marker, color=style.colour, markerfacecolor="white", markersize=5)
    axes.plot(x.iloc[-1], y.iloc[-1], style.marker, color=style.colour, markersize=6, clip_on=False)
    if column in ("quality", "greedy"):
        best = x.iloc[int(y.argmax())]
        axes.plot(best, y.max(), "o", color="black", markerfacecolor="none", markersize=9, clip_on=False)


def column_heads(names: Iterable[str]) -> dict[str, str]:
    """The names as heads of narrow columns: long ones on two lines."""
    return {n: n if len(n) <= 15 else n.replace(" ", "\n", 1).replace("_", "_\n", 1) for n in names}


def rise_plot(name: str, title: str, runs: Sequence[RunRecord], labels: Mapping[str, str]) -> Plot:
    """One column per label: above, reward and held-out verifier since the start; below, true quality by step."""
    blocks = block_means(monitored_history(runs))
    start = blocks.groupby("run_id")[["reward_beside", "heldout"]].transform("first")
    blocks = blocks.assign(
        label=blocks["run_id"].map(dict(labels)),
        reward_rise=blocks["reward_beside"] - start["reward_beside"],
        heldout_rise=blocks["heldout"] - start["heldout"],
    )

    def draw(axes: Axes, row: str, label: str) -> None:
        own = blocks[blocks["label"] == label]
        if row == "quality":
            draw_block_path(axes, own, "step", "quality", QUALITY)
        else:
            draw_block_path(axes, own, "step", "reward_rise", REWARD)
            draw_block_path(axes, own, "step", "heldout_rise", HELDOUT)

    styles = {"trained reward": REWARD, "held-out verifier": HELDOUT, "true quality": QUALITY}
    rows = {"rise": "rise since the start\n(nats/token)", "quality": "true quality\n(0 to 1)"}
    figure = curve_grid(title, rows, column_heads(dict.fromkeys(labels.values())), draw, styles, height=1.4)
    caption = (
        f"{title}. Above: how far the trained reward and the likelihood under the held-out verifier, on which no run "
        "is trained, rose since the start, each in nats per token of its own model, at the same steps. A reward that "
        "rises while true quality (below) stands still or falls is gamed. Each mark is the mean over seeds of a block "
        f"of {BLOCK} steps that every seed has; the open mark is the start. Bands: lowest and highest seed. Rings: "
        "highest mean of true quality."
    )
    return Plot(name, caption, figure)


def greedy_plot(name: str, title: str, runs: Sequence[RunRecord], labels: Mapping[str, str]) -> Plot:
    """One column per label: true quality by step, of completions sampled in training and of greedy responses."""
    blocks, saved = block_means(monitored_history(runs)), greedy_steps(runs)
    saved = saved.assign(block=saved["step"])
    styles = {
        "sampled in training": Style("#009E73", "s", (4, 1.5)),
        "greedy, saved checkpoints": Style("#0072B2", "o"),
    }
    sampled, greedy = styles.values()

    def draw(axes: Axes, _: str, label: str) -> None:
        draw_block_path(axes, blocks[blocks["run_id"].map(dict(labels)) == label], "step", "quality", sampled)
        draw_block_path(axes, saved[saved["run_id"].map(dict(labels)) == label], "step", "greedy", greedy)

    heads = column_heads(dict.fromkeys(labels.values()))
    figure = curve_grid(title, {"quality": "true quality\n(0 to 1)"}, heads, draw, styles, height=1.7)
    caption = (
        f"{title}. Completions sampled in training, for the training prompts, in blocks of {BLOCK} steps, and greedy "
        "responses of the saved checkpoints, to the selection prompts. The prompts differ, so compare directions, not "
        "levels. Means over seeds at steps that every seed has; the open mark is the start. Bands: lowest and highest "
        "seed. Rings: highest mean. A training that the guard stopped has no later checkpoint."
    )
    return Plot(name, caption, figure)
