"""Rewards for tests."""

from collections.abc import Callable
from typing import Any

from cme.rewards import Reward


class FunctionReward(Reward):
    """A plain function, asynchronous or not, as a reward."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.__name__ = function, function.__name__

    def __call__(self, *arguments: Any, **columns: Any) -> list[float | None]:
        values: list[float | None] = self.function(*arguments, **columns)
        return values
