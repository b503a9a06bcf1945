"""The callbacks that watch a training and change nothing in it: its progress file, and the configured tracker."""

import sys
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cme.records import Progress, read_json, write_json
from cme.runtime.secrets import redact
from cme.training.trackers import TrackedRun, Tracking
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run import state
from experiments.run.store import Store

NAMES = ("family.name", "regime", "verifier.name", "experiment.name")
"""Settings that a tracker shows although they do not change results."""


def callbacks(run: Run, store: Store) -> list[TrainerCallback]:
    """The callbacks of a training: the run's progress file and, if one is configured, the training's tracker.

    A tracker knows the training by its id, since another run may resume it.
    """
    progress = ProgressFile(store.folder)
    if run.tracker == "none":
        return [progress]
    experiment = run.experiment.name
    project = "cme" if experiment is None else f"cme-{experiment}"
    tracked = TrackedRun(store.trained.name, project, parameters(run), store.trained)

    def warn(text: str) -> None:
        print(f"warning: {store.folder.name}: {text}", file=sys.stderr)
        if text not in warnings(store):
            write_json(store.tracking, [*warnings(store), text])

    return [progress, Tracking(run.tracker, tracked, warn)]


def parameters(run: Run) -> dict[str, Any]:
    """The names of a run, and its settings that change the training, by their dotted paths and without secrets."""
    names = {path: value for path, value in identity.flat_settings(run).items() if path in NAMES}
    settings = names | identity.training_fields(run)
    return {path: redact(v) if isinstance(v, str) else v for path, v in settings.items()}


def warnings(store: Store) -> list[str]:
    """Warnings for the record about a tracker that failed."""
    return list(read_json(store.tracking)) if store.tracking.exists() else []


class ProgressFile(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Writes step, number of steps and seconds per step to the run's `progress.json`, at most once a second.

    The seconds are the mean over the steps of this process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = self._wrote = time.monotonic()
        self._first = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock; a resumed training begins at a later step."""
        self._began, self._first = time.monotonic(), state.global_step
        self._write(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the step, if the last write is a second ago or the training is over."""
        if time.monotonic() - self._wrote >= 1 or state.global_step == state.max_steps:
            self._write(state)

    def _write(self, at: TrainerState) -> None:
        if not at.is_world_process_zero:
            return
        self._wrote = time.monotonic()
        steps = at.global_step - self._first
        seconds = round((self._wrote - self._began) / steps, 3) if steps else None
        state.report_progress(self._folder, Progress("training", at.global_step, at.max_steps, seconds))
