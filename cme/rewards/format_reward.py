"""Format, a control: 1 for a well-formed response, 0 for any other, whatever its content.

    r(y) = 1[the policy ended y itself, and y has an answer]

What counts as an answer depends on the data: a box that is not empty, a number, or, for whole responses and open-ended
data, any word. Shao et al. (arXiv 2506.10947) reward a box alone and find that some models get better at mathematics by
that. A gain that another reward shares with this one may be a gain in form only.

Deviation: the source does not require that the response ended.
"""

from typing import TYPE_CHECKING, Any

from cme.grading.answers import AnswerKind, extract_answer
from cme.models import chat
from cme.rewards.base import Reward, Texts, TokenIds

if TYPE_CHECKING:
    from cme.scoring.policy import PolicyHolder


class FormatReward(Reward):
    """1 for a response that the policy ended itself and that has an answer, else 0.

    Args:
        answers: what part of a response is its answer; with `none` any word counts.
    """

    __name__ = "format"

    def __init__(self, answers: AnswerKind) -> None:
        self.answers: AnswerKind = "whole" if answers == "none" else answers
        self._end: int | None = None

    def bind(self, trainer: "PolicyHolder") -> None:
        """Receive the trainer, whose tokenizer says which token ends a turn."""
        self._end = trainer.processing_class.eos_token_id

    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Grade B completions. Raises RuntimeError before `bind`."""
        if self._end is None:
            raise RuntimeError("format: call bind(trainer) before training")
        finished = chat.finished_flags(completion_ids, self._end)
        answered = [extract_answer(chat.to_text(c), self.answers) is not None for c in completions]
        return [float(f and a) for f, a in zip(finished, answered, strict=True)]
