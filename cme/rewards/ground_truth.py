"""Ground truth, the positive control: the quality of a response, or 1 for the right answer and 0 for any other.

    r(x, y) = oracle(x, y) in [0, 1]      or      r(x, y) = 1[a(y) = a*]

This reward uses labels, so it does not compete with the label-free rewards. It shows how far the same training gets
when it optimises the true quality. In mathematics it is "vanilla" GRPO.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cme.grading.answers import AnswerKind, extract_answer, is_correct
from cme.models import chat
from cme.records import Oracle
from cme.rewards.base import Reward, Texts, TokenIds


@dataclass(eq=False, repr=False)
class GroundTruth(Reward):
    """The oracle's quality where the data have an oracle, else the agreement with the column `answer`.

    Args:
        oracle: the grade of (prompt, response, finished), whose quality is the reward; None to compare answers.
        answers: what part of a response is its answer, where answers are compared.

    Raises ValueError for data with neither an oracle nor answers.
    """

    __name__ = "ground_truth"
    needs_answers = True

    oracle: Oracle | None
    answers: AnswerKind

    def __post_init__(self) -> None:
        if self.oracle is None:
            extract_answer("", self.answers)

    def __call__(
        self,
        prompts: Texts,
        completions: Texts,
        completion_ids: TokenIds,
        answer: Sequence[str | None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Grade B completions; None where the data have no answer to compare with, or the comparison is undecided.

        A completion that makes the comparison exceed its time limit therefore neither gains nor loses. Raises
        RuntimeError before `bind` where there is an oracle, ValueError for data without the column `answer`.
        """
        texts = [chat.to_text(c) for c in completions]
        if self.oracle is not None:
            rows = zip(map(chat.to_text, prompts), texts, self.finished_flags(completion_ids), strict=True)
            return [self.oracle(prompt, text, finished).quality for prompt, text, finished in rows]
        if answer is None:
            raise ValueError("ground truth without an oracle needs a column `answer` in the data")
        graded = [is_correct(t, gold, self.answers) for t, gold in zip(texts, answer, strict=True)]
        return [None if correct is None else float(correct) for correct in graded]
