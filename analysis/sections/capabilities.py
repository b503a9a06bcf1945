"""Capabilities: lm-eval's metrics before and after training."""

from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.records.frames import run_identity
from analysis.records.names import method_names
from analysis.sections.base import Section, group_by_scale, write_part
from analysis.stats.intervals import MIN_PROMPTS, Floats, clustered_interval, interval_excludes
from analysis.tables.render import Entry, Table, slug
from analysis.tables.win_rates import NEVER_BOLD
from cme.records import Capability, RunRecord

HEADER = ("family", "regime", "reward", "task", "metric", "items", "before", "after", "change")


def capability_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per cell, task and metric: before and after training with standard errors, and the change.

    `after` is the mean over seeds, with a standard error only for a single seed. `change` is paired by item, with a
    95 % interval bootstrapped over items that keeps all seeds of an item together; NaN for a metric that is not a mean
    over items.
    """
    names = method_names(records)
    cells: dict[tuple[str, ...], list[Capability]] = {}
    for record in records:
        of = run_identity(record, names)
        for found in record.capabilities or []:
            key = (of["family"], of["regime"], of["reward"], of["method"], found.task, found.metric)
            cells.setdefault(key, []).append(found)
    columns = ("family", "regime", "reward", "method", "task", "metric")
    return pd.DataFrame([dict(zip(columns, key, strict=True)) | row_of(runs) for key, runs in cells.items()])


def row_of(runs: Sequence[Capability]) -> dict[str, float]:
    """One metric of a cell's runs."""
    changes = [paired(run) for run in runs]
    lo, hi = nan, nan
    if all(len(change) for change in changes):
        items = np.concatenate([np.arange(len(change)) for change in changes]).astype(object)
        lo, hi = clustered_interval(np.concatenate(changes), items)
    return {
        "seeds": len(runs),
        "items": runs[0].n,
        "before": float(np.mean([run.before for run in runs])),
        "before_stderr": float(np.array(runs[0].before_stderr, dtype=float)),
        "after": float(np.mean([run.after for run in runs])),
        "after_stderr": float(np.array(runs[0].after_stderr, dtype=float)) if len(runs) == 1 else nan,
        "change": float(np.mean([run.after - run.before for run in runs])),
        "change_lo": lo,
        "change_hi": hi,
    }


def paired(run: Capability) -> Floats:
    """Each item's metric after minus before training; empty for a metric without values per item."""
    if run.before_items is None or run.after_items is None:
        return np.array([])
    before, after = (np.array(items, dtype=float) for items in (run.before_items, run.after_items))
    change: Floats = after - before
    return change


def capability_table(records: Sequence[RunRecord]) -> Table:
    """The capabilities measured at one scale: tasks and metrics in rows, before and after training."""
    frame = capability_frame(records)
    groups = [
        [row_entries(row) for _, row in rows.iterrows()] for _, rows in frame.groupby("family", sort=False)
    ]
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
    return Table(
        name="capabilities",
        title=f"Capabilities before and after training (scale: {records[0].scale})",
        header=HEADER,
        groups=groups,
        notes=notes,
    )


def row_entries(row: "pd.Series[float]") -> list[Entry]:
    """One metric as a row of the table."""
    lo, hi = row["change_lo"], row["change_hi"]
    bounds = "[n/a]" if isnan(lo) else f"[{lo:+.3f}, {hi:+.3f}]"
    return [
        *(Entry(str(row[field])) for field in ("family", "regime", "method", "task", "metric", "items")),
        Entry(with_error(row["before"], row["before_stderr"])),
        Entry(with_error(row["after"], row["after_stderr"])),
        Entry(f"{row['change']:+.3f} {bounds}", bold=interval_excludes(lo, hi, 0, int(row["items"]))),
    ]


def with_error(value: float, stderr: float) -> str:
    """A value with its standard error, if it has one."""
    return f"{value:.3f}" if isnan(stderr) else f"{value:.3f} ± {stderr:.3f}"


def capability_section(records: Sequence[RunRecord], out: Path) -> Section:
    """The capabilities measured by the runs, scale by scale."""
    parts = []
    for scale, own in group_by_scale([record for record in records if record.capabilities]):
        tables = [capability_table(own)]
        parts.append(write_part(f"{slug(scale)}-capabilities", tables, capability_frame(own), [], out))
    return Section(
        "capabilities",
        "Capabilities before and after training",
        "lm-eval's tasks: the untrained model and the trained policy on the same items.",
        parts,
    )
