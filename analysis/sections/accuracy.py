"""Accuracy on a mathematics track: pass@1 of the untrained start and of the trained policy, as a frame and a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.frames import run_identity
from analysis.records.names import method_names
from analysis.sections.base import Section, group_by_scale, write_part
from analysis.stats.contrasts import contrast
from analysis.stats.intervals import (
    LEVEL,
    UNDEFINED,
    Floats,
    Interval,
    influence,
    interval_excludes,
    share_interval,
    standard_error,
    t_interval,
    t_quantile,
)
from analysis.stats.metrics import MIN_SEEDS, Tally, tally
from analysis.tables.render import Entry, Table, slug
from analysis.tables.win_rates import NEVER_BOLD, format_interval
from cme.records import RunRecord

HEADER = (
    *("data", "family", "regime", "reward", "policy", "prompts", "left out", "before", "after"),
    *("change", "change, any seed"),
)


@dataclass(frozen=True, eq=False)
class Graded:
    """The responses of some runs to prompts that both sides are graded on, one entry a prompt and run.

    `no_answer` and `undecided` count the entries left out: prompts without a gold answer, and those where either
    response's comparison with it was undecided.
    """

    prompts: list[str]
    start: Floats
    policy: Floats
    no_answer: int
    undecided: int


def accuracy_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row a cell and policy (`final`, and `selected` where a checkpoint was): pass@1 before and after training.

    Shares in 0..1 of the prompts graded on both sides, over all seeds, with 95 % intervals over prompts whose seeds are
    kept together: cluster-robust Wilson for pass@1, Student's t for the paired change. `any_seed` bounds the change
    for other seeds and other prompts both, NaN below MIN_SEEDS.
    """
    measured = [record for record in records if record.accuracy is not None]
    names = method_names(measured)
    cells: dict[tuple[str, ...], list[RunRecord]] = {}
    for record in measured:
        of = run_identity(record, names)
        key = (str(record.config["data"]["name"]), of["family"], of["regime"], of["reward"], of["method"])
        cells.setdefault(key, []).append(record)
    columns = ("data", "family", "regime", "reward", "method")
    return pd.DataFrame(
        [
            dict(zip(columns, key, strict=True)) | {"policy": policy} | row_of(runs, policy)
            for key, runs in cells.items()
            for policy in ("final", "selected")
            if policy == "final" or all(run.selected is not None for run in runs)
        ]
    )


def row_of(runs: Sequence[RunRecord], policy: str) -> dict[str, Any]:
    """A cell's figures for its final or its selected policy."""
    found = graded(runs, policy)
    before, after = share_of(found.start, found.prompts), share_of(found.policy, found.prompts)
    change, change_interval = change_of(found)
    held = contrast(*reversed(correct_by_prompt(runs, policy)))
    return {
        "seeds": len({run.seed for run in runs}),
        "prompts": len(set(found.prompts)),
        "no_answer": found.no_answer,
        "undecided": found.undecided,
        **columns_of("before", *before),
        **columns_of("after", *after),
        **columns_of("change", change, change_interval),
        "any_seed_lo": held.wide_lo / 100,
        "any_seed_hi": held.wide_hi / 100,
    }


def columns_of(name: str, value: float, bounds: Interval) -> dict[str, float]:
    """A value and its interval as columns of the frame."""
    return {name: value, f"{name}_lo": bounds[0], f"{name}_hi": bounds[1]}


def graded(runs: Sequence[RunRecord], policy: str) -> Graded:
    """The runs' grades side by side, and what was left out of them."""
    prompts, sides = [], []
    no_answer = undecided = 0
    for run in runs:
        assert run.accuracy is not None
        own = run.accuracy.selected if policy == "selected" else None
        after = run.accuracy.policy if own is None else own  # the selected checkpoint may be the final one
        for pair, *both in zip(run.pairs, run.accuracy.start, after, strict=True):
            if pair.answer is None:
                no_answer += 1
            elif None in both:
                undecided += 1
            else:
                prompts.append(pair.prompt_id)
                sides.append(both)
    columns = np.array(sides, dtype=float).reshape(-1, 2)
    return Graded(prompts, columns[:, 0], columns[:, 1], no_answer, undecided)


