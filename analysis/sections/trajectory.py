"""Saved checkpoints during training: the selected one and its gain, and the step of a collapse.

Two sets of prompts are never mixed. The trajectory (win rate and true quality by step) uses the selection prompts. Its
best checkpoint is partly chosen by chance, so the selected and the final policy are compared on the evaluation prompts
alone.

Collapse: the first saved checkpoint from which on all are significantly worse than the untrained model: the 95 %
interval of the win rate lies below 50 % for any outcome of the unscored verdicts, or that of the paired difference in
quality lies below 0. A training that the collapse guard stopped is listed separately, since it may have stopped with
nothing left to learn.
"""

from collections.abc import Iterable, Sequence
from math import nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.frames import last_training_step, run_identity
from analysis.records.names import method_names, sort_names
from analysis.stats.intervals import Floats, clustered_interval, interval_excludes
from analysis.stats.metrics import WinRate, is_undecided, win_rate
from analysis.stats.position_bias import half_scored
from analysis.tables.render import Entry, Table, format_interval, format_percent
from analysis.tables.win_rates import NEVER_BOLD
from cme.records import CheckpointResult, RunRecord, Trajectory, Verdict, majority_verdicts, points

MEASURES = {"win_rate": "win rate against the start (%)", "quality": "true quality (0 to 1)"}
HEADER = (
    *("family", "regime", "reward", "seeds", "final (%)", "selected (%)", "selected - final"),
    *("selected at step", "collapse: win rate", "collapse: quality", "stopped at step"),
)


def trajectory_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per run and checkpoint: win rate in percent and true quality on the selection prompts, with intervals.

    Step 0 is the untrained model, whose win rate against itself is 50 by definition. `gain` is the paired difference
    in quality from the start. NaN without an oracle.
    """
    names, rows = method_names(records), []
    for record in records:
        path = record.trajectory
        if path is None:
            continue
        identity = run_identity(record, names) | {"selection_judge": path.judge}
        rows.append(identity | {"step": 0} | at_start([path]))
        for milestone in path.milestones:
            marks = {
                "step": milestone.step,
                "selected": record.selected is not None and record.selected.step == milestone.step,
                "final": milestone is path.milestones[-1],
            }
            rows.append(identity | marks | measured([(path, milestone)]))
    return pd.DataFrame(rows)


def at_start(paths: Sequence[Trajectory]) -> dict[str, float]:
    """The start's measures: win rate 50 % by definition, and its quality with the interval over prompts."""
    quality = np.concatenate([floats(path.start_quality, len(path.prompts)) for path in paths])
    prompts = np.array([prompt for path in paths for prompt in path.prompts], dtype=object)
    lo, hi = clustered_interval(quality, prompts)
    win = {"win_rate": 50.0, "win_rate_lo": 50.0, "win_rate_hi": 50.0}
    return win | {"quality": mean(quality), "quality_lo": lo, "quality_hi": hi}


def measured(seen: Sequence[tuple[Trajectory, CheckpointResult]]) -> dict[str, float]:
    """Win rate and quality of the pooled checkpoints of one or several runs, with intervals over prompts.

    A prompt counts in a run's win rate only if all of its verdicts are scored.
    """
    won = [
        (nan if point is None else point, prompt, None in own and point is not None)
        for path, milestone in seen
        for prompt, own in zip(path.prompts, milestone.points, strict=True)
        for point in own
    ]
    points_won, of_prompts, half = (np.array(column, dtype=object) for column in zip(*won, strict=True))
    win = win_rate(points_won.astype(float), of_prompts, half.astype(bool))
    prompts = np.array([prompt for path, _ in seen for prompt in path.prompts], dtype=object)
    quality = np.concatenate([floats(m.quality, len(path.prompts)) for path, m in seen])
    gain = quality - np.concatenate([floats(path.start_quality, len(path.prompts)) for path, _ in seen])
    quality_lo, quality_hi = clustered_interval(quality, prompts)
    gain_lo, gain_hi = clustered_interval(gain, prompts)
    return {
        "win_rate": win.rate,
        "win_rate_lo": win.lo,
        "win_rate_hi": win.hi,
        "win_rate_open": win.open,
        "unscored": win.unscored,
        "half_scored": win.half_scored,
        "quality": mean(quality),
        "quality_lo": quality_lo,
        "quality_hi": quality_hi,
        "gain": mean(gain),
        "gain_lo": gain_lo,
        "gain_hi": gain_hi,
    }


