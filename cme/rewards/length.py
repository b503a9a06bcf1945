"""Length, a control: the closer a response's length is to a target, the higher the reward, whatever its content.

    r(y) = 1 - |T / target - 1|

T counts the policy's own tokens, its end-of-turn token included. This is the length-only reward of Singhal et al.
(arXiv 2310.03716), who found that it reproduces much of what a learned reward model gains. A target at the length limit
rewards longer responses, a target of 1 shorter ones. A gain that another reward shares with this one may be a gain in
length only.

Deviation: the source's target is 156 tokens; here it is an argument.
"""

from typing import Any

from cme.rewards.base import Reward, Texts, TokenIds


class Length(Reward):
    """1 for a response of `target` tokens, minus the relative distance from the target.

    Args:
        target: length in tokens. Raises ValueError below 1.
    """

    __name__ = "length"

    def __init__(self, target: int) -> None:
        if target < 1:
            raise ValueError(f"target={target}; it must be at least 1 token")
        self.target = target

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Raise ValueError for a target below 1."""
        cls(**settings)

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Measure B completions."""
        return [1 - abs(len(ids) / self.target - 1) for ids in completion_ids]
