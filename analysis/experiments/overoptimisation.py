"""Long trainings: does true quality go on rising with the reward, or fall, and when?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context

from analysis.experiments._blocks import (
    BLOCK,
    COLLAPSE,
    HOW,
    blocks_frame,
    spread_text,
    with_gap,
)
from analysis.experiments._gaming import courses, draw_path, spread_of
from analysis.experiments._greedy import greedy_courses, greedy_plot, greedy_steps
from analysis.experiments._verifiers import by_generator
from analysis.figures.curves import finish_grid, mark_empty_panel, panel_grid, styles_by_method
from analysis.figures.overview import Plot
from analysis.figures.style import RC
from analysis.records.names import REWARDS, method_names, order_key
from analysis.sections.base import Part, write_part
from analysis.sections.trajectory import trajectory_table
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import Entry, Table, slug
from cme.records import RunRecord

TITLE = "Over-optimisation: does quality go on rising with the reward?"
INTRO = (
    "Trained for four times the usual steps. If a reward cannot be gamed, true quality goes on rising with it or "
    "levels off; over-optimisation is true quality that falls from its peak while the reward goes on rising (Gao et "
    "al. 2023). A reward is said to be over-optimised here if the 95 % interval over seeds of the fall from the peak "
    "lies above 0; to go on rising if that of the change over the second half does; otherwise neither is claimed. This "
    "is asked of the completions sampled in training, and where checkpoints were saved of their greedy responses, too: "
    "what a user sees can fall while what is trained on looks level."
)
MEASURES = {
    "quality": "true quality (0 to 1)",
    "greedy": "greedy quality (0 to 1)",
    "heldout": "held-out verifier (nats/token)",
}


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The table and figures of one scale."""
    found = [(generator, course_of(own)) for generator, own in by_generator(runs)]
    frame = pd.concat([frame.assign(generator=generator) for generator, frame in found])
    tables, plots = [course_table(found, scale)], []
    if "greedy_start" in frame:
        tables.append(greedy_table([each for each in found if "greedy_start" in each[1]], scale))
    elif saved := [run for run in runs if run.trajectory is not None]:
        tables.append(replace(trajectory_table(saved), name=f"overoptimisation-checkpoints-{slug(scale)}"))
    for generator, own in by_generator(runs):
        plots.append(kl_plot(generator, own, scale))
        if not greedy_steps(own).empty:
            title = f"Sampled and greedy quality (scale: {scale}, generator: {generator})"
            name = f"overoptimisation-greedy-{slug(scale)}-{slug(generator)}"
            plots.append(greedy_plot(name, title, own, labels_of(own)))
    return write_part(f"{slug(scale)}-overoptimisation", tables, frame, plots, out)


def labels_of(runs: Sequence[RunRecord]) -> dict[str, str]:
    """The methods of one generator's runs, by run id, in the order of the rewards."""
    names = method_names(runs)
    ordered = sorted(runs, key=lambda run: (order_key(run.reward, REWARDS), names[run.run_id], run.seed))
    return {run.run_id: names[run.run_id] for run in ordered}


