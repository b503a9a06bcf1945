"""Gaming in numbers: what the trained reward, the held-out verifier and true quality did over training, by method."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes

from analysis.experiments._blocks import (
    BLOCK,
    Spread,
    at,
    blocks_frame,
    collapse,
    last_blocks,
    over_seeds,
    peaks,
    since,
    table_of,
    with_gap,
)
from analysis.figures.curves import finish_grid, mark_empty_panel, panel_grid
from analysis.figures.overview import Plot
from analysis.figures.style import RC, Style
from analysis.records.frames import last_training_step
from cme.records import RunRecord

RISES = ("reward_beside", "heldout", "gap", "quality")
"""Of these the rise from the start to the last block; the first three at the steps that have them all."""
LATER = ("quality", "reward_value", "heldout")
"""Of these what happened since the peak of quality, and over the second half."""


def courses(runs: Sequence[RunRecord], labels: Mapping[str, str]) -> pd.DataFrame:
    """One row a label, in the order of the labels: its runs' course, each spread over seeds as `name`, `_lo`, `_hi`.

    `start`, `peak` and `final` are true quality; `fall` is peak less final, paired by run. Peaks are those of
    `peaks`, `peak_steps` their last steps and `collapse_steps` the collapses, by seed. Left out: runs without true
    quality and runs without a whole block, counted in `left_out`.
    """
    history = with_gap(runs)
    history = history.assign(label=history["run_id"].map(labels))
    return pd.DataFrame(
        [
            {"label": label} | course(own, [run for run in runs if labels[run.run_id] == label])
            for label, own in (
                (name, history[history["label"] == name]) for name in dict.fromkeys(labels.values())
            )
        ]
    )


def course(history: pd.DataFrame, runs: Sequence[RunRecord]) -> dict[str, Any]:
    """The row of one method's runs."""
    blocks = blocks_frame(history)
    trained = set(blocks.loc[blocks["block"] > 0, "run_id"])
    seen = blocks[blocks["block"].eq(0) & blocks["quality"].notna()]["run_id"]
    kept = [run for run in runs if run.run_id in trained & set(seen)]
    row: dict[str, Any] = {
        "seeds": " ".join(str(run.seed) for run in kept),
        "left_out": len(runs) - len(kept),
        "stopped": " ".join("-" if run.stopped is None else str(last_training_step(run)) for run in kept),
        "peak_steps": "n/a",
        "collapse_steps": "n/a",
    }
    if not kept:
        return row
    blocks = blocks[blocks["run_id"].isin([run.run_id for run in kept])]
    quality = table_of(blocks, "quality")
    peak, last = peaks(quality), last_blocks(blocks)
    start, half = pd.Series(0, index=last.index), last // 2
    fell = over_seeds(at(quality, peak) - at(quality, last))
    row |= columns("start", over_seeds(at(quality, start))) | columns("peak", over_seeds(at(quality, peak)))
    row |= columns("final", over_seeds(at(quality, last))) | columns("fall", fell)
    for name in LATER:
        row |= columns(f"since_peak_{name}", since(blocks, name, peak))
        row |= columns(f"second_half_{name}", since(blocks, name, half))
    for name in RISES:
        row |= columns(f"rise_{name}", since(blocks, name, start))
    steps = blocks.set_index(["run_id", "block"])["step"]
    row["peak_steps"] = " ".join(str(int(steps[run.run_id, peak[run.run_id]])) for run in kept)
    fallen = [collapse(history[history["run_id"] == run.run_id]) for run in kept]
    row["collapse_steps"] = " ".join("-" if step is None else str(step) for step in fallen)
    return row


def columns(name: str, of: Spread) -> dict[str, float]:
    """A spread as columns of the frame."""
    return dict(zip((name, f"{name}_lo", f"{name}_hi"), of, strict=True))


def spread_of(row: Mapping[Any, Any], name: str) -> Spread:
    """A spread from a row of the frame, NaN where the row has none."""
    nan = float("nan")
    return row.get(name, nan), row.get(f"{name}_lo", nan), row.get(f"{name}_hi", nan)


def rise_plot(
    name: str, title: str, runs: Sequence[RunRecord], labels: Mapping[str, str], styles: Mapping[str, Style]
) -> Plot:
    """By label in columns: above, reward and held-out verifier since the start; below, true quality by step."""
    blocks = blocks_frame(with_gap(runs))
    start = blocks.groupby("run_id")[["reward_beside", "heldout"]].transform("first")
    blocks = blocks.assign(
        label=blocks["run_id"].map(labels),
        reward_rise=blocks["reward_beside"] - start["reward_beside"],
        heldout_rise=blocks["heldout"] - start["heldout"],
    )
    shown = {
        "trained reward": Style("#0072B2", "o", ()),
        "held-out verifier": Style("#D55E00", "^", (4, 1.5)),
    }
    shown["true quality"] = Style("#009E73", "s", ())
    names = list(styles)
    heads = [name if len(name) <= 15 else name.replace("_", "_\n", 1) for name in names]
    with rc_context(RC):
        lines = 1 + max(head.count("\n") for head in heads)
        figure, panels = panel_grid(2, len(names), 1.4, shown, head_lines=lines)
        for label, above, below in zip(names, *panels, strict=True):
            own = blocks[blocks["label"] == label]
            draw_path(above, own, "step", "reward_rise", shown["trained reward"])
            draw_path(above, own, "step", "heldout_rise", shown["held-out verifier"])
            draw_path(below, own, "step", "quality", shown["true quality"])
            mark_empty_panel(below)
        panels[0, 0].set_ylabel("rise since the start\n(nats/token)")
        panels[1, 0].set_ylabel("true quality\n(0 to 1)")
        finish_grid(figure, panels, heads, "training step", title, shown)
    caption = (
        f"{title}. Above: how far the trained reward and the likelihood under the held-out verifier, never trained on, "
        "rose since the start, each in nats per token of its own model, at the same steps. A reward that rises "
        "while true quality (below) stands still or falls is gamed. A mark is a block of "
        f"{BLOCK} steps that every seed has, mean over seeds, the open mark the start; bands: lowest and highest seed; "
        "rings: highest mean of true quality."
    )
    return Plot(name, caption, figure)


def draw_path(axes: Axes, blocks: pd.DataFrame, across: str, column: str, style: Style) -> None:
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
