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

Variants, off by default:

    power=a        (q_t^a - 1) / a and (p_t^a - 1) / a in place of log q_t and log p_t: r lies in [-1/a, 1/a], and one
                   token of probability near 0 no longer outweighs the others. PowerOPD (Zhao et al., arXiv 2606.17199;
                   github.com/EIT-NLP/PowerOPD) rewards a token with q_t^a - p_t^a and sets a = 5; the log-ratio is the
                   limit a -> 0. The factor 1/a changes no advantage.
    mask_special   special tokens, such as the end of turn, count in neither mean. They differ between tokenizers, and a
                   difference in names is none in meaning (Fu et al., arXiv 2603.25562).

Deviations: where the verifier truncates a prompt or response, only the first term is affected. Both sources reward each
token of a policy that has the verifier's tokens; here each term is a mean over its own model's tokens. The main method
of Fu et al. compares the k most likely tokens of the verifier, which is another loss and no reward.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cme.models import chat
from cme.rewards.base import Texts, TokenIds
from cme.rewards.cross_model.cross_model_entropy import CrossModelEntropy
from cme.rewards.cross_model.settings import VerifierReward, VerifierSettings, with_signature_of

if TYPE_CHECKING:
    import torch

    from cme.scoring.verifier import Score, Verifier


@dataclass(frozen=True, kw_only=True)
class ReverseKLSettings(VerifierSettings):
    """Settings of the verifier, which is one, and of the variants.

    Args:
        power: exponent of the probabilities; 0 for their logarithms.
        mask_special: whether special tokens count in neither mean; then the end of turn must not be scored.
    """

    power: float = 0.0
    mask_special: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.verifier, str):
            raise ValueError(f"verifier={self.verifier}; reverse KL takes the name of one checkpoint")
        if self.power < 0:
            raise ValueError(f"power={self.power}; it must be at least 0")
        if self.mask_special and self.score_end_of_turn:
            raise ValueError(
                "mask_special=true with score_end_of_turn=true; the end of turn is a special token, so use "
                "score_end_of_turn=false"
            )


class ReverseKL(VerifierReward):
    """Mean log-likelihood of each response under a verifier minus that under the policy, in nats per token.

    Args:
        verifier: name of one checkpoint.
        settings: fields of `ReverseKLSettings`.
    """

    __name__ = "reverse_kl"
    SETTINGS = ReverseKLSettings
    NEUTRAL_VALUES = VerifierSettings.NEUTRAL_VALUES | {"power": 0.0, "mask_special": False}

    @with_signature_of(ReverseKLSettings)
    def __init__(
        self, verifier: str, *, power: float = 0.0, mask_special: bool = False, **settings: Any
    ) -> None:
        ReverseKLSettings(verifier, power=power, mask_special=mask_special, **settings)
        self.power, self.mask_special = power, mask_special
        self.parts = {"cme": _PoweredEntropy(power, verifier, **settings)}

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Score B completions; None where the verifier or the policy cannot score one. Needs `bind`."""
        under_verifier = self.parts["cme"](prompts, completions, completion_ids, **columns)
        under_policy = self.score_policy(prompts, completion_ids)
        masked: set[int] = set()
        if self.mask_special:
            masked = chat.special_ids(self.policy_tokenizer) | set(self._bound_policy().end_ids)
        rewards: list[float | None] = []
        for q, p, ids in zip(under_verifier, under_policy, completion_ids, strict=True):
            values = p.log_likelihoods[[i for i, token in enumerate(ids) if token not in masked]]
            mean = float(box_cox(values, self.power).mean())  # NaN for a completion without a token
            rewards.append(q - mean if q is not None and math.isfinite(mean) else None)
        return rewards


class _PoweredEntropy(CrossModelEntropy):
    """Cross-Model Entropy of powers of the verifier's probabilities."""

    def __init__(self, power: float, verifier: str, **settings: Any) -> None:
        super().__init__(verifier, **settings)
        self.power = power

    def _token_values(
        self, verifier: "Verifier", prompts: Texts, texts: Sequence[str], ended: Sequence[bool]
    ) -> "list[tuple[Score, torch.Tensor]]":
        values = super()._token_values(verifier, prompts, texts, ended)
        return [(score, box_cox(log_likelihoods, self.power)) for score, log_likelihoods in values]


def box_cox(log_probabilities: "torch.Tensor", power: float) -> "torch.Tensor":
    """The Box-Cox transform (p^power - 1) / power of probabilities p, given log p, which is the limit for power 0."""
    return (power * log_probabilities).expm1() / power if power else log_probabilities
