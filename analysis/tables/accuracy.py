"""Accuracy on mathematics and lm-eval's capabilities: the untrained model and the trained policy on the same items."""

from collections.abc import Sequence
from dataclasses import replace
from math import isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.builds import pool_builds
from analysis.records.frames import Frames, group_runs
from analysis.records.grouping import group_by
from analysis.records.names import family_name, plain_name, regime_name
from analysis.stats.contrasts import paired_change
from analysis.stats.intervals import MIN_PROMPTS, UNDEFINED, clustered_interval, interval_excludes
from analysis.stats.seeds import MIN_SEEDS
from analysis.stats.win_rates import Tally, difference_with_interval, share_with_interval, tally
from analysis.tables.cell_tables import NEVER_BOLD
from analysis.tables.render import (
    Column,
    Entry,
    Estimate,
    Table,
    build_table,
    format_estimate,
    format_interval,
    rows_by,
)
from cme.records import Capability, RunRecord

CELL = ("family", "regime", "reward", "method")
SIDES = ("start_correct", "policy_correct")
PLACE = (
    Column[Any]("family", lambda row: family_name(row["family"])),
    Column[Any]("regime", lambda row: regime_name(row["regime"])),
    Column[Any]("reward", lambda row: row["method"]),
)
"""The columns that name a cell, from the row of a frame."""
DATA = Column[Any]("data", lambda row: plain_name(row["data"]))


def answered_pairs(runs: Sequence[RunRecord], policy: str = "final") -> pd.DataFrame:
    """The pairs with a gold answer, with the grades of the untrained model's and of a policy's answer.

    The policy is the `final` or the `selected` one. A grade is NaN if it is undecided.
    """
    chosen = []
    for run in runs:
        assert run.accuracy is not None
        if policy == "selected" and run.accuracy.selected is not None:  # None: the final policy was selected
            run = replace(run, accuracy=replace(run.accuracy, policy=run.accuracy.selected))
        chosen.append(run)
    return Frames(chosen).pairs.dropna(subset=["answer"]).astype(dict.fromkeys(SIDES, float))


def correct_by_prompt(runs: Sequence[RunRecord], policy: str = "final") -> tuple[Tally, Tally]:
    """Correctness of the start's and the policy's answers by prompt and seed, where both are graded."""
    graded = answered_pairs(runs, policy).dropna(subset=SIDES)
    prompts, seeds = graded["prompt_id"].to_numpy(object), graded["seed"].to_numpy(int)
    start, after = (tally(graded[side].to_numpy(float), prompts, seeds) for side in SIDES)
    return start, after


def accuracy_cells(records: Sequence[RunRecord]) -> dict[tuple[str, ...], list[RunRecord]]:
    """The graded runs by data and CELL, builds pooled, in the order of the records."""
    graded = group_runs([pool_builds(record) for record in records if record.accuracy is not None], CELL)
    return {
        (data, *key): own
        for key, runs in graded.items()
        for data, own in group_by(runs, lambda run: run.data).items()
    }


