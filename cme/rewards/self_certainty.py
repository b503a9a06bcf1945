"""Self-certainty, Intuitor (Zhao et al., arXiv 2505.19590).

    r(x, y) = 1/T sum_t KL(U || p(. | x, y_<t)) = 1/T sum_t [logsumexp(z_t) - mean(z_t) - log V]     nats a token

p = softmax(z) is the live policy, untempered; U is uniform over its vocabulary; T counts the response's own tokens,
its end-of-turn token included. Higher: the policy is further from undecided. Unlike minus the entropy it has no
upper bound: it grows with every logit that sinks, however unlikely its token already was.

Code that follows the source leaves out the constant log V, which changes no advantage.

V counts the rows of the output embedding, as the source's code does: rows that only pad the vocabulary are part of
the softmax and of the mean. A model that masks tokens with -inf has no finite self-certainty: such a response is
unscored. Soft-capped and scaled logits are taken as the model gives them.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cme.models import chat
from cme.scoring.policy import PolicyScorer

if TYPE_CHECKING:
    from trl import GRPOTrainer


class SelfCertainty:
    """Mean KL divergence of the policy's next-token distributions from uniform, in nats a token."""

    __name__ = "self_certainty"
    needs_answers = False

    def __init__(self) -> None:
        self._policy = PolicyScorer("self-certainty")

    def bind(self, trainer: "GRPOTrainer") -> None:
        """Learn from the trainer which policy is being trained."""
        self._policy.bind(trainer)

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """Score B completions under the policy as it is now; None for one without a token or a finite value."""
        scored = self._policy.score(prompts, completion_ids, certainty=True)
        means = [float(s.certainties.mean()) for s in scored]  # of no token it is NaN
        return [mean if math.isfinite(mean) else None for mean in means]
