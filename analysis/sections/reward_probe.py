"""Reward probe: the rank that each reward gives to answers of known quality, as a frame, a table and a heat map."""

from collections.abc import Sequence
from math import isnan
from operator import attrgetter
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from analysis.figures.style import RC, STYLES, WIDTH, Plot
from analysis.records.names import add_details, display_name
from analysis.sections.base import Section, group_by_scale, write_part
from analysis.stats.intervals import MIN_PROMPTS, Floats, clustered_interval
from analysis.tables.render import Entry, Table, format_interval, slug
from cme.records import RewardProbeRecord

BEST = "right"
LABELS = {"boilerplate": "boiler- plate"}  # too long for its column
SHADES = LinearSegmentedColormap.from_list("rank", [STYLES["cme"].colour, "#ffffff"])
"""Colours of mean ranks: dark is rank 1."""
ANSWERS = (
    "Answers: empty (the end of the turn alone); a word of the right answer ten times; the prompt copied; a "
    "refusal; boilerplate that fits any prompt; the first half of the right answer; the right answer followed by "
    "padding (verbose); another prompt's right answer (wrong); the right answer."
)
FRAME = (
    *("stress_id", "scale", "family", "regime", "verifier", "seed", "line", "grade"),
    *("mean_rank", "unscored", "prompts", "right_first", "right_first_lo", "right_first_hi"),
)

IDENTITY = attrgetter(*FRAME[:6])


def ranks(values: Floats) -> Floats:
    """Ranks (P, G) of each prompt's answers by reward (P, G): 1 is the highest, ties share their mean rank.

    An answer without a reward (NaN) has no rank and is left out of the ranking.
    """
    return pd.DataFrame(values).rank(axis=1, ascending=False, method="average").to_numpy(float)


def first_share(values: Floats, column: int) -> Floats:
    """For each prompt (P,) whether the column's answer has the highest reward, 1/k if k tie; NaN if unscored."""
    own = values[:, [column]]
    beaten = (values > own).any(axis=1)
    equal = (values == own).sum(axis=1)
    share = np.where(beaten, 0.0, 1 / np.maximum(equal, 1))
    return np.where(np.isnan(own[:, 0]), np.nan, share)


def reward_probe_frame(records: Sequence[RewardProbeRecord]) -> pd.DataFrame:
    """One row per line and grade: mean rank over prompts (NaN if never scored) and share unscored; and for the line
    the percentage of prompts whose right answer is first, with its 95 % interval.
    """
    rows = []
    for record in records:
        prompts = np.array(record.prompts, dtype=object)
        identity = dict(zip(FRAME, IDENTITY(record), strict=False))
        for line, by_grade in record.values.items():
            values = np.array(list(by_grade.values()), dtype=float).T  # (P, G), None as NaN
            first = 100 * first_share(values, list(by_grade).index(BEST))
            lo, hi = clustered_interval(first, prompts)
            of_line = {
                "prompts": len(prompts),
                "right_first": mean(first),
                "right_first_lo": lo,
                "right_first_hi": hi,
            }
            for grade, ranked, given in zip(by_grade, ranks(values).T, values.T, strict=True):
                own = {"mean_rank": mean(ranked), "unscored": float(np.isnan(given).mean())}
                rows.append(identity | {"line": line, "grade": grade} | own | of_line)
    return pd.DataFrame(rows, columns=list(FRAME))


