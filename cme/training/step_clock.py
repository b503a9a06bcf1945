"""How long the parts of GRPO's training steps take: sampling, scoring, monitoring, and the update."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback


class StepClock(TrainerCallback):  # type: ignore[misc]
    """Adds up the wall-clock seconds of each part over all steps; a training that resumes continues the sums.

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
