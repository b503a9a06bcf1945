"""Token entropy, RENT (Prabhudesai et al., arXiv 2505.22660).

    r(x, y) = -1/T sum_t H(p(. | x, y_<t))            nats a token

p is the live policy; T counts the response's own tokens, its end-of-turn token included. Mean-pooled, because
a sum rewards short responses for their length alone. The distribution is the untempered one.

Deviation: RENT's format option (-7 without an answer) is left out.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cme import chat

if TYPE_CHECKING:
    from trl import GRPOTrainer

    from cme.token_scorer import TokenScorer


class TokenEntropy:
    """Minus the policy's own mean token entropy over each response, in nats a token."""

    __name__ = "token_entropy"
    needs_answers = False

    def __init__(self) -> None:
        self._trainer: GRPOTrainer | None = None
        self._scorer: TokenScorer | None = None

    def bind(self, trainer: "GRPOTrainer") -> None:
        """Learn from the trainer which policy is being trained."""
        self._trainer, self._scorer = trainer, None

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """Score B completions under the policy as it is now; None for one without a token."""
        from cme.token_scorer import TokenScorer

        if self._trainer is None:
            raise RuntimeError("token entropy needs bind(trainer) before training")
        tokenizer = self._trainer.processing_class
        heads = [chat.prompt_ids(tokenizer, p) for p in prompts]
        if self._scorer is None:  # on the first call: at bind time the model is not wrapped yet
            self._scorer = TokenScorer(self._trainer.accelerator.unwrap_model(self._trainer.model))
        scored = self._scorer.score(heads, completion_ids, entropy=True)
        return [-float(s.entropies.mean()) if len(s.entropies) else None for s in scored]