def floats(values: Sequence[float] | None, count: int) -> Floats:
    """The values (count,); NaN for None."""
    return np.full(count, nan) if values is None else np.array(values, dtype=float)


def mean(values: Floats) -> float:
    """Mean of the known values, NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else nan


def collapse_step(steps: Iterable[int], worse: Iterable[bool]) -> int | None:
    """The first step from which on all are worse; None if the last one is not."""
    first = None
    for step, is_worse in zip(steps, worse, strict=True):
        first = (step if first is None else first) if is_worse else None
    return first


def collapse_of(run: pd.DataFrame, measure: str) -> int | str | None:
    """The collapse step of one run's rows by `win_rate` or `quality`; "n/a" if no checkpoint has an interval.

    A checkpoint without an interval, such as an unscored one, is skipped and not a recovery.
    """
    bound, level = {"win_rate": ("win_rate_hi", 50), "quality": ("gain_hi", 0)}[measure]
    seen = run[run["step"] > 0].dropna(subset=[bound]).sort_values("step")
    if seen.empty:
        return "n/a"
    worse = seen[bound] < level
    if measure == "win_rate":
        worse &= ~seen["win_rate_open"].astype(bool)
    return collapse_step((int(step) for step in seen["step"]), worse)


def trajectory_table(records: Sequence[RunRecord]) -> Table:
    """The runs of one scale that have a trajectory: final and selected policy, and the step of a collapse."""
    frame = trajectory_frame(records)
    by_id = {record.run_id: record for record in records}
    cells = ["family", "regime", "reward", "method", "judge", "selection_judge"]
    groups: dict[str, list[list[Entry]]] = {}
    for (family, regime, _, method, _, _), rows in frame.groupby(cells, sort=False):
        own = [by_id[run] for run in dict.fromkeys(rows["run_id"])]
        groups.setdefault(str(family), []).append(
            [Entry(str(family)), Entry(str(regime)), Entry(str(method)), *entries(own, frame)]
        )
    judges = sort_names(record.judge for record in records if record.trajectory)
    choosers = sort_names(record.trajectory.judge for record in records if record.trajectory)
    return Table(
        name="selection",
        title=f"Final and selected checkpoint (scale: {records[0].scale})",
        header=HEADER,
        groups=list(groups.values()),
        notes=[
            f"Final, selected: win rate on the evaluation prompts, judged by {', '.join(judges)}, all seeds pooled; in "
            f"brackets the 95 % CI over prompts. Bold: it excludes 50 %, {NEVER_BOLD} prompts.",
            f"Selected: the checkpoint with the highest win rate against the start on the selection prompts, judged by "
            f"{', '.join(choosers)}; none of these is an evaluation prompt. The earliest one in a tie.",
            "Selected - final: in percentage points, paired by comparison; its CI is bootstrapped by "
            f"prompt. Bold: it excludes 0, {NEVER_BOLD} prompts.",
            "Collapse: the first saved checkpoint from which on all are significantly worse than the start, on the "
            "selection prompts, by seed; - for no collapse. Unscored checkpoints are skipped. "
            "Stopped: the collapse guard ended the training.",
            *verdict_notes(records),
        ],
    )


def verdict_notes(records: Sequence[RunRecord]) -> list[str]:
    """Notes on verdicts left out of the win rates of final and selected policies, and on panels."""
    selected = [
        r.selected.verdicts for r in records if r.selected is not None and r.selected.verdicts is not None
    ]
    judged = [record.verdicts for record in records] + selected
    wins = [win_of([comparisons(verdicts)]) for verdicts in judged if verdicts]
    unscored, half = sum(win.unscored for win in wins), sum(win.half_scored for win in wins)
    total = sum(win.verdicts for win in wins)
    panel = any(map(majority_verdicts, judged))
    return [
        *(["The verdict of a panel is that of its majority."] if panel else []),
        *([f"{unscored} of {total} verdicts are unscored and left out."] if unscored else []),
        *([f"{half} more are left out, because their pair is unscored in the other order."] if half else []),
    ]


def entries(records: Sequence[RunRecord], frame: pd.DataFrame) -> list[Entry]:
    """A cell's entries after its method: win rates with pooled seeds, and steps by seed."""
    final = [comparisons(record.verdicts) for record in records]
    chosen = [
        None
        if r.selected is None
        else comparisons(r.verdicts if r.selected.verdicts is None else r.selected.verdicts)
        for r in records
    ]
    known = [c for c in chosen if c is not None]
    whole = len(known) == len(records)
    rows = [frame[frame["run_id"] == record.run_id] for record in records]
    return [
        Entry(" ".join(str(r.seed) for r in records)),
        rate_entry(final),
        rate_entry(known) if whole else Entry("n/a"),
        gain_entry(final, known) if whole else Entry("n/a"),
        by_seed(None if r.selected is None else r.selected.step for r in records),
        *(by_seed(collapse_of(run, measure) for run in rows) for measure in MEASURES),
        by_seed(None if r.stopped is None else last_training_step(r) for r in records),
    ]


