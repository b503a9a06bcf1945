"""On-policy reverse KL as a reward: the distillation of the verifier into the policy, a response at a time.

    r(x, y) = 1/T_q sum_t log q(y_t | x, y_<t)  -  1/T_p sum_t log p(y_t | x, y_<t)          nats a token

q is the verifier, in its own template and tokens: the first term is Cross-Model Entropy and is computed by it. p is
the live policy, untempered, over the tokens that it sampled, its end-of-turn token included. Beside Cross-Model
Entropy it pays the policy for being unsure, so it has an optimum short of collapse.

Where both have the same tokens, T_p = T_q = T and -T r is the single-sample estimate of KL(p || q) over responses
(its sum over tokens is the token-wise estimator; the mean, as here, makes every response count alike whatever its
length). Where they do not, the two means are over different units: each is a rate per its own token, and the
verifier's is low or high for cutting the same text into few or many tokens. Then -r estimates no divergence between
the two, only what differs between responses of a group carries meaning, and part of that is how many of its own
tokens the policy spends on a text. The token-wise estimator needs the verifier's values on the policy's tokens, which
is what `cme` with granularity=token computes.

Deviations: a verifier that cuts prompt or response to its limits does so in the first term alone.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from cme.models import chat
from cme.rewards.cross_model_entropy import CrossModelEntropy
from cme.scoring.policy import PolicyScorer

if TYPE_CHECKING:
    from trl import GRPOTrainer


class ReverseKL:
    """Mean log-likelihood of each response under a verifier minus that under the policy, in nats a token.

    Args:
        verifier, score_end_of_turn, max_prompt_tokens, max_response_tokens, dtype, device, quantization,
            batch_tokens: as in `CrossModelEntropy`.
    """

    __name__ = "reverse_kl"
    needs_answers = False

    def __init__(
        self,
        verifier: str,
        *,
        score_end_of_turn: bool = False,
        max_prompt_tokens: int = 2048,
        max_response_tokens: int = 2048,
        dtype: str = "float32",
        device: str | None = None,
        quantization: Literal["8bit"] | None = None,
        batch_tokens: int = 4096,
    ) -> None:
        self._verifier = CrossModelEntropy(
            verifier,
            score_end_of_turn=score_end_of_turn,
            max_prompt_tokens=max_prompt_tokens,
            max_response_tokens=max_response_tokens,
            dtype=dtype,
            device=device,
            quantization=quantization,
            batch_tokens=batch_tokens,
        )
        self._policy = PolicyScorer("reverse KL")

    @staticmethod
    def check(**settings: Any) -> None:
        """Raise ValueError, before anything loads, for settings that `CrossModelEntropy` would not take."""
        CrossModelEntropy.check(**settings)

    def bind(self, trainer: "GRPOTrainer") -> None:
        """Learn from the trainer which policy is being trained and which token ends its turn."""
        self._verifier.bind(trainer)
        self._policy.bind(trainer)

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """Score B completions under the verifier and the policy as it is now; None where either cannot."""
        theirs = self._verifier(prompts, completions, completion_ids, **columns)
        ours = self._policy.score(prompts, completion_ids)
        return [
            None
            if q is None or p.reason or not len(p.log_likelihoods)
            else q - float(p.log_likelihoods.mean())
            for q, p in zip(theirs, ours, strict=True)
        ]
