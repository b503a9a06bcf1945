"""TRL's trainers leave out a completion that one of our rewards cannot score, also beside other reward functions.

TRL adds up the values of all reward functions and skips None. Beside a second reward, a completion without a
log-likelihood would thus get 0 nats, more than any other.
"""

from functools import cache
from typing import Any

import torch
from trl import GRPOTrainer, RLOOTrainer

from cme.rewards.base import Reward


@cache
def leave_out_unscored_rows() -> None:
    """Let TRL's trainers count a completion as unscored if a `Reward` whose weight is not 0 gives None for it."""
    for trainer in (GRPOTrainer, RLOOTrainer):
        _wrap(trainer)


def _wrap(trainer: Any) -> None:
    calculate = trainer._calculate_rewards  # noqa: SLF001 - TRL has no hook between the rewards and their sum

    def calculate_rewards(self: Any, *arguments: Any) -> torch.Tensor:
        values: torch.Tensor = calculate(self, *arguments)  # (B, functions), NaN for None
        counted = [
            i
            for i, (function, weight) in enumerate(zip(self.reward_funcs, self.reward_weights, strict=True))
            if isinstance(function, Reward) and weight
        ]
        values[values[:, counted].isnan().any(1)] = torch.nan  # TRL leaves out a row without any value
        return values

    trainer._calculate_rewards = calculate_rewards  # noqa: SLF001
