"""Run one cell in whatever process a launcher chose: lock it, record how it ended, and free its models."""

import contextlib
import gc
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cme import Unavailable
from cme.judges.base import replace_surrogates
from cme.records import RunState, write_record
from cme.runtime.errors import describe, expected_message
from cme.runtime.secrets import redact
from cme.runtime.terminal import plain
from experiments.config import identity, schema
from experiments.config.components import locate
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import state, surprisal
from experiments.run.store import Store


@dataclass(frozen=True)
class Job:
    """The work on a cell in place of the pipeline. `experiment.run` is the dotted path of a Job.

    Attributes:
        function: Makes the record unless it exists.
        record_path: Where the record lies. Its folder belongs to this cell alone; lock and state lie there too.
    """

    function: Callable[[Run], Path]
    record_path: Callable[[Run], Path]

    def __call__(self, run: Run) -> Path:
        """Make the record unless it exists; return its path."""
        return self.function(run)


class SweepStopped(BaseException):
    """A cell failed, and `fail_fast=true` ends the sweep. No `except Exception` catches it."""


def record_path(run: Run) -> Path:
    """Where a cell's record lies. Raises BadConfig if `experiment.run` names something other than a Job."""
    if run.experiment.run == schema.Experiment.run:
        return Store.of(run).record
    job = locate(run.experiment.run)
    if not isinstance(job, Job):
        raise BadConfig(f"experiment.run={run.experiment.run}; it must name a Job of {__name__}")
    return job.record_path(run)


def is_done(run: Run) -> bool:
    """Whether nothing of a run is pending. Raises ValueError for a record that cannot be read."""
    if run.experiment.run == schema.Experiment.run:
        return Store.of(run).done
    path = record_path(run)
    return path.exists() and not state.finished_state(path, attempts=0).unscored


def run(run: Run) -> None:
    """Run the stages of a cell that are not done, and write to the run's `state.json` how it ended.

    An error is recorded as the state of the cell, and the sweep continues; with `fail_fast`, it raises SweepStopped.
    KeyboardInterrupt, which includes `cme.Interrupted`, is recorded and raised again.
    """
    record = record_path(run)
    folder, began = record.parent, time.perf_counter()
    settings = identity.flat_settings(run)
    secrets = [str(v) for k, v in settings.items() if k.endswith("api_key_variable") and v]
    with state.run_lock(folder):
        known = state.read(folder)
        attempt = RunState(
            "running",
            known.attempts if known else 0,
            owner=f"process {os.getpid()} on {platform.node()}",
        )

        def write_end(end: RunState) -> None:
            seconds = round(time.perf_counter() - began, 3)
            write_record(folder / state.STATE, replace(end, seconds=seconds, owner=None))

        try:
            if not is_done(run):
                attempt = replace(attempt, attempts=attempt.attempts + 1)
                write_record(folder / state.STATE, attempt)
                state.report_stage(folder, "starting")
            locate(run.experiment.run)(run)
            end = state.finished_state(record, attempt.attempts)
            if known is None or known != replace(end, seconds=known.seconds):
                write_end(end)
        except KeyboardInterrupt as error:
            by = f"by {error} " if str(error) else ""
            # even if this cannot be written, the run counts as interrupted
            with contextlib.suppress(OSError, Unavailable):
                reason = f"interrupted {by}{state.describe_progress(folder)}".rstrip()
                write_end(replace(attempt, state="interrupted", reason=reason))
            raise
        except Exception as error:  # noqa: BLE001 - after any error, the other cells of the sweep still run
            message = expected_message(error)
            first = describe(error) if message is None else message.splitlines()[0]
            reason = replace_surrogates(redact(first, secrets))
            print(plain(f"{folder.name}: failed: {reason}"), file=sys.stderr)
            trace = replace_surrogates(redact("".join(traceback.format_exception(error)), secrets))
            write_end(replace(attempt, state="failed", reason=reason, traceback=trace))
            if run.fail_fast:
                raise SweepStopped(f"{folder.name}: {reason}") from None
    _free_memory()


def _free_memory() -> None:
    """Free the models of a cell for the next one in this process."""
    surprisal.cached_scorer.cache_clear()
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
