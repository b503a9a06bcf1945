"""One cell in whatever process a launcher chose: its lock, its state on disk, its progress, and how it ended.

A run is running while its lock is held. The kernel frees the lock when the process that holds it ends.
"""

import contextlib
import gc
import logging
import os
import platform
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cme import Unavailable
from cme.judges.base import replace_surrogates
from cme.records import Progress, RunState, SanityRecord, read_record, write_json, write_record
from cme.runtime import files
from cme.runtime.errors import describe, expected_message
from cme.runtime.secrets import redact
from cme.runtime.terminal import plain
from experiments.config import identity
from experiments.config.components import locate
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run.inputs import training_checkpoints
from experiments.run.store import RECORD, Store, count_unscored_selection, finished_comparators, trains

STATE, PROGRESS, LOCK = "state.json", "progress.json", ".lock"
RECORDS = (RECORD, "sanity.json", "separation.json")


@dataclass(frozen=True)
class Job:
    """The work on a cell in place of the pipeline. `experiment.run` is the dotted path of a Job.

    Attributes:
        function: Makes the record unless it exists, and returns its path.
        record_path: Where the record lies, in a folder of this cell alone.
        checkpoints: Names the checkpoints that it loads, besides those of its judge.
    """

    function: Callable[[Run], Path]
    record_path: Callable[[Run], Path]
    checkpoints: Callable[[Run], list[str]] = training_checkpoints

    def __call__(self, run: Run) -> Path:
        """Make the record unless it exists; return its path."""
        return self.function(run)


class SweepStopped(BaseException):
    """A cell failed, and `fail_fast=true` ends the sweep. No `except Exception` catches it."""


def record_path(run: Run) -> Path:
    """Where a cell's record lies. Raises BadConfig as `job_of` does."""
    return Store(run).record if trains(run) else job_of(run).record_path(run)


def job_of(run: Run) -> Job:
    """The Job of a run that trains nothing. Raises BadConfig if `experiment.run` names something else."""
    try:
        job = locate(run.experiment.run)
    except ImportError as error:
        raise BadConfig(f"experiment.run={run.experiment.run} cannot be imported: {error}") from error
    if not isinstance(job, Job):
        raise BadConfig(f"experiment.run={run.experiment.run}; it must name a Job of {__name__}")
    return job


def is_done(run: Run) -> bool:
    """Whether the record has every comparison with a further model, and every verdict in it is scored.

    Raises ValueError for a record that cannot be read.
    """
    path = record_path(run)
    if not path.exists():
        return False
    found = finished_state(path, attempts=0)
    wanted = run.comparisons if trains(run) else {}
    return not found.unscored and wanted.items() <= found.comparators.items()


def run(run: Run) -> None:
    """Run the stages of a cell that are not done, and write to the run's `state.json` how it ended.

    An error is recorded as the state of the cell, and the sweep continues; with `fail_fast`, it raises SweepStopped.
    KeyboardInterrupt, which includes `cme.Interrupted`, is recorded and raised again.
    """
    record = record_path(run)
    folder, began = record.parent, time.perf_counter()
    with run_lock(folder):
        known = read_state(folder)
        owner = f"process {os.getpid()} on {platform.node()}"
        attempt = RunState("running", known.attempts if known else 0, owner=owner)

        def write_end(end: RunState) -> None:
            seconds = round(time.perf_counter() - began, 3)
            write_record(folder / STATE, replace(end, seconds=seconds, owner=None))

        try:
            if not is_done(run):
                attempt = replace(attempt, attempts=attempt.attempts + 1)
                write_record(folder / STATE, attempt)
                report_progress(folder, "starting")
            locate(run.experiment.run)(run)
            end = finished_state(record, attempt.attempts)
            if known is None or known != replace(end, seconds=known.seconds):
                write_end(end)
        except KeyboardInterrupt as error:
            by = f"by {error} " if str(error) else ""
            # even if this cannot be written, the run counts as interrupted
            with contextlib.suppress(OSError, Unavailable):
                reason = f"interrupted {by}{_describe_progress(folder)}".rstrip()
                write_end(replace(attempt, state="interrupted", reason=reason))
            raise
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - also a panic of a library in Rust: the other cells still run
            settings = identity.flatten(run.settings)
            secrets = [str(v) for k, v in settings.items() if k.endswith("api_key_variable") and v]
            message = expected_message(error)
            first = describe(error) if message is None else message.splitlines()[0]
            reason = replace_surrogates(redact(first, secrets))
            kept = f"; its traceback is in {folder / STATE}" if message is None else ""
            print(plain(f"{folder.name}: failed: {reason}{kept}"), file=sys.stderr)
            trace = replace_surrogates(redact("".join(traceback.format_exception(error)), secrets))
            write_end(replace(attempt, state="failed", reason=reason, traceback=trace))
            if run.fail_fast:
                raise SweepStopped(f"{folder.name}: {reason}") from None
    gc.collect()  # frees the models of the cell for the next one in this process
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run's lock. If another process holds it, name that process and wait. The holder may take it again."""
    if not files.holds_lock(folder / LOCK) and is_held(folder):
        known = read_state(folder)
        owner = known.owner if known is not None and known.owner else "another process"
        print(plain(f"{folder.name}: {owner} is running it; waiting for it to end"), file=sys.stderr)
    with files.hold_lock(folder / LOCK):
        yield


