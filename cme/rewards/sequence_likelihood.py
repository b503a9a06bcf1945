"""The current policy's own likelihood of a whole response: it is paid for being sure of what it wrote.

    r(x, y) = sum_t log p(y_t | x, y_<t) = log p(y | x)                nats, EM-RL-sequence (arXiv 2505.15134)
    r(x, y) = p(y | x)                                                 RLSC (arXiv 2506.06395), with value=probability

p is the current policy at temperature 1, over the tokens that it sampled, its end-of-turn token included. The first
reward is the single-sample estimate of minus the entropy of the policy's responses (Agarwal et al.). The expectation
of the second is RLSC's self-confidence, the probability that two sampled responses are equal (Li et al.). Both fall
with every token, so they pay for being short. The probability of a long response is 0 but for rounding, and a group of
them has no differences to learn from.

`self_likelihood` is the mean per token under the untrained policy. `token_entropy` is EM-RL's other reward.

Deviations: EM-RL subtracts a constant baseline and adds a KL penalty; RLSC follows the gradient of
p_old(y | x) log p(y | x) without a baseline. Here both rewards train by GRPO. RLSC's smoothing, a constant that is
added to p_old, is left out: it changes no advantage.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from cme.rewards.base import PlainReward, Texts, TokenIds


@dataclass(eq=False, repr=False)
class SequenceLikelihood(PlainReward):
    """The log-probability, in nats, or the probability of each whole response under the policy."""

    __name__ = "sequence_likelihood"

    value: Literal["log_probability", "probability"] = "log_probability"

    def __post_init__(self) -> None:
        if self.value not in ("log_probability", "probability"):
            raise ValueError(f"value={self.value}; it must be one of log_probability, probability")

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Score B completions under the current policy; None for one without a token or a finite value."""
        totals = [
            float(score.log_likelihoods.double().sum()) if len(score.log_likelihoods) else math.nan
            for score in self.score_policy(prompts, completion_ids)
        ]
        by_log = self.value == "log_probability"
        return [(total if by_log else math.exp(total)) if math.isfinite(total) else None for total in totals]
