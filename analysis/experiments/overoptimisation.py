"""Long trainings: does true quality keep rising with the reward, or does it fall, and when?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.experiments.base import FreeExperiment, column_table, group_by_generator
from analysis.experiments.course_figures import draw_block_path, greedy_plot
from analysis.experiments.courses import (
    BLOCK,
    BLOCKS_NOTE,
    COLLAPSE_NOTE,
    block_means,
    course_frame,
    format_change,
    greedy_course_frame,
    greedy_steps,
    monitored_history,
    spread_of,
)
from analysis.figures.curves import curve_grid, styles_by_method
from analysis.figures.style import Plot
from analysis.records.names import REWARDS, method_names, order_key
from analysis.sections.base import Part, write_part
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import Entry, Table, slug
from analysis.tables.trajectory import trajectory_table
from cme.records import RunRecord

MEASURES = {
    "quality": "true quality\n(0 to 1)",
    "greedy": "greedy quality\n(0 to 1)",
    "heldout": "held-out verifier\n(nats/token)",
}
DIRECTIONS = {
    "falls": "falls from its peak with",
    "rises": "keeps rising over the second half with",
    "level": "shows neither a fall nor a rise with",
    "unknown": "cannot be judged (too few seeds, or no true quality) with",
}
Row = Mapping[Any, Any]


def show(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """Write the tables and figures of one scale."""
    found = [(generator, combined_course(own)) for generator, own in group_by_generator(runs)]
    frame = pd.concat([frame.assign(generator=generator) for generator, frame in found])
    tables, plots = [course_table(found, scale)], []
    if "greedy_start" in frame:
        tables.append(greedy_table([each for each in found if "greedy_start" in each[1]], scale))
    elif saved := [run for run in runs if run.trajectory is not None]:
        tables.append(replace(trajectory_table(saved), name=f"overoptimisation-checkpoints-{slug(scale)}"))
    for generator, own in group_by_generator(runs):
        plots.append(kl_plot(generator, own, scale))
        if not greedy_steps(own).empty:
            title = f"Sampled and greedy quality (scale: {scale}, generator: {generator})"
            name = f"overoptimisation-greedy-{slug(scale)}-{slug(generator)}"
            plots.append(greedy_plot(name, title, own, ordered_labels(own)))
    return write_part(f"{slug(scale)}-overoptimisation", tables, frame, plots, out)


def ordered_labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """The methods of one generator's runs by run id, in the order of the rewards."""
    names = method_names(runs)
    ordered = sorted(runs, key=lambda run: (order_key(run.reward, REWARDS), names[run.run_id], run.seed))
    return {run.run_id: names[run.run_id] for run in ordered}


