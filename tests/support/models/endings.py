"""Ways to end a running training in tests."""

import os
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState


class Killed(Exception):
    """Stands for SIGKILL: nothing is saved."""


class Ending(TrainerCallback):  # type: ignore[misc]
    """Ends a training after a step, by a signal or with nothing saved."""

    def __init__(self, step: int, by: int | None) -> None:
        self.step, self.by = step, by

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == self.step:
            if self.by is None:
                raise Killed
            os.kill(os.getpid(), self.by)


class Steps(TrainerCallback):  # type: ignore[misc]
    """Notes the steps that a training takes; with `killed`, it ends with nothing saved after the first."""

    def __init__(self, killed: bool = False) -> None:
        self.taken: list[int] = []
        self.killed = killed

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.taken.append(state.global_step)
        if self.killed:
            raise Killed
