"""Self-certainty, Intuitor (Zhao et al., arXiv 2505.19590).

    r(x, y) = 1/T sum_t KL(U || p(. | x, y_<t)) = 1/T sum_t [logsumexp(z_t) - mean(z_t) - log V]     nats per token

p = softmax(z) is the current policy at temperature 1. U is uniform over its vocabulary of V tokens. T counts the
response's own tokens, its end-of-turn token included. Unlike minus the entropy it has no upper bound: it grows with
every logit that falls, however unlikely its token already was.

Code that follows the source omits the constant log V, which changes no advantage.

V counts the rows of the output embedding, as in the source's code, so rows that only pad the vocabulary belong to the
softmax and to the mean. A model that masks tokens with -inf has no finite self-certainty; its responses are unscored.
Soft-capped and scaled logits are used as the model returns them.
"""

import math
from typing import Any

from cme.rewards.base import Reward, Texts, TokenIds


class SelfCertainty(Reward):
    """Mean KL divergence of the uniform distribution from the policy's next-token distributions, in nats per token."""

    __name__ = "self_certainty"

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Score B completions under the current policy; None for one without a token or a finite value."""
        scores = self.score_policy(prompts, completion_ids, certainty=True)
        means = [float(s.certainties.mean()) for s in scores]  # NaN for a completion without a token
        return [mean if math.isfinite(mean) else None for mean in means]
