"""What state a run is in: its lock, `state.json`, and `progress.json` while it runs.

A run is running while its lock is held; the kernel frees the lock when the process that holds it ends, however it ends.
"""

import contextlib
import os
import platform
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from cme import Unavailable
from cme.records import Progress, RunState, SanityRecord, read_record, write_record
from cme.runtime import files
from cme.runtime.secrets import redact
from experiments.run.store import count_unscored, finished_comparators

STATE, PROGRESS, LOCK = "state.json", "progress.json", ".lock"
RECORDS = ("record.json", "sanity.json", "separation.json")


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run's lock. Where another process has it, say which one and wait; who has it may take it again.

    Raises as `cme.runtime.files.hold_lock` does.
    """
    if not files.holds_lock(folder / LOCK) and is_held(folder):
        known = read(folder)
        who = known.owner if known is not None and known.owner else "another process"
        print(f"{folder.name}: {who} is at it; waiting for it to end", file=sys.stderr)
    with files.hold_lock(folder / LOCK):
        yield


def is_held(folder: Path) -> bool:
    """Whether a living process is at the run. Raises as `cme.runtime.files.is_locked` does."""
    return files.is_locked(folder / LOCK)


def owner() -> str:
    """This process, for whoever waits for it."""
    return f"process {os.getpid()} on {platform.node()}"


def read(folder: Path) -> RunState | None:
    """A run's state as it was last written, None where it never was; one that cannot be read is a failed one."""
    try:
        return read_record(folder / STATE, RunState)
    except FileNotFoundError:
        return None
    except ValueError as error:
        return RunState("failed", attempts=0, reason=str(error).splitlines()[0])


def current_state(folder: Path) -> RunState | None:
    """A run's state at this moment, None for one that nobody has begun.

    A run that was killed is interrupted, and one whose record is gone is not done. The state of a run made before
    there were states is read off its record. Raises ValueError where such a record cannot be read.
    """
    found = read(folder)
    if found is None:
        record = next((name for name in RECORDS if (folder / name).exists()), None)
        if record is not None:
            return finished_state(folder / record, attempts=0, seconds=0.0)
        return RunState("running", attempts=1) if is_held(folder) else None
    if found.state == "running" and not is_held(folder):
        return RunState(
            "interrupted",
            found.attempts,
            reason=f"its process was killed {describe_progress(folder)}".rstrip(),
        )
    if found.state == "done" and found.record is not None and not (folder / found.record).exists():
        return None
    return found


def finished_state(record: Path, attempts: int, seconds: float) -> RunState:
    """The state of a run that has its record, which says what it still owes. Raises ValueError for a bad record.

    A comparator with an unscored verdict is not met; whether it is owed, who asks for the run knows.
    """
    owed, met = 0, {}
    if record.name == "record.json":
        run = read_record(record)
        owed = count_unscored(run)
        met = finished_comparators(run)
    elif record.name == "sanity.json":
        owed = sum(
            v.outcome == "unscored" for of in read_record(record, SanityRecord).verdicts.values() for v in of
        )
    return RunState("done", attempts, seconds, record=record.name, unscored=owed, comparators=met)


def report_stage(folder: Path, name: str) -> None:
    """Write down what the run is at from here on."""
    report_progress(folder, Progress(name))


def report_progress(folder: Path, at: Progress) -> None:
    """Write down what the run is at. It is for whoever looks on: what cannot be written is left out."""
    with contextlib.suppress(OSError, Unavailable):
        write_record(folder / PROGRESS, at)


def last_progress(folder: Path) -> Progress | None:
    """What a run was last at, None where that is not known."""
    try:
        return read_record(folder / PROGRESS, Progress)
    except (FileNotFoundError, ValueError):
        return None


def describe_progress(folder: Path) -> str:
    """What a run was last at, as in `at step 40 of 60`; empty where that is not known."""
    found = last_progress(folder)
    if found is None:
        return ""
    return f"while {found.stage}" if found.step is None else f"at step {found.step} of {found.steps}"


def describe_error(error: BaseException, variables: Iterable[str] = ()) -> str:
    """What an exception says, in one line and without a secret; an unexpected one with its type."""
    said = next(iter(str(error).splitlines()), "")
    expected = type(error).__module__.partition(".")[0] in ("cme", "experiments")
    return redact(said if expected and said else f"{type(error).__name__}: {said}".rstrip(": "), variables)


def redacted_traceback(error: BaseException, variables: Iterable[str] = ()) -> str:
    """An exception's traceback: no values of variables, and no secret that a message may hold."""
    return redact("".join(traceback.format_exception(error)), variables)
