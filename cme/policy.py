"""The policy that is being trained, as a scorer of the tokens that it sampled."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cme import chat

if TYPE_CHECKING:
    from trl import GRPOTrainer

    from cme.token_scorer import TokenScorer, TokenScores


class LivePolicy:
    """Scores completions under the policy as it is at each call; untempered, in its own tokens.

    Args:
        reward: what needs it, for the error of a call before `bind`.
    """

    def __init__(self, reward: str) -> None:
        self._reward = reward
        self._trainer: GRPOTrainer | None = None
        self._scorer: TokenScorer | None = None

    def bind(self, trainer: "GRPOTrainer") -> None:
        """Learn from the trainer which policy is being trained."""
        self._trainer, self._scorer = trainer, None

    def score(
        self,
        prompts: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        *,
        entropy: bool = False,
        certainty: bool = False,
    ) -> "list[TokenScores]":
        """Scores of B completions' tokens, the end of turn included. Raises RuntimeError before `bind`."""
        from cme.token_scorer import TokenScorer

        if self._trainer is None:
            raise RuntimeError(f"{self._reward} needs bind(trainer) before training")
        tokenizer = self._trainer.processing_class
        heads = [chat.prompt_ids(tokenizer, p) for p in prompts]
        if self._scorer is None:  # on the first call: at bind time the model is not wrapped yet
            self._scorer = TokenScorer(self._trainer.accelerator.unwrap_model(self._trainer.model))
        return self._scorer.score(heads, completion_ids, entropy=entropy, certainty=certainty)