def correct_by_prompt(runs: Sequence[RunRecord], policy: str = "final") -> tuple[Tally, Tally]:
    """Whether the start's and the policies' answers are right, by prompt and run, where both are graded."""
    found = [graded([run], policy) for run in runs]
    prompts = np.array([prompt for own in found for prompt in own.prompts], dtype=object)
    number = np.repeat(np.arange(len(runs)), [len(own.prompts) for own in found])
    before, after = (
        tally(np.concatenate(sides), prompts, number)
        for sides in ([own.start for own in found], [own.policy for own in found])
    )
    return before, after


def by_prompt(values: Floats, prompts: Sequence[str]) -> tuple[Floats, Floats]:
    """Sums and counts of the values of each prompt, (P,) each."""
    _, index = np.unique(np.array(prompts, dtype=object), return_inverse=True)
    sums: Floats = np.bincount(index, weights=values).astype(float)
    return sums, np.bincount(index).astype(float)


def share_of(right: Floats, prompts: Sequence[str]) -> tuple[float, Interval]:
    """The share of right responses and its 95 % interval; NaN for none, nowhere for fewer than two prompts."""
    if not prompts:
        return nan, UNDEFINED
    sums, counts = by_prompt(right, prompts)
    share = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return share, UNDEFINED
    half = t_quantile(LEVEL, len(sums) - 1) * standard_error(influence(sums, counts))
    return share, share_interval(share, half, len(sums))


def change_of(found: Graded) -> tuple[float, Interval]:
    """The paired change of pass@1 and its 95 % interval, as `share_of` has them."""
    if not found.prompts:
        return nan, UNDEFINED
    sums, counts = by_prompt(found.policy - found.start, found.prompts)
    change = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return change, UNDEFINED
    return change, t_interval(change, standard_error(influence(sums, counts)), len(sums))


def accuracy_table(records: Sequence[RunRecord]) -> Table:
    """The runs of one scale on mathematics: cells in rows, before beside after."""
    frame = accuracy_frame(records)
    groups = [
        [row_entries(row) for _, row in rows.iterrows()] for _, rows in frame.groupby("data", sort=False)
    ]
    notes = [
        "Pass@1 of one greedy response a prompt, in percent, of the untrained start and the trained policy on the same "
        "prompts, all seeds pooled; a response without an answer is wrong.",
        "In brackets: 95 % intervals over prompts; Wilson's, cluster-robust, for pass@1, paired for the change, in "
        "percentage points. Any seed: the interval of the change for other seeds and other prompts both, [n/a] below "
        f"{MIN_SEEDS} seeds. Bold: it excludes 0, {NEVER_BOLD} prompts.",
        "Left out, counted over seeds: prompts without a gold answer + comparisons that were undecided on either side.",
    ]
    if (frame["policy"] == "selected").any():
        notes.append("Policy: the last one, or the checkpoint that was selected on prompts of its own.")
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
    known = int(row["prompts"]) > 1
    return [
        *(Entry(str(row[field])) for field in ("data", "family", "regime", "method", "policy", "prompts")),
        Entry(f"{row['no_answer']} + {row['undecided']}"),
        *(Entry(percent(row[f], row[f"{f}_lo"], row[f"{f}_hi"]) if known else "n/a") for f in ("before", "after")),
        Entry(
            change if known else "n/a",
            bold=interval_excludes(row["change_lo"], row["change_hi"], 0, int(row["prompts"])),
        ),
        Entry(
            format_interval(100 * row["any_seed_lo"], 100 * row["any_seed_hi"]),
            bold=interval_excludes(row["any_seed_lo"], row["any_seed_hi"], 0, int(row["prompts"])),
        ),
    ]  # fmt: skip


def percent(value: float, lo: float, hi: float) -> str:
    """A share with its interval, in percent."""
    return f"{100 * value:.1f} [{100 * lo:.1f}, {100 * hi:.1f}]"


def accuracy_section(records: Sequence[RunRecord], out: Path) -> Section:
    """The accuracy of the runs on mathematics, scale by scale."""
    parts = []
    for scale, own in group_by_scale([record for record in records if record.accuracy is not None]):
        parts.append(
            write_part(f"{slug(scale)}-accuracy", [accuracy_table(own)], accuracy_frame(own), [], out)
        )
    return Section(
        "accuracy",
        "Mathematics: accuracy before and after",
        "Whether the answers are right: the same prompts put to the untrained start and to the trained policy.",
        parts,
    )
