"""Format alone, a control: 1 for a well-formed response, 0 for any other, whatever it says.

    r(y) = 1[the policy ended y itself, and y has an answer]

An answer is what the data say it is: a box with something in it, or, for whole responses and open-ended data, a word.
Shao et al. (arXiv 2506.10947) reward a box alone, and find that some models get better at mathematics by that; whatever
another reward gains and this one gains too may be manners.

Deviation: the source asks for no end of turn.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cme.grading.answers import AnswerKind, extract_answer
from cme.models import chat

if TYPE_CHECKING:
    from trl import GRPOTrainer


class FormatReward:
    """1 for a response that ended by itself and has an answer, else 0.

    Args:
        answers: what part of a response is its answer; with `none` any word will do.
    """

    __name__ = "format"
    needs_answers = False

    def __init__(self, answers: AnswerKind) -> None:
        self.answers: AnswerKind = "whole" if answers == "none" else answers
        self._end: int | None = None

    def bind(self, trainer: "GRPOTrainer") -> None:
        """Learn from the trainer which token ends the policy's turn."""
        self._end = trainer.processing_class.eos_token_id

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """Look at B completions. Raises RuntimeError before `bind`."""
        if self._end is None:
            raise RuntimeError("format needs bind(trainer) before training")
        ended = chat.finished_flags(completion_ids, self._end)
        answered = [extract_answer(chat.to_text(c), self.answers) is not None for c in completions]
        return [float(e and a) for e, a in zip(ended, answered, strict=True)]
