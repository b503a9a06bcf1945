"""Long trainings: does true quality go on rising with the reward, or fall, and when?"""

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context

from analysis.curves import finish_grid, note_if_empty, panel_grid, styles_of
from analysis.experiments._blocks import (
    BLOCK,
    COLLAPSE,
    HOW,
    blocks_frame,
    spread_text,
    with_gap,
)
from analysis.experiments._gaming import courses, draw_path, spread_of
from analysis.experiments._verifiers import by_generator
from analysis.figures import Plot
from analysis.methods import REWARDS, method_names, position
from analysis.metrics import MIN_SEEDS
from analysis.render import Entry, Table, slug
from analysis.sections import Part, write_part
from analysis.style import RC
from cme.records import RunRecord

TITLE = "Over-optimisation: does quality go on rising with the reward?"
INTRO = (
    "Trained for four times the usual steps. If a reward cannot be gamed, true quality goes on rising with it or "
    "levels off; over-optimisation is true quality that falls from its peak while the reward goes on rising (Gao et "
    "al. 2023). A reward is said to be over-optimised here if the 95 % interval over seeds of the fall from the peak "
    "lies above 0; to go on rising if that of the change over the second half does; otherwise neither is claimed."
)
MEASURES = {"quality": "true quality (0 to 1)", "heldout": "held-out verifier (nats/token)"}


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The table and figures of one scale."""
    found = [(generator, course_of(own)) for generator, own in by_generator(runs)]
    frame = pd.concat([frame.assign(generator=generator) for generator, frame in found])
    plots = [kl_plot(generator, own, scale) for generator, own in by_generator(runs)]
    return write_part(f"{slug(scale)}-overoptimisation", [course_table(found, scale)], frame, plots, out)


def course_of(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """The courses of one generator's methods, in the order of the rewards."""
    names = method_names(runs)
    ordered = sorted(runs, key=lambda run: (position(run.reward, REWARDS), names[run.run_id], run.seed))
    return courses(ordered, {run.run_id: names[run.run_id] for run in ordered})


def direction(row: Mapping[Any, Any]) -> str:
    """What a method's true quality does in the end: falls, rises, level (neither for certain), or unknown."""
    if isnan(spread_of(row, "fall")[1]):
        return "unknown"
    if spread_of(row, "fall")[1] > 0:
        return "falls"
    return "rises" if spread_of(row, "second_half_quality")[1] > 0 else "level"


def course_table(found: Sequence[tuple[str, pd.DataFrame]], scale: str) -> Table:
    """A row a method: quality at start, peak and end, the fall, and what the reward did meanwhile."""
    groups = []
    for generator, frame in found:
        rows: list[list[Entry]] = []
        for row in frame.to_dict("records"):
            texts = ["" if rows else generator, str(row["label"]), row["seeds"] or "-"]
            texts += [plain(row, name) for name in ("start", "peak")]
            texts += [str(row["peak_steps"]), plain(row, "final")]
            fall = Entry(spread_text(spread_of(row, "fall")), bold=direction(row) == "falls")
            late = spread_of(row, "second_half_quality")
            rows.append(
                [
                    *map(Entry, texts),
                    fall,
                    Entry(spread_text(late), bold=direction(row) == "rises"),
                    Entry(spread_text(spread_of(row, "since_peak_reward_value"))),
                    Entry(spread_text(spread_of(row, "since_peak_heldout"))),
                    Entry(str(row["collapse_steps"])),
                    Entry(row["stopped"] or "-"),
                ]
            )
        groups.append(rows)
    left_out = sum(int(frame["left_out"].sum()) for _, frame in found)
    return Table(
        name=f"overoptimisation-{slug(scale)}",
        title=f"True quality over a long training (scale: {scale})",
        header=[
            *("generator", "reward", "seeds", "start", "peak", "peak by step", "final", "fall from the peak"),
            *(
                "second half",
                "reward since the peak",
                "held-out since the peak",
                "collapse by step",
                "stopped at",
            ),
        ],
        groups=groups,
        notes=[
            *(sentence(generator, frame) for generator, frame in found),
            HOW,
            "Start, peak, final and their differences: true quality (0 to 1), means over seeds; in brackets 95 % t "
            f"intervals over seeds, [n/a] below {MIN_SEEDS}. Bold: the fall, or the change over the second half of "
            "one that does not fall, is above 0 for certain.",
            "Peak: of each seed, the block in which the other seeds' mean is highest, so that the fall is no matter of "
            "luck; it can be the last block, and the fall 0. Reward (in its own unit) and held-out verifier "
            "(nats/token): last block less the peak's.",
            f"{COLLAPSE} Stopped: the guard ended the training.",
            *(
                [f"{left_out} runs left out: no true quality, or no whole block of {BLOCK} steps."]
                if left_out
                else []
            ),
        ],
    )


def plain(row: Mapping[Any, Any], name: str) -> str:
    """A mean over seeds."""
    value = spread_of(row, name)[0]
    return "n/a" if isnan(value) else f"{value:.3f}"


def sentence(generator: str, frame: pd.DataFrame) -> str:
    """Which rewards go on rising and which fall, with the numbers."""
    rows = frame.to_dict("records")
    ways: dict[str, list[str]] = {way: [] for way in ("falls", "rises", "level", "unknown")}
    for row in rows:
        way = direction(row)
        number = {"falls": "fall", "rises": "second_half_quality"}.get(way)
        shown = f" ({spread_text(spread_of(row, number))})" if number else ""
        ways[way].append(f"{row['label']}{shown}")
    gamed = [
        str(row["label"])
        for row in rows
        if direction(row) == "falls" and spread_of(row, "since_peak_reward_value")[1] > 0
    ]
    words = {
        "falls": "falls from its peak under",
        "rises": "goes on rising over the second half under",
        "level": "is not told from level under",
        "unknown": "cannot be told (too few seeds, or no true quality) under",
    }
    told = "; ".join(f"{words[way]} {', '.join(names)}" for way, names in ways.items() if names)
    more = (
        f" While quality fell, the trained reward rose for certain under {', '.join(gamed)}." if gamed else ""
    )
    return f"{generator}: true quality {told}.{more}"


def kl_plot(generator: str, runs: Sequence[RunRecord], scale: str) -> Plot:
    """True quality and the held-out verifier against the root of the KL divergence, a line a method."""
    blocks = blocks_frame(with_gap(runs))
    styles = styles_of(blocks)
    with rc_context(RC):
        figure, panels = panel_grid(len(MEASURES), 1, 2.1, styles)
        for (column, label), [axes] in zip(MEASURES.items(), panels, strict=True):
            for method, style in styles.items():
                draw_path(axes, blocks[blocks["method"] == method], "sqrt_kl", column, style)
            axes.set_ylabel(label.replace(" (", "\n("))
            note_if_empty(axes)
        title = f"Quality and held-out verifier against √KL (scale: {scale}, generator: {generator})"
        finish_grid(figure, panels, [""], "√KL from the start (√nats per response)", title, styles)
    caption = (
        f"Long training of {generator} at scale {scale}: true quality and the likelihood under the held-out verifier "
        "against the root of the policy's KL divergence from its start, both of completions sampled in training. A "
        f"mark is a block of {BLOCK} steps, mean over seeds; the open mark is the start, the largest the end; the ring "
        "is the highest mean of true quality. Bands: lowest and highest seed. A line that falls as it moves right is "
        "over-optimised."
    )
    return Plot(f"overoptimisation-sqrt-kl-{slug(scale)}-{slug(generator)}", caption, figure)