def accuracy_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per cell and policy (`final`, and `selected` if a checkpoint was): pass@1 before and after training.

    Shares in 0..1 of the prompts graded on both sides, over all seeds; docs/csv-columns.md explains the columns.
    """
    rows = []
    for key, runs in accuracy_cells(records).items():
        for policy in ("final", "selected") if all(run.selected is not None for run in runs) else ("final",):
            start, after = correct_by_prompt(runs, policy)
            change = replace(after, sums=after.sums - start.sums)
            across_seeds, prompts = paired_change(start, after), len(start.prompts)
            answered = answered_pairs(runs, policy)
            row: dict[str, Any] = dict(zip(("data", *CELL), key, strict=True)) | {
                "policy": policy,
                "seeds": len({run.seed for run in runs}),
                "prompts": prompts,
                "no_answer": sum(len(run.pairs) for run in runs) - len(answered),
                "undecided": int(answered[list(SIDES)].isna().any(axis=1).sum()),
            }
            for name, (value, lo, hi) in (
                ("before", share_with_interval(start)),
                ("after", share_with_interval(after)),
                ("change", difference_with_interval(change)),
            ):
                row |= Estimate(value, *((lo, hi) if prompts > 1 else UNDEFINED)).columns(name)
            rows.append(
                row
                | {"seed_after": " ".join(map(str, after.sums.sum(axis=0) / after.counts.sum(axis=0)))}
                | {"across_seeds_lo": across_seeds.across_seeds_lo / 100}
                | {"across_seeds_hi": across_seeds.across_seeds_hi / 100}
                | {"floored": across_seeds.floored}
            )
    return pd.DataFrame(rows)


def accuracy_table(records: Sequence[RunRecord]) -> Table:
    """The runs of one scale on mathematics: one row per cell, before and after training."""
    frame = accuracy_frame(records)

    def share(row: dict[str, Any], side: str) -> str:
        return format_estimate(*Estimate.from_row(row, side).percent) if row["prompts"] > 1 else "n/a"

    def change(row: dict[str, Any]) -> Entry:
        value, lo, hi = Estimate.from_row(row, "change").percent
        bold = interval_excludes(lo, hi, 0, row["prompts"], decimals=1)
        text = f"{value:+.1f} {format_interval(lo, hi, sign='+')}"
        return Entry(text if row["prompts"] > 1 else "n/a", bold)

    def across_seeds(row: dict[str, Any]) -> Entry:
        lo, hi = 100 * row["across_seeds_lo"], 100 * row["across_seeds_hi"]
        return Entry(format_interval(lo, hi), interval_excludes(lo, hi, 0, row["prompts"], decimals=1))

    notes = [
        "Pass@1 of one greedy response per prompt, in percent, of the untrained model and the trained policy on the "
        "same prompts, all seeds pooled; a response without an answer is wrong.",
        "In brackets: 95 % CIs over prompts; cluster-robust Wilson for pass@1, paired for the change, in percentage "
        "points. Across seeds: the CI of the change over seeds and prompts together, [n/a] below "
        f"{MIN_SEEDS} seeds. Bold: it excludes 0, {NEVER_BOLD} prompts.",
        "Left out, summed over seeds: prompts without a gold answer + comparisons undecided on either side.",
    ]
    if (frame["policy"] == "selected").any():
        notes.append("Policy: the last one, or the checkpoint that was selected on separate prompts.")
    return build_table(
        name="accuracy",
        title=f"Accuracy on mathematics before and after training (scale: {records[0].scale})",
        columns=[
            DATA,
            *PLACE,
            Column("policy", lambda row: row["policy"]),
            Column("prompts", lambda row: str(row["prompts"])),
            Column("left out", lambda row: f"{row['no_answer']} + {row['undecided']}"),
            Column("before", lambda row: share(row, "before")),
            Column("after", lambda row: share(row, "after")),
            Column("change", change),
            Column("change, across seeds", across_seeds),
        ],
        groups=rows_by(frame, "data"),
        notes=notes,
    )


def capability_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per cell, task and metric: before and after training with standard errors, and the paired change.

    `after` is the mean over seeds. The interval of the change is bootstrapped over items and keeps all seeds of an item
    together; NaN for a metric that is not a mean over items.
    """
    cells: dict[tuple[str, ...], list[Capability]] = {}
    for key, runs in group_runs(records, CELL).items():
        for measured in (measured for run in runs for measured in run.capabilities or []):
            cells.setdefault((*key, measured.task, measured.metric), []).append(measured)
    rows = []
    for key, seeds in cells.items():
        lo, hi = UNDEFINED
        if all(one.before_items and one.after_items for one in seeds):
            changes = [np.subtract(one.after_items or [], one.before_items or []) for one in seeds]
            items = np.concatenate([np.arange(len(change)) for change in changes]).astype(object)
            lo, hi = clustered_interval(np.concatenate(changes), items)
        after_stderr = seeds[0].after_stderr if len(seeds) == 1 else None
        row: dict[str, Any] = dict(zip((*CELL, "task", "metric"), key, strict=True))
        row |= {"seeds": len(seeds), "items": seeds[0].n}
        for side, error in (("before", seeds[0].before_stderr), ("after", after_stderr)):
            row[side] = float(np.mean([getattr(one, side) for one in seeds]))
            row[f"{side}_stderr"] = nan if error is None else error
        change = Estimate(float(np.mean([one.after - one.before for one in seeds])), lo, hi)
        rows.append(row | change.columns("change"))
    return pd.DataFrame(rows)


def capability_table(records: Sequence[RunRecord]) -> Table:
    """The capabilities measured at one scale: tasks and metrics in rows, before and after training."""
    frame = capability_frame(records)

    def measured(row: dict[str, Any], side: str) -> str:
        error = row[f"{side}_stderr"]
        return f"{row[side]:.3f}{'' if isnan(error) else f' ± {error:.3f}'}"

    def change(row: dict[str, Any]) -> Entry:
        lo, hi = row["change_lo"], row["change_hi"]
        text = f"{row['change']:+.3f} {format_interval(lo, hi, 3, '+')}"
        return Entry(text, interval_excludes(lo, hi, 0, row["items"], decimals=3))

    notes = [
        "Metrics of lm-eval in their own units, of the untrained model and the trained policy on the same items; "
        "± is lm-eval's standard error. With several seeds, after is the mean over seeds.",
        "Change: paired by item, with its 95 % CI, bootstrapped over items. Bold: it excludes 0, "
        f"{NEVER_BOLD} items. An interval of width 0 means that none of these items changed.",
    ]
    if frame["change_lo"].isna().any():
        notes.append(
            f"[n/a]: fewer than {MIN_PROMPTS} items, or a metric that is not a mean over items: no paired CI."
        )
    return build_table(
        name="capabilities",
        title=f"Capabilities before and after training (scale: {records[0].scale})",
        columns=[
            *PLACE,
            Column("task", lambda row: row["task"]),
            Column("metric", lambda row: row["metric"]),
            Column("items", lambda row: str(row["items"])),
            Column("before", lambda row: measured(row, "before")),
            Column("after", lambda row: measured(row, "after")),
            Column("change", change),
        ],
        groups=rows_by(frame, "family"),
        notes=notes,
    )