Comparisons = dict[tuple[str, bool, str | None], float]


def comparisons(verdicts: Sequence[Verdict]) -> Comparisons:
    """The policy's points by prompt, order and judge (of a panel the majority); NaN if unscored."""
    decisive = majority_verdicts(verdicts) or verdicts
    return {(v.prompt_id, v.policy_first, v.judge): points(v) for v in decisive}


def rate_entry(runs: Sequence[Comparisons]) -> Entry:
    """A win rate with its interval; n/a without a verdict."""
    if not any(runs):
        return Entry("n/a")
    win = win_of(runs)
    return Entry(f"{format_percent(win.rate)} {format_interval(win.lo, win.hi)}", bold=not is_undecided(win))


def win_of(runs: Sequence[Comparisons]) -> WinRate:
    """The win rate of the pooled comparisons of some runs."""
    own = [points_of(run) for run in runs if run]
    points, prompts, half = (np.concatenate(column) for column in zip(*own, strict=True))
    return win_rate(points, prompts, half)


def points_of(run: Comparisons) -> tuple[Floats, NDArray[np.object_], NDArray[np.bool_]]:
    """A run's points, the prompt of each, and which do not count, because their pair is unscored in the other order."""
    won = np.array(list(run.values()))
    prompts = np.array([prompt for prompt, _, _ in run], dtype=object)
    pairs = np.array([f"{judge}\n{prompt}" for prompt, _, judge in run], dtype=object)
    return won, prompts, half_scored(won, np.array([first for _, first, _ in run]), pairs)


def gain_entry(before: Sequence[Comparisons], after: Sequence[Comparisons]) -> Entry:
    """The difference between two policies' win rates, paired by comparison, with its interval."""
    gains = [{key: new[key] - old[key] for key in old} for old, new in zip(before, after, strict=True)]
    if not any(gains):
        return Entry("n/a")
    own = [points_of(run) for run in gains if run]
    values, prompts, half = (np.concatenate(column) for column in zip(*own, strict=True))
    counted = ~np.isnan(values) & ~half
    if not counted.any():
        return Entry("n/a")
    gained, missing = 100 * values[counted], float(np.isnan(values).sum())
    lo, hi = clustered_interval(gained, prompts[counted])
    certain = abs(float(np.nansum(values))) > missing  # an unscored comparison would add between -1 and 1
    bold = certain and interval_excludes(lo, hi, 0, len(set(prompts[counted])))
    return Entry(f"{mean(gained):+.1f} {format_interval(lo, hi)}", bold)


def by_seed(steps: Iterable[int | str | None]) -> Entry:
    """Steps in the order of the seeds; - for none."""
    return Entry(" ".join("-" if step is None else str(step) for step in steps))
