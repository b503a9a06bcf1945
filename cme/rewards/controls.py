"""Controls that do not read the content of a response: its length, its form, or nothing at all.

A gain that another reward shares with one of these may be a gain in length or form only, or come from the training
procedure itself.
"""

import random
from dataclasses import dataclass
from typing import Any

from cme.grading.answers import AnswerKind, extract_answer
from cme.models import chat
from cme.rewards.base import PlainReward, Reward, Texts, TokenIds


@dataclass(eq=False, repr=False)
class Length(PlainReward):
    """Minus the relative distance of a response's length from a target, plus 1.

        r(y) = 1 - |T / target - 1|

    T counts the policy's own tokens, its end-of-turn token included. This is the length-only reward of Singhal et al.
    (arXiv 2310.03716), who found that it reproduces much of what a learned reward model gains. A target at the length
    limit rewards longer responses, a target of 1 shorter ones.

    Deviation: the source's target is 156 tokens; here it is an argument.

    Args:
        target: length in tokens. Raises ValueError below 1.
    """

    __name__ = "length"

    target: int

    def __post_init__(self) -> None:
        if self.target < 1:
            raise ValueError(f"target={self.target}; it must be at least 1 token")

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Measure B completions."""
        return [1 - abs(len(ids) / self.target - 1) for ids in completion_ids]


class FormatReward(Reward):
    """1 for a response that the policy ended itself and that has an answer, else 0.

        r(y) = 1[the policy ended y itself, and y has an answer]

    What counts as an answer depends on the data: a box that is not empty, a number, or, for whole responses and
    open-ended data, any word. Shao et al. (arXiv 2506.10947) reward a box alone and find that some models get better at
    mathematics by that.

    Deviation: the source does not require that the response ended.

    Args:
        answers: what part of a response is its answer; with `none` any word counts.
    """

    __name__ = "format"

    def __init__(self, answers: AnswerKind) -> None:
        self.answers: AnswerKind = "whole" if answers == "none" else answers

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Grade B completions. Raises RuntimeError before `bind`."""
        answered = [extract_answer(chat.to_text(c), self.answers) is not None for c in completions]
        finished = self.finished_flags(completion_ids)
        return [float(f and a) for f, a in zip(finished, answered, strict=True)]


class RandomReward(Reward):
    """0 or 1 with equal probability, whatever the response (Shao et al., arXiv 2506.10947): the negative control.

    Args:
        seed: seed of the generator, which only this reward uses.
    """

    __name__ = "random"
    whole_batch = True

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"random reward:{seed}")

    def state_dict(self) -> dict[str, Any]:
        """The generator's state."""
        return {"rng": self._rng.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the generator's state."""
        self._rng.setstate(state["rng"])

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Draw a reward for each of B completions."""
        return [float(self._rng.random() < 0.5) for _ in completions]
