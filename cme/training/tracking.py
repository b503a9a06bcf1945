"""Metrics of a training in TensorBoard, Weights & Biases, MLflow or Trackio, step by step.

Every tracker gets the same metrics under the same names: the columns of the record's history after the prefix
`train/`. A tracker that fails does not end the training; it receives the missed steps later.
"""

import time
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from cme.training.history import history_columns
from cme.training.trackers import OPENERS, PREFIX, TrackedRun, Tracker, describe_error

PAUSE = 60.0
"""Seconds after a failure until the tracker is tried again. Ten times the duration of the failure if that is longer, so
that a tracker which is down costs at most 10 % of the time."""


class Tracking(TrainerCallback):  # type: ignore[misc]
    """Sends a tracker all steps of the training's history that it does not have yet.

    A training that resumes from a checkpoint continues the tracker's run. `warn` receives the first failure and, if the
    last attempt fails too, the steps that are missing.
    """

    def __init__(self, name: str, run: TrackedRun, warn: Callable[[str], None]) -> None:
        self.name, self.run, self.warn = name, run, warn
        self.tracker: Tracker | None = None
        self.last = 0  # the last step that the tracker has
        self._first = 0
        self._failed = False
        self._not_before = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the run and send the missing steps."""
        self.last = self._first = state.global_step
        self._send(state)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Send the step's metrics."""
        if time.monotonic() >= self._not_before:
            self._send(state)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the run."""
        if not self._send(state, last=True):
            self.warn(f"tracker={self.name} lacks the steps after {self.last}; the run's record has them")

    def _send(self, state: TrainerState, last: bool = False) -> bool:
        """Send the missing steps, from the main process; return whether the tracker has the whole history now."""
        if not state.is_world_process_zero:
            return True
        began = time.monotonic()
        try:
            if self.tracker is None:
                self.tracker, self.last = OPENERS[self.name](self.run, self._first)
            new = takewhile(lambda entry: entry["step"] > self.last, reversed(state.log_history))
            for entry in [entry for entry in new if "loss" in entry][::-1]:
                self.tracker.log(metrics(entry), step=entry["step"])
                self.last = entry["step"]
            if last:
                self.tracker.finish()
        except Exception as error:  # noqa: BLE001 - no failure of a tracker may end a training
            now = time.monotonic()
            self._not_before = now + max(PAUSE, 10 * (now - began))
            if not self._failed:
                self.warn(f"tracker={self.name} failed at step {state.global_step}: {describe_error(error)}")
            self._failed = True
            return False
        return True


def metrics(entry: Mapping[str, float]) -> dict[str, float]:
    """The metrics of one entry of the trainer's log, by their names in a tracker."""
    return {
        PREFIX + column: values[0]
        for column, values in history_columns([entry]).items()
        if column != "step" and values[0] is not None
    }
