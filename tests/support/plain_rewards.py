"""Rewards for tests."""

from collections.abc import Callable
from typing import Any

from cme.rewards import Reward


class FunctionReward(Reward):
    """A plain function as a reward."""

    def __init__(self, function: Callable[..., list[float | None]]) -> None:
        self.function, self.__name__ = function, function.__name__

    def __call__(self, *arguments: Any, **columns: Any) -> list[float | None]:
        return self.function(*arguments, **columns)


def as_reward(reward: Reward | Callable[..., list[float | None]]) -> Reward:
    """The reward itself, or the plain function as one."""
    return reward if isinstance(reward, Reward) else FunctionReward(reward)
