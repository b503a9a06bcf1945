"""Rewards as TRL calls them: in training with every value checked, and without any training."""

import math
from collections.abc import Sequence
from typing import Any

from cme import TrainingFailed
from cme.records import Prompt
from cme.rewards.base import LogMetric, Reward, TokenIds
from cme.runtime import distributed
from cme.scoring.policy import UntrainedPolicy


class CheckedReward:
    """A reward whose values are checked on every call: each is finite or None. Logs the share of None as `unscored`.

    Completions that the reward left out on purpose (`Reward.left_out`) do not count as unscored. A reward with
    `whole_batch` is called with the completions of all processes; this process keeps its part of the values.
    """

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.__name__ = reward.__name__
        self.values: Sequence[float | None] = []

    def __call__(self, log_metric: LogMetric, **columns: Any) -> list[float | None]:
        """Score this process's completions; raise TrainingFailed, in all processes, for a value that is not finite."""
        if self.reward.whole_batch:
            rows = {k: distributed.gather_rows(v) if isinstance(v, list) else v for k, v in columns.items()}
            values = self.reward.values(log_metric=log_metric, **rows)
            rows_here, index = len(values) // distributed.process_count(), distributed.process_index()
            self.values = values[index * rows_here : (index + 1) * rows_here]
        else:
            self.values = self.reward.values(log_metric=log_metric, **columns)
            values = distributed.gather_rows(self.values)
        check_finite(self.reward, values, "completions")  # of all processes, so that they all end here
        left_out = self.reward.left_out
        log_metric("unscored", (values.count(None) - left_out) / (len(values) - left_out))
        return list(self.values)


def score_untrained(
    reward: Reward, policy: UntrainedPolicy, prompts: Sequence[Prompt], texts: Sequence[str], ids: TokenIds
) -> list[float | None]:
    """The values of B responses to B prompts. The reward is called as TRL calls it, without any training."""
    with reward.named_in_errors():
        reward.bind(policy)
    return reward.values(
        [prompt.conversation for prompt in prompts],
        [[{"role": "assistant", "content": text}] for text in texts],
        ids,
        answer=[prompt.answer for prompt in prompts],
        reference=[prompt.reference for prompt in prompts],
        prompt_text=[prompt.text for prompt in prompts],
        log_metric=lambda name, value: None,
    )


def check_finite(reward: Reward, values: Sequence[float | None], kind: str) -> None:
    """Raise TrainingFailed, which counts the values as `kind`, if a reward gave a value that is not finite."""
    broken = [v for v in values if v is not None and not math.isfinite(v)]
    if broken:
        raise TrainingFailed(
            f"reward {reward.__name__!r} gave {broken[0]} for {len(broken)} of {len(values)} {kind}"
        )
