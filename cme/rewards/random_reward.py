"""Random reward, a control: r ~ Bernoulli(1/2), whatever the response (Shao et al., arXiv 2506.10947).

What it moves is what the training procedure moves by itself.
"""

import random
from collections.abc import Sequence
from typing import Any

from cme.models import chat


class RandomReward:
    """0 or 1 by a fair coin from a generator of its own, seeded by `seed`."""

    __name__ = "random"
    needs_answers = False
    whole_batch = True

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"random reward:{seed}")

    def state_dict(self) -> dict[str, Any]:
        """The generator's state, for a training that is resumed."""
        return {"rng": self._rng.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the coins where they were."""
        self._rng.setstate(state["rng"])

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """A coin for each of B completions."""
        return [float(self._rng.random() < 0.5) for _ in completions]