def is_held(folder: Path) -> bool:
    """Whether a living process holds the run's lock."""
    return files.is_locked(folder / LOCK)


def read_state(folder: Path) -> RunState | None:
    """A run's state as it was last written, None if it never was. A state that cannot be read counts as failed."""
    try:
        return read_record(folder / STATE, RunState)
    except FileNotFoundError:
        return None
    except ValueError as error:
        return RunState("failed", attempts=0, reason=str(error).splitlines()[0])


def current_state(folder: Path) -> RunState | None:
    """A run's state at this moment; None if it has not started or its record is gone.

    A killed run is interrupted. Without `state.json`, as for a record that was copied alone, the state is that of the
    record. Raises ValueError if such a record cannot be read.
    """
    known = read_state(folder)
    if known is None:
        record = next((name for name in RECORDS if (folder / name).exists()), None)
        if record is not None:
            return finished_state(folder / record, attempts=0)
        return RunState("running", attempts=1) if is_held(folder) else None
    if known.state == "running" and not is_held(folder):
        reason = f"its process was killed {_describe_progress(folder)}".rstrip()
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
    if record.name == RECORD:
        run = read_record(record)
        unscored = sum(v.outcome == "unscored" for v in run.verdicts) + count_unscored_selection(run)
        comparators = finished_comparators(run)
    elif record.name == "sanity.json":
        groups = read_record(record, SanityRecord).verdicts.values()
        unscored = sum(v.outcome == "unscored" for verdicts in groups for v in verdicts)
    return RunState("done", attempts, record=record.name, unscored=unscored, comparators=comparators)


def report_progress(
    folder: Path, stage: str, step: int | None = None, steps: int | None = None, seconds: float | None = None
) -> None:
    """Write down the stage that a run is in and, of a training, its step, number of steps and seconds per step.

    This only informs, so an error in writing it is ignored.
    """
    progress = asdict(Progress(stage, step, steps, seconds))
    with contextlib.suppress(OSError, Unavailable):
        write_json(folder / PROGRESS, progress, durable=False)  # a sync can take a fifth of a second


def last_progress(folder: Path) -> Progress | None:
    """The last progress of a run, None if it is not known."""
    try:
        return read_record(folder / PROGRESS, Progress)
    except (FileNotFoundError, ValueError):
        return None


def _describe_progress(folder: Path) -> str:
    """The last progress of a run in words, such as `at step 40 of 60`; empty if it is not known."""
    known = last_progress(folder)
    if known is None:
        return ""
    return f"while {known.stage}" if known.step is None else f"at step {known.step} of {known.steps}"


def print_message(run: Run, text: str) -> None:
    """Print a line about a run on stderr."""
    print(plain(f"{run.run_id}: {text}"), file=sys.stderr)


def quiet_libraries() -> None:
    """Silence the libraries except for errors."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|accelerate)\.")
