"""Random reward, the negative control: r ~ Bernoulli(1/2), whatever the response (Shao et al., arXiv 2506.10947).

It shows what the training procedure changes by itself.
"""

import random
from typing import Any

from cme.rewards.base import Reward, Texts, TokenIds


class RandomReward(Reward):
    """0 or 1 with equal probability, from a generator that only this reward uses.

    Args:
        seed: seed of the generator.
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
