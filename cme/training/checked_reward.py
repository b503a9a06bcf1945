"""The trained reward as TRL calls it, with every value checked."""

import math
from collections.abc import Callable
from typing import Any

from cme import TrainingFailed
from cme.rewards.base import Reward
from cme.runtime import distributed


class CheckedReward:
    """A reward whose values are checked on every call: each is finite or None. Logs the share of None as `unscored`.

    Completions that the reward left out on purpose (`Reward.left_out`) do not count as unscored. A reward with
    `whole_batch` is called with the completions of all processes; this process keeps its part of the values.
    """

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.__name__ = reward.__name__
        self.values: list[float | None] = []

    def __call__(self, log_metric: Callable[[str, float], None], **columns: Any) -> list[float | None]:
        """Score this process's completions; raise TrainingFailed, in all processes, for a value that is not finite."""
        if self.reward.whole_batch:
            columns = {
                k: distributed.gather_rows(v) if isinstance(v, list) else v for k, v in columns.items()
            }
            values = self.reward(log_metric=log_metric, **columns)
            own = list(distributed.local_rows(values))
        else:
            own = self.reward(log_metric=log_metric, **columns)
            values = distributed.gather_rows(own)
        broken = [v for v in values if v is not None and not math.isfinite(v)]
        if broken:  # in any process, so that all processes end here
            raise TrainingFailed(
                f"reward {self.__name__!r} gave {broken[0]} for {len(broken)} of {len(values)} completions"
            )
        left_out = self.reward.left_out
        log_metric("unscored", (values.count(None) - left_out) / (len(values) - left_out))
        self.values = own
        return own
