"""Reward probe: the rank that each reward gives to answers of known quality, as a frame and a table."""

from collections.abc import Sequence
from math import isnan

import numpy as np
import pandas as pd

from analysis.records.names import add_details, display_name, plain_name
from analysis.stats.intervals import MIN_PROMPTS, Floats, clustered_interval
from analysis.stats.win_rates import known_mean
from analysis.tables.render import Entry, Estimate, Table, format_estimate, pick, slug
from cme.records import RewardProbeRecord

BEST = "right"
ANSWERS = (
    "Answers: empty (the end of the turn alone); a word of the right answer ten times; the prompt copied; a "
    "refusal; boilerplate that fits any prompt; the first half of the right answer; the right answer followed by "
    "padding (verbose); another prompt's right answer (wrong); the right answer."
)
VARIANTS = {
    "no end of turn": "no end token",
    "pmi": "PMI",
    "span=answer": "answer span",
    "answer, penalty 2": "answer span, penalty 2",
    "span=blended": "blended spans",
    "ensemble mean": "Ensemble, mean",
    "ensemble min": "Ensemble, min",
    "whole, penalty 5": "whole response, penalty 5",
}
"""Display names of variants, as in the names of the rewards; the others are shown as they are."""


def ranks(values: Floats) -> Floats:
    """Ranks (P, G) of each prompt's answers by reward (P, G): 1 is the highest, ties share their mean rank.

    An answer without a reward (NaN) has no rank and is left out of the ranking.
    """
    return pd.DataFrame(values).rank(axis=1, ascending=False, method="average").to_numpy(float)


def first_share(values: Floats, column: int) -> Floats:
    """For each prompt (P,) whether the column's answer has the highest reward, 1/k if k tie; NaN if unscored."""
    answer = values[:, [column]]
    beaten = (values > answer).any(axis=1)
    equal = (values == answer).sum(axis=1)
    share = np.where(beaten, 0.0, 1 / np.maximum(equal, 1))
    return np.where(np.isnan(answer[:, 0]), np.nan, share)


def reward_probe_frame(records: Sequence[RewardProbeRecord]) -> pd.DataFrame:
    """One row per line (reward or variant) and grade: mean rank over prompts and share unscored.

    A mean rank is NaN if no answer was scored. Each row also has, for its line, the percentage of prompts whose right
    answer is first, with its 95 % interval.
    """
    rows = []
    for record in records:
        prompts = np.array(record.prompts, dtype=object)
        for line, by_grade in record.values.items():
            values = np.array(list(by_grade.values()), dtype=float).T  # (P, G), None as NaN
            first = 100 * first_share(values, list(by_grade).index(BEST))
            right_first = Estimate(known_mean(first), *clustered_interval(first, prompts))
            for grade, rank, value in zip(by_grade, ranks(values).T, values.T, strict=True):
                rows.append(
                    pick(record, "probe_id scale family regime verifier seed data")
                    | {"line": line, "grade": grade, "mean_rank": known_mean(rank)}
                    | {"unscored": float(np.isnan(value).mean()), "prompts": len(prompts)}
                    | right_first.columns("right_first")
                )
    return pd.DataFrame(rows)


def reward_probe_table(record: RewardProbeRecord) -> Table:
    """Lines in rows, grades in columns: mean ranks, and how often the right answer is first."""
    frame = reward_probe_frame([record])
    grades = list(dict.fromkeys(frame["grade"]))
    rows: dict[str, list[Entry]] = {}
    for line, of_line in frame.groupby("line", sort=False):
        best = of_line["mean_rank"].min()
        ranked = of_line[["mean_rank", "unscored"]].itertuples(index=False)
        entries = [Entry(rank_text(rank, unscored), bold=rank == best) for rank, unscored in ranked]
        rows[str(line)] = [*entries, Entry(first_text(of_line))]
    rows |= {line: [Entry("-")] * (len(grades) + 1) for line in record.not_probed}
    groups = [
        [[Entry(line_label(line)), *entries] for line, entries in rows.items() if is_cme(line) is of_cme]
        for of_cme in (True, False)
    ]
    notes = [
        f"Rank of an answer's reward among the {len(grades)} answers to its prompt, 1 the highest, mean over "
        f"{len(record.prompts)} prompts. Ties share their mean rank. Bold: the best of the row.",
        "Right first: prompts whose right answer has the highest reward, a tie for first place counting its share; "
        "in brackets the 95 % CI, bootstrapped by prompt; an interval of width 0 means that all these prompts agree.",
        ANSWERS,
    ]
    if record.second_checkpoint is not None:
        notes.append(f"Ensembles: the verifier and {record.second_checkpoint}.")
    if frame["unscored"].any():
        notes.append("-: unscored, with the share of prompts; such an answer is left out of the ranking.")
    notes += [f"{line_label(line)} has no ranks: {reason}." for line, reason in record.not_probed.items()]
    if len(record.prompts) < MIN_PROMPTS:
        notes.append(f"[n/a]: fewer than {MIN_PROMPTS} prompts, too few for an interval.")
    return Table(
        name=f"reward-probe-{slug(record.probe_id.removeprefix('probe-'))}",
        title=f"Mean rank of graded answers, scale: {record.scale}, {probed_models(record)}",
        header=["reward", *grades, "right first (%)"],
        groups=[group for group in groups if group],
        notes=notes,
    )


def rank_text(rank: float, unscored: float) -> str:
    """A mean rank with the share of unscored answers, such as `2.4`, `2.4 (- 10 %)` or `- (100 %)`."""
    share = f"{100 * unscored:.0f} %"
    if isnan(rank):
        return f"- ({share})"
    return f"{rank:.1f} (- {share})" if unscored else f"{rank:.1f}"


def first_text(line: pd.DataFrame, decimals: int = 1) -> str:
    """Percentage of prompts whose right answer is first under a line, such as 58.3 [45.0, 71.7]."""
    return format_estimate(*Estimate.from_row(line.iloc[0].to_dict(), "right_first"), decimals)


def probed_models(record: RewardProbeRecord) -> str:
    """Checkpoints of a table, the seed unless it is the first, and the data."""
    seed = f", seed: {record.seed}" if record.seed else ""
    models = f"generator: {record.generator_checkpoint}, verifier: {record.verifier_checkpoint}"
    return f"{models}{seed}, data: {plain_name(record.data)}"


def line_label(line: str) -> str:
    """Display name of a line: a reward, with its variant in brackets."""
    reward, _, variant = line.partition(" ")
    return add_details(display_name(reward), [VARIANTS.get(variant, variant)] if variant else [])


def is_cme(line: str) -> bool:
    """Whether a line is Cross-Model Entropy or a variant of it."""
    return line.split()[0] == "cme"
