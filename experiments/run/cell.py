"""One cell, run in whatever process a launcher chose: locked, its failure written down, its models released."""

import contextlib
import gc
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import cast

from cme import Unavailable
from cme.records import RunState, write_record
from experiments.config import identity, schema
from experiments.config.components import locate
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import state
from experiments.run.store import Store


class SweepStopped(BaseException):
    """A cell failed, and `fail_fast=true` ends the sweep with it. Goes through every `except Exception`."""


def record_path(config: Run) -> Path:
    """Where a cell's record lies: in a folder of its run's own, which has its lock and its state too.

    The module of an experiment's `run` says it by a function of this name. Raises BadConfig for one that does not.
    """
    if config.experiment.run == schema.Experiment.run:
        return Store.of(config).record
    module = import_module(config.experiment.run.rpartition(".")[0])
    if not hasattr(module, "record_path"):
        raise BadConfig(
            f"experiment.run={config.experiment.run}: {module.__name__} has no function record_path(config)"
        )
    return cast("Path", module.record_path(config))


def is_done(config: Run) -> bool:
    """Whether a run has nothing left to do. Raises ValueError for a record that cannot be read."""
    if config.experiment.run == schema.Experiment.run:
        return Store.of(config).done
    path = record_path(config)
    return path.exists() and not state.finished_state(path, 0, 0.0).unscored


def run(config: Run) -> None:
    """Run whatever stages of a cell are not done yet, and write down how it ended in the run's `state.json`.

    Whatever a cell fails of is its state, and no exception: the sweep goes on. With `fail_fast` it raises SweepStopped.
    KeyboardInterrupt, as `cme.Interrupted` is one, is written down and goes on up.
    """
    record = record_path(config)
    folder, began = record.parent, time.perf_counter()
    secret = [
        str(v) for k, v in identity.flat_settings(config).items() if k.endswith("api_key_variable") and v
    ]
    with state.run_lock(folder):
        known = state.read(folder)
        attempt = RunState("running", known.attempts if known else 0, owner=state.owner())

        def ended(how: RunState) -> None:
            took = round(time.perf_counter() - began, 3)
            write_record(folder / state.STATE, replace(how, seconds=took, owner=None))

        try:
            was_done = is_done(config)
            if not was_done:
                attempt = replace(attempt, attempts=attempt.attempts + 1)
                write_record(folder / state.STATE, attempt)
                state.report_stage(folder, "starting")
            locate(config.experiment.run)(config)
            found = state.finished_state(record, attempt.attempts, 0.0)
            if known is None or known != replace(found, seconds=known.seconds):
                ended(found)
        except KeyboardInterrupt as error:
            by = f"by {error} " if str(error) else ""
            with contextlib.suppress(
                OSError, Unavailable
            ):  # a run without it counts as interrupted all the same
                reason = f"interrupted {by}{state.describe_progress(folder)}".rstrip()
                ended(replace(attempt, state="interrupted", reason=reason))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other cells of a sweep go on
            reason = state.describe_error(error, secret)
            print(f"{folder.name}: failed: {reason}", file=sys.stderr)
            ended(
                replace(
                    attempt, state="failed", reason=reason, traceback=state.redacted_traceback(error, secret)
                )
            )
            if config.fail_fast:
                raise SweepStopped(f"{folder.name}: {reason}") from None
    release()


def release() -> None:
    """Free what a cell loaded, for the next one in this process."""
    if "experiments.run.surprisal" in sys.modules:
        sys.modules["experiments.run.surprisal"].cached_scorer.cache_clear()
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
