"""Cross-Model Entropy (Gorbett and Shirazi, arXiv 2605.29009).

    r(x, y) = 1/T sum_t log q(y_t | x, y_<t)          nats a token

q is the verifier, a frozen model other than the policy; x is the prompt rendered in the verifier's own chat
template; y_1..T is the response in the verifier's own tokens. Higher: the verifier is less surprised.

Deviations and choices the paper leaves open: log-softmax in float32 (the paper's code: bfloat16); whether
the end-of-turn token is scored, the lengths to which prompt and response are cut, and what an empty response
gets are explicit. With the policy's untrained start as verifier this is the control `self_likelihood`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cme import chat

if TYPE_CHECKING:
    from trl import GRPOTrainer


class CrossModelEntropy:
    """The mean log-likelihood of each response under a verifier, in nats a token.

    Args:
        verifier: name of a checkpoint (a hub id, a folder, `package:...`, `miniature:...`).
        score_end_of_turn: score the verifier's end-of-turn token behind a response which the policy ended
            itself. Needs `bind(trainer)`, since text alone does not show how a response ended.
        max_prompt_tokens: longer prompts are cut from the left.
        max_response_tokens: longer responses are cut from the right.
        empty_response: reward of a response without a token to score; None leaves it unscored.
        dtype, device: of the verifier; by default on the GPU where there is one.

    Example:
        trainer = GRPOTrainer(model, reward_funcs=CrossModelEntropy("google/gemma-3-4b-it"), ...)
    """

    __name__ = "cme"
    needs_answers = False

    def __init__(
        self,
        verifier: str,
        *,
        score_end_of_turn: bool = False,
        max_prompt_tokens: int = 2048,
        max_response_tokens: int = 2048,
        empty_response: float | None = None,
        dtype: str = "float32",
        device: str | None = None,
    ) -> None:
        from cme.checkpoints import load
        from cme.scorer import Scorer

        self.empty_response = empty_response
        self.scorer = Scorer(
            load(verifier, dtype=dtype, device=device),
            score_end_of_turn=score_end_of_turn,
            max_prompt_tokens=max_prompt_tokens,
            max_response_tokens=max_response_tokens,
        )
        self._end: int | None = None

    def bind(self, trainer: "GRPOTrainer") -> None:
        """Learn from the trainer which token ends the policy's turn."""
        self._end = trainer.processing_class.eos_token_id

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Score B completions. Raises RuntimeError when the end of turn is to be scored and `bind` was not called."""
        if self.scorer.score_end_of_turn and self._end is None:
            raise RuntimeError("score_end_of_turn=true needs bind(trainer) before training")
        finished = chat.ended(completion_ids, self._end)
        scores = self.scorer.score(prompts, [chat.text_of(c) for c in completions], finished)
        if log_metric:
            log_metric("truncated", sum(s.truncated for s in scores) / len(scores))
        return [self.empty_response if s.tokens == 0 else s.mean for s in scores]
