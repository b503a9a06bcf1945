"""Ground truth, the ceiling: the oracle's quality of a response, or 1 for the right answer and 0 for another.

    r(x, y) = oracle(x, y) in [0, 1]      or      r(x, y) = 1[a(y) = a*]

It uses labels and so is no competitor of the label-free rewards; it shows how far the same training gets when
the reward is the thing itself. In mathematics this is "vanilla" GRPO.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cme.grading.answers import AnswerKind, extract_answer, is_correct
from cme.models import chat

if TYPE_CHECKING:
    from trl import GRPOTrainer


class GroundTruth:
    """The oracle's quality where the data have an oracle, else the match with the column `answer`.

    Args:
        oracle: quality in [0, 1] of (prompt, response, finished); None to compare answers.
        answers: what part of a response is its answer, where answers are compared.
    """

    __name__ = "ground_truth"
    needs_answers = True

    def __init__(self, oracle: Callable[[str, str, bool], float] | None, answers: AnswerKind) -> None:
        if oracle is None:
            extract_answer("probe", answers)
        self.oracle = oracle
        self.answers = answers
        self._end: int | None = None

    def bind(self, trainer: "GRPOTrainer") -> None:
        """Learn from the trainer which token ends the policy's turn."""
        self._end = trainer.processing_class.eos_token_id

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        answer: Sequence[str | None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Grade B completions; None where the data name no answer to compare with, or the comparison is undecided.

        So a completion that brings the comparison to a halt gains nothing by it, and loses nothing.
        """
        texts = [chat.to_text(c) for c in completions]
        if self.oracle is not None:
            finished = chat.finished_flags(completion_ids, self._end)
            asked = [chat.to_text(p) for p in prompts]
            return [self.oracle(p, t, f) for p, t, f in zip(asked, texts, finished, strict=True)]
        if answer is None:
            raise ValueError("ground truth without an oracle needs a column `answer` in the data")
        graded = [is_correct(t, gold, self.answers) for t, gold in zip(texts, answer, strict=True)]
        return [None if right is None else float(right) for right in graded]
