"""Reverse KL as a reward: on-policy distillation of the verifier into the policy, one response at a time.

    r(x, y) = 1/T_q sum_t log q(y_t | x, y_<t)  -  1/T_p sum_t log p(y_t | x, y_<t)          nats per token

q is the verifier, in its own chat template and tokens; the first term is Cross-Model Entropy and is computed by it.
p is the current policy at temperature 1, over the tokens that it sampled, its end-of-turn token included. Unlike
Cross-Model Entropy, this reward also pays the policy for being uncertain, so it has an optimum short of collapse.

If both models have the same tokens, T_p = T_q = T, and -T r is the single-sample estimate of KL(p || q) over responses.
(The sum over tokens is the estimator per token. The mean, as here, weights all responses alike whatever their length.)
If the tokens differ, the two means have different units: each is a rate per token of its own model. Then -r estimates
no divergence. Only the differences within a group carry meaning, and part of a difference is how many of its own tokens
the policy spends on a text. The estimator per token needs the verifier's values on the policy's tokens, which `cme`
with granularity=token computes.

Deviations: where the verifier truncates a prompt or response, only the first term is affected.
"""

import math
from typing import TYPE_CHECKING, Any

from cme.rewards.base import Reward, Texts, TokenIds
from cme.rewards.cross_model_entropy import CrossModelEntropy
from cme.rewards.settings import VerifierSettings, with_signature_of

if TYPE_CHECKING:
    from cme.scoring.policy import PolicyHolder


class ReverseKL(Reward):
    """Mean log-likelihood of each response under a verifier minus that under the policy, in nats per token.

    Args:
        verifier: name of one checkpoint.
        settings: fields of `VerifierSettings`.
    """

    __name__ = "reverse_kl"
    NEUTRAL = VerifierSettings.NEUTRAL
    NEUTRAL_VALUES = VerifierSettings.NEUTRAL_VALUES

    @with_signature_of(VerifierSettings)
    def __init__(self, verifier: str, **settings: Any) -> None:
        self.check(verifier=verifier, **settings)
        self._verifier = CrossModelEntropy(verifier, **settings)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Raise ValueError for settings that cannot be used, before a verifier loads."""
        checked = VerifierSettings(**settings)
        if not isinstance(checked.verifier, str):
            raise ValueError(f"verifier={checked.verifier}; reverse KL takes the name of one checkpoint")

    def bind(self, trainer: "PolicyHolder") -> None:
        """Receive the trainer that holds the policy."""
        super().bind(trainer)
        self._verifier.bind(trainer)

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Score B completions; None where the verifier or the policy cannot score one. Needs `bind`."""
        under_verifier = self._verifier(prompts, completions, completion_ids, **columns)
        under_policy = self.score_policy(prompts, completion_ids)
        # NaN for a completion without a token
        means = [float(p.log_likelihoods.mean()) for p in under_policy]
        return [
            q - p if q is not None and math.isfinite(p) else None
            for q, p in zip(under_verifier, means, strict=True)
        ]
