"""A training's steps, for whoever looks on."""

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cme.records import Progress
from experiments.run import state


class ProgressFile(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Writes step, steps and seconds a step to the run's `progress.json`, at most once a second.

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
        """Write how far it is."""
        if time.monotonic() - self._wrote >= 1 or state.global_step == state.max_steps:
            self._write(state)

    def _write(self, at: TrainerState) -> None:
        if not at.is_world_process_zero:
            return
        self._wrote = time.monotonic()
        steps = at.global_step - self._first
        took = round((self._wrote - self._began) / steps, 3) if steps else None
        state.report_progress(self._folder, Progress("training", at.global_step, at.max_steps, took))