def course_of(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """The courses of one generator's methods, with those of greedy responses where checkpoints were saved."""
    labels, by_id = labels_of(runs), {run.run_id: run for run in runs}
    ordered = [by_id[run_id] for run_id in labels]
    sampled, greedy = courses(ordered, labels), greedy_courses(ordered, labels)
    return sampled if greedy.empty else sampled.merge(greedy, on="label", how="left")


def direction(row: Mapping[Any, Any], of: str = "") -> str:
    """What a method's true quality does in the end: falls, rises, level (neither for certain), or unknown.

    `of` is the prefix of the columns: "greedy_" for greedy responses, none for sampled completions.
    """
    if isnan(spread_of(row, f"{of}fall")[1]):
        return "unknown"
    if spread_of(row, f"{of}fall")[1] > 0:
        return "falls"
    return "rises" if spread_of(row, f"{of}second_half_quality")[1] > 0 else "level"


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


def greedy_table(found: Sequence[tuple[str, pd.DataFrame]], scale: str) -> Table:
    """A row a method: greedy quality at start, peak and end, its fall, and beside it the sampled quality's."""
    groups = []
    for generator, frame in found:
        rows: list[list[Entry]] = []
        for row in frame[frame["greedy_start"].notna()].to_dict("records"):
            texts = ["" if rows else generator, str(row["label"]), row["greedy_seeds"]]
            texts += [plain(row, "greedy_start"), plain(row, "greedy_peak"), row["greedy_peak_steps"]]
            fall, late = (spread_of(row, f"greedy_{name}") for name in ("fall", "second_half_quality"))
            way = direction(row, "greedy_")
            rows.append(
                [
                    *map(Entry, [*texts, plain(row, "greedy_final")]),
                    Entry(spread_text(fall), bold=way == "falls"),
                    Entry(spread_text(late), bold=way == "rises"),
                    Entry(spread_text(spread_of(row, "greedy_since_peak_reward_value"))),
                    Entry(row["greedy_collapse_steps"]),
                    Entry(spread_text(spread_of(row, "fall")), bold=direction(row) == "falls"),
                    Entry(str(row["collapse_steps"])),
                ]
            )
        groups.append(rows)
    return Table(
        name=f"overoptimisation-greedy-{slug(scale)}",
        title=f"True quality of greedy responses over a long training (scale: {scale})",
        header=[
            *("generator", "reward", "seeds", "start", "peak", "peak at step", "final", "fall from the peak"),
            *("second half", "reward since the peak", "collapse at step"),
            *("sampled: fall from the peak", "sampled: collapse by step"),
        ],
        groups=groups,
        notes=[
            *(sentence(generator, frame, "greedy_") for generator, frame in found),
            "Greedy responses of the saved checkpoints to the selection prompts, which are neither trained on nor "
            "evaluated on. Start, peak and final: true quality (0 to 1), means over seeds. Fall and second half (since "
            "the first checkpoint at half of the steps or later): 95 % intervals about other seeds and other prompts "
            f"both, [n/a] below {MIN_SEEDS} seeds. Bold: as in the table of sampled completions.",
            "Peak: of each seed, the checkpoint at which the other seeds' mean is highest. Reward since the peak: last "
            f"block of {BLOCK} steps less the one that the peak's step is in, over seeds.",
            "Collapse: the first saved checkpoint from which on all are worse than the start for certain (paired by "
            "prompt, 95 % interval over prompts), by seed; - is none.",
        ],
    )


def plain(row: Mapping[Any, Any], name: str) -> str:
    """A mean over seeds."""
    value = spread_of(row, name)[0]
    return "n/a" if isnan(value) else f"{value:.3f}"


def sentence(generator: str, frame: pd.DataFrame, of: str = "") -> str:
    """Which rewards go on rising and which fall, with the numbers; `of` as in `direction`."""
    rows = frame.to_dict("records")
    ways: dict[str, list[str]] = {way: [] for way in ("falls", "rises", "level", "unknown")}
    for row in rows:
        way = direction(row, of)
        number = {"falls": "fall", "rises": "second_half_quality"}.get(way)
        shown = f" ({spread_text(spread_of(row, f'{of}{number}'))})" if number else ""
        ways[way].append(f"{row['label']}{shown}")
    gamed = [
        str(row["label"])
        for row in rows
        if direction(row, of) == "falls" and spread_of(row, f"{of}since_peak_reward_value")[1] > 0
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
    return f"{generator}: {'greedy' if of else 'true'} quality {told}.{more}"


def kl_plot(generator: str, runs: Sequence[RunRecord], scale: str) -> Plot:
    """True quality, greedy quality where it is known, and held-out verifier against the root of KL, a line a method."""
    blocks = blocks_frame(with_gap(runs)).merge(greedy_steps(runs), on=["run_id", "step"], how="left")
    styles = styles_by_method(blocks)
    measures = {
        name: label for name, label in MEASURES.items() if name != "greedy" or blocks[name].notna().any()
    }
    with rc_context(RC):
        figure, panels = panel_grid(len(measures), 1, 2.1, styles)
        for (column, label), [axes] in zip(measures.items(), panels, strict=True):
            for method, style in styles.items():
                draw_path(axes, blocks[blocks["method"] == method], "sqrt_kl", column, style)
            axes.set_ylabel(label.replace(" (", "\n("))
            mark_empty_panel(axes)
        title = f"Quality and held-out verifier against √KL (scale: {scale}, generator: {generator})"
        finish_grid(figure, panels, [""], "√KL from the start (√nats per response)", title, styles)
    greedy = (
        "Greedy quality: true quality of the saved checkpoints' greedy responses to the selection prompts, at the "
        "distance of the block that ends there. "
        if "greedy" in measures
        else ""
    )
    caption = (
        f"Long training of {generator} at scale {scale}: true quality and the likelihood under the held-out verifier "
        "against the root of the policy's KL divergence from its start, all of completions sampled in training. "
        f"{greedy}A mark is a block of {BLOCK} steps, mean over seeds; the open mark is the start, the largest the "
        "end; the ring is the highest mean of true quality. Bands: lowest and highest seed. A line that falls as it "
        "moves right is over-optimised."
    )
    return Plot(f"overoptimisation-sqrt-kl-{slug(scale)}-{slug(generator)}", caption, figure)
