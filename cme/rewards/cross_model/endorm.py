"""The endogenous reward, EndoRM (Li et al., arXiv 2506.23235), of the verifier.

    r_t = log q(y_t | x, y_<t) + V(s_t) - V(s_t+1),    V(s_t) = logsumexp(z_t),    V(s_T+1) = 0
    r(x, y) = sum_t r_t = log q(y | x) + V(s_1)                                       nats

z_t are the logits from which the verifier q predicts token t, so r_t = z_t[y_t] - V(s_t+1). The source reads logits as
the soft Q-function of the text that a model was trained on, and r_t as the reward that this Q-function implies.
V(s_T+1) is 0, since the source's episodes end with the response.

The sum telescopes, and V(s_1) depends on the prompt alone. So the advantages of r(x, y) are those of the total
log-likelihood, while Cross-Model Entropy is its mean per token: EndoRM also pays for being short. V matters with
granularity=token, where the last token gets all of V(s_T).

The source's weight a (r_t = a log q(y_t) + V(s_t) - V(s_t+1) with V = a logsumexp(z / a) and q = softmax(z / a)) is 1
here, at which language models are trained. If q is to be the verifier's own distribution, another a multiplies z and
r_t, which changes no advantage.

Deviations: the source's policy and reward model begin as the same model, trained by PPO; here q is the verifier of
Cross-Model Entropy, in its own chat template and tokens, and the policy trains by GRPO. A response that the policy did
not end ends its episode too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cme.rewards.base import Granularity, Normalize, Texts
from cme.rewards.cross_model.cross_model_entropy import CrossModelEntropy
from cme.rewards.cross_model.settings import VerifierSettings, with_signature_of
from cme.scoring.alignment import Alignment

if TYPE_CHECKING:
    import torch

    from cme.scoring.verifier import Score, Verifier


@dataclass(frozen=True, kw_only=True)
class EndogenousSettings(VerifierSettings):
    """Settings of the endogenous reward; `granularity`, `alignment` and `normalize` are those of Cross-Model Entropy.

    Raises ValueError as `VerifierSettings` does.
    """

    granularity: Granularity = "sequence"
    alignment: Alignment = "mean"
    normalize: Normalize = "position"


class EndogenousReward(CrossModelEntropy):
    """The verifier's endogenous reward of each response, in nats; several verifiers' rewards are averaged.

    Args:
        verifier: name of a checkpoint, or several names.
        settings: fields of `EndogenousSettings`.
    """

    __name__ = "endorm"

    @with_signature_of(EndogenousSettings)
    def __init__(self, verifier: str | Sequence[str], **settings: Any) -> None:
        EndogenousSettings(verifier, **settings)
        super().__init__(verifier, **settings)

    def _token_values(
        self, verifier: "Verifier", prompts: Texts, texts: Sequence[str], ended: Sequence[bool]
    ) -> "list[tuple[Score, torch.Tensor]]":
        rewards = []
        for score in verifier.score(prompts, texts, ended):
            following = score.normalizers.roll(-1)
            following[-1:] = 0.0
            rewards.append((score, score.log_likelihoods + score.normalizers - following))
        return rewards

    def _pool(self, text: str, score: "Score", values: "torch.Tensor") -> float:
        if score.reason is not None or not values.isfinite().all():
            return float("nan")
        return float(values.double().sum())
