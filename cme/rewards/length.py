"""Length alone, a control: the nearer a response's length to a target, the better, whatever it says.

    r(y) = 1 - |T / target - 1|

T counts the policy's own tokens, its end-of-turn token included. It is the length-only reward of Singhal et al.
(arXiv 2310.03716), who found that it reproduces much of what a learned reward model gains. A target at the length limit
rewards the longer response, a target of 1 the shorter. What another reward gains and this one too may be length.

Deviation: the source's target is 156 tokens; here it is an argument.
"""

from collections.abc import Sequence
from typing import Any

from cme.models import chat


class Length:
    """1 for a response of `target` tokens, less by the relative distance from it."""

    __name__ = "length"
    needs_answers = False

    def __init__(self, target: int) -> None:
        self.check(target)
        self.target = target

    @staticmethod
    def check(target: int) -> None:
        """Raise ValueError for a target that no response can have."""
        if target < 1:
            raise ValueError(f"target={target}; it must be at least 1 token")

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """Measure B completions."""
        return [1 - abs(len(ids) / self.target - 1) for ids in completion_ids]
