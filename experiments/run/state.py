"""The state of a run: its lock, `state.json`, and `progress.json` while it runs.

A run is running while its lock is held. The kernel frees the lock when the process that holds it ends.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from cme import Unavailable
from cme.records import Progress, RunState, SanityRecord, read_record, write_json
from cme.runtime import files
from experiments.run.store import count_unscored, finished_comparators

STATE, PROGRESS, LOCK = "state.json", "progress.json", ".lock"
RECORDS = ("record.json", "sanity.json", "separation.json")


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run's lock. If another process holds it, name that process and wait. The holder may take it again.

    Raises as `cme.runtime.files.hold_lock` does.
    """
    if not files.holds_lock(folder / LOCK) and is_held(folder):
        known = read(folder)
        owner = known.owner if known is not None and known.owner else "another process"
        print(f"{folder.name}: {owner} is running it; waiting for it to end", file=sys.stderr)
    with files.hold_lock(folder / LOCK):
        yield


def is_held(folder: Path) -> bool:
    """Whether a living process holds the run's lock. Raises as `cme.runtime.files.is_locked` does."""
    return files.is_locked(folder / LOCK)


def read(folder: Path) -> RunState | None:
    """A run's state as it was last written, None if it never was. A state that cannot be read counts as failed."""
    try:
        return read_record(folder / STATE, RunState)
    except FileNotFoundError:
        return None
    except ValueError as error:
        return RunState("failed", attempts=0, reason=str(error).splitlines()[0])


def current_state(folder: Path) -> RunState | None:
    """A run's state at this moment; None if it has not started or its record is gone.

    A killed run is interrupted. A run without `state.json`, which older versions did not write, has the state of its
    record. Raises ValueError if such a record cannot be read.
    """
    known = read(folder)
    if known is None:
        record = next((name for name in RECORDS if (folder / name).exists()), None)
        if record is not None:
            return finished_state(folder / record, attempts=0)
        return RunState("running", attempts=1) if is_held(folder) else None
    if known.state == "running" and not is_held(folder):
        reason = f"its process was killed {describe_progress(folder)}".rstrip()
        return RunState("interrupted", known.attempts, reason=reason)
    if known.state == "done" and known.record is not None and not (folder / known.record).exists():
        return None
    return known


def finished_state(record: Path, attempts: int) -> RunState:
    """The state of a run that has its record. Raises ValueError for a record that cannot be read.

    Unscored verdicts against a comparator do not count as unscored: `comparators` leaves out the comparator instead,
    because only a command line that asks for it needs it.
    """
    unscored, comparators = 0, {}
    if record.name == "record.json":
        run = read_record(record)
        unscored, comparators = count_unscored(run), finished_comparators(run)
    elif record.name == "sanity.json":
        groups = read_record(record, SanityRecord).verdicts.values()
        unscored = sum(v.outcome == "unscored" for verdicts in groups for v in verdicts)
    return RunState("done", attempts, record=record.name, unscored=unscored, comparators=comparators)


def report_stage(folder: Path, name: str) -> None:
    """Write down the stage that the run is in from now on."""
    report_progress(folder, Progress(name))


def report_progress(folder: Path, progress: Progress) -> None:
    """Write down the run's progress. It only informs, so an error in writing it is ignored."""
    with contextlib.suppress(OSError, Unavailable):
        write_json(folder / PROGRESS, asdict(progress), durable=False)  # a sync can take a fifth of a second


def last_progress(folder: Path) -> Progress | None:
    """The last progress of a run, None if it is not known."""
    try:
        return read_record(folder / PROGRESS, Progress)
    except (FileNotFoundError, ValueError):
        return None


def describe_progress(folder: Path) -> str:
    """The last progress of a run in words, such as `at step 40 of 60`; empty if it is not known."""
    known = last_progress(folder)
    if known is None:
        return ""
    return f"while {known.stage}" if known.step is None else f"at step {known.step} of {known.steps}"