def mean(values: Floats) -> float:
    """Mean of the known values, NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def reward_probe_table(record: RewardProbeRecord) -> Table:
    """Lines in rows, grades in columns: mean ranks, and how often the right answer is first."""
    frame = reward_probe_frame([record])
    groups: dict[bool, list[list[Entry]]] = {True: [], False: []}
    for line in record.values:
        own = frame[frame["line"] == line]
        best = own["mean_rank"].min()
        entries = [
            Entry(rank_text(rank, unscored), bold=rank == best)
            for rank, unscored in zip(own["mean_rank"], own["unscored"], strict=True)
        ]
        groups[is_cme(line)].append([Entry(line_label(line)), *entries, Entry(first_text(own))])
    grades = list(dict.fromkeys(frame["grade"]))
    return Table(
        name=f"stress-{slug(record.stress_id)}",
        title=f"Mean rank of graded answers, {subject(record)}",
        header=["reward", *grades, "right first (%)"],
        groups=[rows for rows in groups.values() if rows],
        notes=notes(record, grades),
    )


def notes(record: RewardProbeRecord, grades: Sequence[str]) -> list[str]:
    """The notes of a record's table."""
    found = [
        f"Rank of an answer's reward among the {len(grades)} answers to its prompt, 1 the highest, mean over "
        f"{len(record.prompts)} prompts. Ties share their mean rank. Bold: the best of the row.",
        "Right first: prompts whose right answer has the highest reward, a tie for first place counting its share; "
        "in brackets the 95 % CI, bootstrapped by prompt; an interval of width 0 means that all these prompts agree.",
        ANSWERS,
    ]
    if record.second_checkpoint is not None:
        found.append(f"Ensembles: the verifier and {record.second_checkpoint}.")
    if any(v is None for by_grade in record.values.values() for vs in by_grade.values() for v in vs):
        found.append("-: unscored, with the share of prompts; such an answer is left out of the ranking.")
    if len(record.prompts) < MIN_PROMPTS:
        found.append(f"[n/a]: fewer than {MIN_PROMPTS} prompts, too few for an interval.")
    return found


def rank_text(rank: float, unscored: float) -> str:
    """A mean rank with the share of unscored answers, such as `2.4`, `2.4 (- 10 %)` or `- (100 %)`."""
    if isnan(rank):
        return f"- ({unscored:.0%})".replace("%", " %")
    return f"{rank:.1f} (- {unscored:.0%})".replace("%", " %") if unscored else f"{rank:.1f}"


def first_text(line: pd.DataFrame, decimals: int = 1) -> str:
    """Percentage of prompts whose right answer is first under a line, such as 58.3 [45.0, 71.7]."""
    row = line.iloc[0]
    share = "n/a" if isnan(row["right_first"]) else f"{row['right_first']:.{decimals}f}"
    return f"{share} {format_interval(row['right_first_lo'], row['right_first_hi'], decimals)}"


def subject(record: RewardProbeRecord) -> str:
    """Scale and checkpoints of a table."""
    return f"scale: {record.scale}, {models(record)}"


def models(record: RewardProbeRecord) -> str:
    """Checkpoints of a table, and the seed unless it is the first."""
    seed = f", seed: {record.seed}" if record.seed else ""
    return f"generator: {record.generator_checkpoint}, verifier: {record.verifier_checkpoint}{seed}"


def line_label(line: str) -> str:
    """Display name of a line: a reward, with its variant in brackets."""
    reward, _, variant = line.partition(" ")
    return add_details(display_name(reward), [variant] if variant else [])


def is_cme(line: str) -> bool:
    """Whether a line is Cross-Model Entropy or a variant of it."""
    return line.split()[0] == "cme"


def reward_probe_plot(records: Sequence[RewardProbeRecord]) -> Plot:
    """Heat maps of the mean ranks of one scale, one panel per record."""
    scale = records[0].scale
    heights = [0.18 * len(record.values) for record in records]
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, 0.35 + sum(heights) + 0.75 * len(records)), layout="constrained")
        panels = figure.subplots(len(records), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
        for record, axes in zip(records, panels[:, 0], strict=True):
            draw_ranks(axes, record)
        figure.suptitle(f"Mean rank of graded answers by reward (scale: {scale})")
    caption = (
        f"Before any training, at scale {scale}: the mean rank that each reward gives to answers of known quality, "
        "1 (dark) the highest; a dash where no answer of a kind could be scored. On the right: the percentage of "
        "prompts whose right answer is first, with the 95 % CI. Training on the reward can drift to a column that is "
        f"darker than that of the right answer. {ANSWERS}"
    )
    return Plot(f"stress-{slug(scale)}", caption, figure)


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
    axes.set_xlabel(models(record))


def reward_probe_section(records: Sequence[RewardProbeRecord], out: Path) -> Section:
    """The tables and figures, scale by scale."""
    parts = []
    for scale, own in group_by_scale(records):
        tables = [reward_probe_table(record) for record in own]
        parts.append(
            write_part(
                f"{slug(scale)}-stress", tables, reward_probe_frame(own), [reward_probe_plot(own)], out
            )
        )
    return Section(
        "stress",
        "Before any training: how each reward ranks answers of known quality",
        "No model was trained for these tables. If a reward ranks another answer above the right one, training "
        "on it can raise the reward without better answers.",
        parts,
    )
