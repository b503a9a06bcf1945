"""Accuracy on a mathematics track: pass@1 of the untrained model and of the trained policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.frames import run_identity
from analysis.records.names import method_names
from analysis.sections.base import Section, group_by_scale, write_part
from analysis.stats.contrasts import contrast
from analysis.stats.intervals import Floats, interval_excludes
from analysis.stats.metrics import MIN_SEEDS, Tally, difference_with_interval, share_with_interval, tally
from analysis.tables.render import Entry, Table, format_interval, slug
from analysis.tables.win_rates import NEVER_BOLD
from cme.records import RunRecord

HEADER = (
    *("data", "family", "regime", "reward", "policy", "prompts", "left out", "before", "after"),
    *("change", "change, across seeds"),
)


@dataclass(frozen=True, eq=False)
class Graded:
    """The responses of some runs to prompts that both sides are graded on, one entry per prompt and run.

    `no_answer` and `undecided` count the entries left out: prompts without a gold answer, and those where the grade of
    either response is undecided.
    """

    prompts: NDArray[np.object_]
    start: Floats
    policy: Floats
    no_answer: int
    undecided: int


def accuracy_section(records: Sequence[RunRecord], out: Path) -> Section:
    """The accuracy of the runs on mathematics, scale by scale."""
    parts = []
    for scale, own in group_by_scale([record for record in records if record.accuracy is not None]):
        tables = [accuracy_table(own)]
        parts.append(write_part(f"{slug(scale)}-accuracy", tables, accuracy_frame(own), [], out))
    return Section(
        "accuracy",
        "Mathematics: accuracy before and after",
        "Whether the answers are right: the untrained model and the trained policy on the same prompts.",
        parts,
    )


def accuracy_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per cell and policy (`final`, and `selected` if a checkpoint was): pass@1 before and after training.

    Shares in 0..1 of the prompts graded on both sides, over all seeds, with 95 % intervals over prompts whose seeds are
    kept together: cluster-robust Wilson for pass@1, Student's t for the paired change. `any_seed` bounds the change
    over seeds and prompts together; NaN below MIN_SEEDS.
    """
    measured = [record for record in records if record.accuracy is not None]
    names = method_names(measured)
    columns = ("data", "family", "regime", "reward", "method")
    cells: dict[tuple[str, ...], list[RunRecord]] = {}
    for record in measured:
        of = run_identity(record, names) | {"data": str(record.config["data"]["name"])}
        cells.setdefault(tuple(of[column] for column in columns), []).append(record)
    rows = []
    for key, runs in cells.items():
        for policy in ("final", "selected"):
            if policy == "selected" and any(run.selected is None for run in runs):
                continue
            found = graded(runs, policy)
            before, after = (
                share_with_interval(tally(side, found.prompts)) for side in (found.start, found.policy)
            )
            change = difference_with_interval(tally(found.policy - found.start, found.prompts))
            across_seeds = contrast(*reversed(correct_by_prompt(runs, policy)))
            row: dict[str, Any] = dict(zip(columns, key, strict=True)) | {
                "policy": policy,
                "seeds": len({run.seed for run in runs}),
                "prompts": len(set(found.prompts)),
                "no_answer": found.no_answer,
                "undecided": found.undecided,
            }
            for name, values in (("before", before), ("after", after), ("change", change)):
                bounds = values if row["prompts"] > 1 else (values[0], float("nan"), float("nan"))
                row |= dict(zip((name, f"{name}_lo", f"{name}_hi"), bounds, strict=True))
            row |= {"any_seed_lo": across_seeds.wide_lo / 100, "any_seed_hi": across_seeds.wide_hi / 100}
            rows.append(row)
    return pd.DataFrame(rows)


def graded(runs: Sequence[RunRecord], policy: str) -> Graded:
    """The grades of the start and of the `final` or `selected` policy, and the number of entries left out."""
    prompts, sides = [], []
    no_answer = undecided = 0
    for run in runs:
        assert run.accuracy is not None
        selected = run.accuracy.selected if policy == "selected" else None
        after = (
            run.accuracy.policy if selected is None else selected
        )  # the selected checkpoint may be the final one
        for pair, *both in zip(run.pairs, run.accuracy.start, after, strict=True):
            if pair.answer is None:
                no_answer += 1
            elif None in both:
                undecided += 1
            else:
                prompts.append(pair.prompt_id)
                sides.append(both)
    columns = np.array(sides, dtype=float).reshape(-1, 2)
    return Graded(np.array(prompts, dtype=object), columns[:, 0], columns[:, 1], no_answer, undecided)


def correct_by_prompt(runs: Sequence[RunRecord], policy: str = "final") -> tuple[Tally, Tally]:
    """Correctness of the start's and the policies' answers by prompt and run, where both are graded."""
    found = [graded([run], policy) for run in runs]
    prompts = np.concatenate([own.prompts for own in found])
    number = np.repeat(np.arange(len(runs)), [len(own.prompts) for own in found])
    return (
        tally(np.concatenate([own.start for own in found]), prompts, number),
        tally(np.concatenate([own.policy for own in found]), prompts, number),
    )


def accuracy_table(records: Sequence[RunRecord]) -> Table:
    """The runs of one scale on mathematics: one row per cell, before and after training."""
    frame = accuracy_frame(records)
    groups = [
        [row_entries(row) for _, row in rows.iterrows()] for _, rows in frame.groupby("data", sort=False)
    ]
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
    return Table(
        name="accuracy",
        title=f"Accuracy on mathematics before and after training (scale: {records[0].scale})",
        header=HEADER,
        groups=groups,
        notes=notes,
    )


def row_entries(row: "pd.Series[Any]") -> list[Entry]:
    """One cell as a row of the table."""
    change = f"{100 * row['change']:+.1f} [{100 * row['change_lo']:+.1f}, {100 * row['change_hi']:+.1f}]"
    known, prompts = int(row["prompts"]) > 1, int(row["prompts"])
    return [
        *(Entry(str(row[field])) for field in ("data", "family", "regime", "method", "policy", "prompts")),
        Entry(f"{row['no_answer']} + {row['undecided']}"),
        *(Entry(percent(row[f], row[f"{f}_lo"], row[f"{f}_hi"]) if known else "n/a") for f in ("before", "after")),
        Entry(change if known else "n/a", interval_excludes(row["change_lo"], row["change_hi"], 0, prompts)),
        Entry(
            format_interval(100 * row["any_seed_lo"], 100 * row["any_seed_hi"]),
            interval_excludes(row["any_seed_lo"], row["any_seed_hi"], 0, prompts),
        ),
    ]  # fmt: skip


def percent(value: float, lo: float, hi: float) -> str:
    """A share with its interval, in percent."""
    return f"{100 * value:.1f} [{100 * lo:.1f}, {100 * hi:.1f}]"
