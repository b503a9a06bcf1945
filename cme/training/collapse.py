"""The collapse guard ends a training that cannot learn any more and keeps its policy; divergence is an error.

Reasons to stop are constant rewards, completions that are all cut at the length limit, and too many completions without
a reward.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from cme import TrainingFailed


@dataclass(frozen=True)
class CollapseGuard:
    """When a training ends early.

    Attributes:
        patience: Consecutive steps with the same reason to stop, at least.
        patience_groups: Groups of completions in these steps, at least. Steps differ in size: ten constant steps of
            eight groups are a collapse, but ten constant steps of one group are common.
        max_unscored: The largest share of completions without a reward that is not a reason to stop.
    """

    patience: int
    patience_groups: int
    max_unscored: float

    def steps(self, groups_per_step: int) -> int:
        """The number of consecutive steps with the same reason after which training ends."""
        return max(self.patience, math.ceil(self.patience_groups / groups_per_step))


class DivergenceCallback(TrainerCallback):  # type: ignore[misc]
    """Ends a training that has diverged."""

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any, **_: Any) -> None:
        """Raise TrainingFailed for a loss or gradient that is not finite."""
        for name, words in (("loss", "loss"), ("grad_norm", "gradient norm")):
            value = logs.get(name, 0.0)
            if not math.isfinite(value):
                raise TrainingFailed(
                    f"the {words} is {value} at step {state.global_step}: lower trainer.learning_rate"
                )


class CollapseCallback(TrainerCallback):  # type: ignore[misc]
    """Counts consecutive steps with a reason to stop; `stopped` says why it ended the training."""

    def __init__(self, guard: CollapseGuard, groups_per_step: int) -> None:
        self.guard = guard
        self.patience = guard.steps(groups_per_step)
        self.stopped: str | None = None
        self._consecutive: dict[str, int] = {}

    def state_dict(self) -> dict[str, Any]:
        """The counts so far."""
        return dict(self._consecutive)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the counts of a checkpoint."""
        self._consecutive = dict(state)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any, **_: Any) -> None:
        """Check one step, unless it ends the training anyway."""
        if "reward" not in logs or state.global_step >= state.max_steps:
            return
        reasons = {
            "every group's rewards were constant": logs.get("frac_reward_zero_std") == 1.0,
            "every completion was cut at the length limit": logs.get("completions/clipped_ratio") == 1.0,
            f"more than {self.guard.max_unscored:.0%} of completions were unscored": logs.get("unscored", 0.0)
            > self.guard.max_unscored,
        }
        for reason, holds in reasons.items():
            self._consecutive[reason] = self._consecutive.get(reason, 0) + 1 if holds else 0
            if self._consecutive[reason] >= self.patience and self.stopped is None:
                self.stopped = f"at step {state.global_step}: {reason} for {self.patience} steps"
                control.should_training_stop = True
