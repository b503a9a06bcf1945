"""Token entropy, RENT (Prabhudesai et al., arXiv 2505.22660).

    r(x, y) = -1/T sum_t H(p(. | x, y_<t))            nats a token

p is the live policy; T counts the response's own tokens, its end-of-turn token included. Mean-pooled, because
a sum rewards short responses for their length alone. The distribution is the untempered one.

Variants, off by default:
    chunks=K       the response is cut into K chunks of ceil(T / K) tokens, the first being what is left; only the
                   last chunk's tokens count. RENT finds the entropy of the last chunk nearest to correctness.
    no_answer=r    a response without an answer gets r, RENT's format option with r = -7

Deviation: how long a last chunk is, is ours to say; `conf/reward/token_entropy_last.yaml` takes a third, as a summary
of the paper has it (emergentmind.com/articles/2505.22660). RENT's own code (github.com/satrams/rent-rl) was not at
hand.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cme.grading.answers import AnswerKind, extract_answer
from cme.models import chat
from cme.scoring.policy import PolicyScorer

if TYPE_CHECKING:
    from trl import GRPOTrainer


class TokenEntropy:
    """Minus the policy's own mean token entropy over each response, in nats a token.

    Args:
        chunks: of how many equal chunks of a response the last one counts; 1 for the whole response.
        answers: what part of a response is its answer, for `no_answer`.
        no_answer: reward of a response without an answer; None for the same reward as any other.
    """

    __name__ = "token_entropy"
    needs_answers = False

    def __init__(self, chunks: int = 1, answers: AnswerKind = "none", no_answer: float | None = None) -> None:
        self.check(chunks, answers, no_answer)
        self.chunks, self.answers, self.no_answer = chunks, answers, no_answer
        self._policy = PolicyScorer("token entropy")

    @staticmethod
    def check(chunks: int = 1, answers: AnswerKind = "none", no_answer: float | None = None) -> None:
        """Raise ValueError, before anything loads, for settings that exclude each other."""
        if chunks < 1:
            raise ValueError(f"chunks={chunks}; it must be at least 1")
        if no_answer is not None and answers == "none":
            raise ValueError(
                f"no_answer={no_answer} with answers=none; use data whose responses have an answer"
            )

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
        """Score B completions under the policy as it is now; None for one without a token."""
        scored = self._policy.score(prompts, completion_ids, entropy=True)
        values: list[float | None] = []
        for completion, score in zip(completions, scored, strict=True):
            tokens = -(-len(score.entropies) // self.chunks)  # rounded up
            if self.no_answer is not None and extract_answer(chat.to_text(completion), self.answers) is None:
                values.append(self.no_answer)
            else:
                values.append(-float(score.entropies[-tokens:].mean()) if tokens else None)
        return values