def combined_course(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """The courses of one generator's methods, with those of greedy responses if checkpoints were saved."""
    labels, by_id = ordered_labels(runs), {run.run_id: run for run in runs}
    ordered = [by_id[run_id] for run_id in labels]
    sampled, greedy = course_frame(ordered, labels), greedy_course_frame(ordered, labels)
    return sampled if greedy.empty else sampled.merge(greedy, on="label", how="left")


def direction(row: Row, kind: str = "") -> str:
    """The final direction of a method's true quality: a key of DIRECTIONS.

    `kind` is the prefix of the columns: "greedy_" for greedy responses, empty for sampled completions.
    """
    fall, late = spread_of(row, f"{kind}fall")[1], spread_of(row, f"{kind}second_half_quality")[1]
    if isnan(fall):
        return "unknown"
    return "falls" if fall > 0 else "rises" if late > 0 else "level"


def mean_text(row: Row, name: str) -> str:
    """A mean over seeds."""
    value = spread_of(row, name)[0]
    return "n/a" if isnan(value) else f"{value:.3f}"


def change_entry(row: Row, kind: str, name: str, bold_if: str) -> Entry:
    """A change with its interval, bold if the method's direction is `bold_if`."""
    return Entry(format_change(spread_of(row, f"{kind}{name}")), bold=direction(row, kind) == bold_if)


def course_columns(kind: str, at: str) -> dict[str, Callable[[Row], Entry | str]]:
    """The columns that the tables of sampled and of greedy quality share; `kind` as in `direction`."""
    return {
        "generator": lambda row: str(row["generator"]),
        "reward": lambda row: str(row["label"]),
        "seeds": lambda row: row[f"{kind}seeds"] or "-",
        "start": lambda row: mean_text(row, f"{kind}start"),
        "peak": lambda row: mean_text(row, f"{kind}peak"),
        f"peak {at}": lambda row: str(row[f"{kind}peak_steps"]),
        "final": lambda row: mean_text(row, f"{kind}final"),
        "fall from the peak": lambda row: change_entry(row, kind, "fall", "falls"),
        "second half": lambda row: change_entry(row, kind, "second_half_quality", "rises"),
        "reward since the peak": lambda row: format_change(spread_of(row, f"{kind}since_peak_reward_value")),
    }


def course_table(found: Sequence[tuple[str, pd.DataFrame]], scale: str) -> Table:
    """One row per method: quality at start, peak and end, the fall, and the change of the reward meanwhile."""
    left_out = sum(int(frame["left_out"].sum()) for _, frame in found)
    gap = f"{left_out} runs are left out: no true quality, or no whole block of {BLOCK} steps."
    return column_table(
        name=f"overoptimisation-{slug(scale)}",
        title=f"True quality over a long training (scale: {scale})",
        columns={
            **course_columns("", "by step"),
            "held-out since the peak": lambda row: format_change(spread_of(row, "since_peak_heldout")),
            "collapse by step": lambda row: str(row["collapse_steps"]),
            "stopped at": lambda row: row["stopped"] or "-",
        },
        groups=[frame.assign(generator=generator).to_dict("records") for generator, frame in found],
        notes=[
            *(summary(generator, frame) for generator, frame in found),
            BLOCKS_NOTE,
            "Start, peak, final and their differences: true quality (0 to 1), means over seeds; in brackets 95 % t "
            f"intervals over seeds, [n/a] below {MIN_SEEDS}. Bold: the interval of the fall lies above 0; or it does "
            "not, and that of the change over the second half does.",
            "Peak: for each seed, the block in which the other seeds' mean is highest, so the fall is not a matter of "
            "luck; it can be the last block, and the fall 0. Reward (in its own unit) and held-out verifier "
            "(nats/token): last block minus the peak's.",
            f"{COLLAPSE_NOTE} Stopped: the guard ended the training.",
            *([gap] if left_out else []),
        ],
        once=("generator",),
    )


def greedy_table(found: Sequence[tuple[str, pd.DataFrame]], scale: str) -> Table:
    """One row per method: greedy quality at start, peak and end, its fall, and next to it the sampled quality's."""
    rows = [frame[frame["greedy_start"].notna()].assign(generator=generator) for generator, frame in found]
    return column_table(
        name=f"overoptimisation-greedy-{slug(scale)}",
        title=f"True quality of greedy responses over a long training (scale: {scale})",
        columns={
            **course_columns("greedy_", "at step"),
            "collapse at step": lambda row: row["greedy_collapse_steps"],
            "sampled: fall from the peak": lambda row: change_entry(row, "", "fall", "falls"),
            "sampled: collapse by step": lambda row: str(row["collapse_steps"]),
        },
        groups=[frame.to_dict("records") for frame in rows],
        notes=[
            *(summary(generator, frame, "greedy_") for generator, frame in found),
            "Greedy responses of the saved checkpoints to the selection prompts, which are used neither for training "
            "nor for evaluation. Start, peak and final: true quality (0 to 1), means over seeds. Fall and second half "
            "(since the first checkpoint at half of the steps or later): across-seed 95 % intervals, [n/a] below "
            f"{MIN_SEEDS} seeds. Bold: as in the table of sampled completions.",
            "Peak: for each seed, the checkpoint at which the other seeds' mean is highest. Reward since the peak: "
            f"last block of {BLOCK} steps minus the block of the peak, over seeds.",
            "Collapse: the first saved checkpoint from which on all are worse than the untrained model (paired by "
            "prompt, 95 % interval over prompts), by seed; - means no collapse.",
        ],
        once=("generator",),
    )


def summary(generator: str, frame: pd.DataFrame, kind: str = "") -> str:
    """With which rewards quality keeps rising and with which it falls, with the numbers; `kind` as in `direction`."""
    rows = frame.to_dict("records")
    numbers = {"falls": "fall", "rises": "second_half_quality"}
    methods: dict[str, list[str]] = {way: [] for way in DIRECTIONS}
    for row in rows:
        way = direction(row, kind)
        number = f" ({format_change(spread_of(row, kind + numbers[way]))})" if way in numbers else ""
        methods[way].append(f"{row['label']}{number}")
    gamed = [
        str(row["label"])
        for row in rows
        if direction(row, kind) == "falls" and spread_of(row, f"{kind}since_peak_reward_value")[1] > 0
    ]
    text = "; ".join(f"{DIRECTIONS[way]} {', '.join(names)}" for way, names in methods.items() if names)
    more = f" While quality fell, the trained reward rose with {', '.join(gamed)}." if gamed else ""
    return f"{generator}: {'greedy' if kind else 'true'} quality {text}.{more}"


def kl_plot(generator: str, runs: Sequence[RunRecord], scale: str) -> Plot:
    """True quality, greedy quality if known, and the held-out verifier against the root of KL, a line per method."""
    blocks = block_means(monitored_history(runs)).merge(greedy_steps(runs), on=["run_id", "step"], how="left")
    styles = styles_by_method(blocks)
    greedy = bool(blocks["greedy"].notna().any())
    measures = {name: label for name, label in MEASURES.items() if greedy or name != "greedy"}

    def draw(axes: Axes, column: str, _: str) -> None:
        for method, style in styles.items():
            draw_block_path(axes, blocks[blocks["method"] == method], "sqrt_kl", column, style)

    title = f"Quality and held-out verifier against √KL (scale: {scale}, generator: {generator})"
    label = "√KL from the start (√nats per response)"
    figure = curve_grid(title, measures, {"": ""}, draw, styles, label, height=2.1)
    of_greedy = (
        "Greedy quality: true quality of the saved checkpoints' greedy responses to the selection prompts, at the "
        "distance of the block that ends there. "
    )
    caption = (
        f"Long training of {generator} at scale {scale}: true quality and the likelihood under the held-out verifier "
        "against the root of the policy's KL divergence from its start, measured on completions sampled in training. "
        f"{of_greedy if greedy else ''}Each mark is a block of {BLOCK} steps, mean over seeds; the open mark is the "
        "start, the largest the end; the ring is the highest mean of true quality. Bands: lowest and highest seed. A "
        "line that falls as it moves right is over-optimised."
    )
    return Plot(f"overoptimisation-sqrt-kl-{slug(scale)}-{slug(generator)}", caption, figure)


OVEROPTIMISATION = FreeExperiment(
    title="Over-optimisation: does quality keep rising with the reward?",
    question=(
        "Runs of four times the usual steps. If a reward cannot be gamed, true quality keeps rising with it or levels "
        "off; over-optimisation means that true quality falls from its peak while the reward keeps rising (Gao et al. "
        "2023). Here, a reward is over-optimised if the 95 % interval over seeds of the fall from the peak lies above "
        "0; quality keeps rising if that of the change over the second half does; otherwise neither is claimed. The "
        "question is put to the completions sampled in training and, if checkpoints were saved, to their greedy "
        "responses: the responses that a user sees can get worse while the training samples look level."
    ),
    show=show,
)
