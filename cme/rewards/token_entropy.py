"""Token entropy, RENT (Prabhudesai et al., arXiv 2505.22660).

    r(x, y) = -1/T sum_t H(p(. | x, y_<t))            nats per token

p is the current policy at temperature 1. T counts the response's own tokens, its end-of-turn token included. The mean
is taken because a sum would reward short responses for their length alone.

Variants, off by default:

    chunks=K       the response is cut into K chunks of ceil(T / K) tokens, of which the first may be shorter; only the
                   last chunk counts. RENT finds that the entropy of the last chunk is closest to correctness.
    no_answer=r    a response without an answer gets r; this is RENT's format option with r = -7

Deviation: the source does not say how long the last chunk is. `conf/reward/token_entropy_last.yaml` takes a third, as a
summary of the paper has it (emergentmind.com/articles/2505.22660). RENT's own code (github.com/satrams/rent-rl) was not
available.
"""

import math
from dataclasses import dataclass
from typing import Any

from cme.grading.answers import AnswerKind, extract_answer
from cme.models import chat
from cme.rewards.base import PlainReward, Texts, TokenIds


@dataclass(eq=False, repr=False)
class TokenEntropy(PlainReward):
    """Minus the policy's mean token entropy over each response, in nats per token.

    Args:
        chunks: into how many equal chunks a response is cut, of which the last counts; 1 for the whole response.
        answers: what part of a response is its answer, for `no_answer`.
        no_answer: reward of a response without an answer, if the data have answers; None to reward it like any other.
    """

    __name__ = "token_entropy"

    chunks: int = 1
    answers: AnswerKind = "none"
    no_answer: float | None = None

    def __post_init__(self) -> None:
        if self.chunks < 1:
            raise ValueError(f"chunks={self.chunks}; it must be at least 1")
        if self.no_answer is not None and self.answers == "none":
            raise ValueError(
                f"no_answer={self.no_answer} with answers=none; use data whose responses have an answer"
            )

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Score B completions under the current policy; None for one without a token or beyond the model's context."""
        scores = self.score_policy(prompts, completion_ids, entropy=True)
        values: list[float | None] = []
        for completion, score in zip(completions, scores, strict=True):
            tokens = -(-len(score.entropies) // self.chunks)  # rounded up
            if self.no_answer is not None and extract_answer(chat.to_text(completion), self.answers) is None:
                values.append(self.no_answer)
            else:
                mean = -float(score.entropies[-tokens:].mean()) if tokens else math.nan
                values.append(mean if math.isfinite(mean) else None)
        return values
