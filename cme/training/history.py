"""The outcome of a training: what was measured at each step, and how long the parts of the steps took."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainerCallback

HISTORY = {
    "step": "step",
    "reward": "reward",
    "reward_std": "reward_std",
    "quality": "quality",
    "heldout": "heldout",
    "length": "completions/mean_length",
    "clipped": "completions/clipped_ratio",
    "repetition": "repetition",
    "entropy": "entropy",
    "kl": "kl_from_start",
    "unscored": "unscored",
    "accuracy": "accuracy",
    "majority_share": "majority_share",
    "label_accuracy": "label_accuracy",
    "semantic_entropy": "semantic_entropy",
    "loss": "loss",
    "grad_norm": "grad_norm",
}
"""Key in the trainer's log by column of the record. `cme.records.RunRecord` gives the units."""


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training.

    Attributes:
        history: Columns of equal length with one entry per step, None where a value was not measured.
        stopped: Why training ended before its last step; None if it did not.
        earlier: Seconds that a resumed training had taken before the checkpoint that it resumed from.
        seconds: Seconds by part of the steps (`StepClock`); empty where they are not measured.
        changed: Whether the weights are other than before the training.
    """

    history: dict[str, list[float | None]]
    stopped: str | None
    earlier: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    changed: bool = True

    @property
    def untrained(self) -> str | None:
        """Why the policy is the model that it began as; None where training changed it."""
        if not any(self.history.values()):
            return "the training made no step"
        return None if self.changed else "the training changed no weight"


def history_columns(logs: Sequence[Mapping[str, float | None]]) -> dict[str, list[float | None]]:
    """The trainer's log as columns of six significant digits; a value that is absent or not finite is None."""

    columns: dict[str, list[float | None]] = {}
    for column, key in HISTORY.items():
        if any(key in entry for entry in logs):
            values = [entry.get(key) for entry in logs]
            columns[column] = [
                float(f"{v:.6g}") if v is not None and math.isfinite(v) else None for v in values
            ]
    return columns


class StepClock(TrainerCallback):  # type: ignore[misc]
    """Adds up the wall-clock seconds of each part of GRPO's steps; a training that resumes continues the sums.

    Attributes:
        seconds: `sampling` of completions, `scoring` by the reward, `monitoring`, and `update`, which is the rest of
            the steps: the loss, its gradient and the optimizer.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("sampling", "scoring", "monitoring", "update"), 0.0)
        self._began = 0.0

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Count the time of the block as that of a part, and not as update."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.seconds[part] += seconds
        self.seconds["update"] -= seconds

    def timed(self, part: str, reward: Callable[..., Any]) -> Callable[..., Any]:
        """A reward function whose calls are measured."""

        def call(*arguments: Any, **columns: Any) -> Any:
            with self.measure(part):
                return reward(*arguments, **columns)

        call.__name__ = reward.__name__
        return call

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the step."""
        self._began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """End the step."""
        self.seconds["update"] += time.perf_counter() - self._began

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return dict(self.seconds)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the sums of a checkpoint."""
        self.seconds = dict(state)
