"""Majority vote, TTRL (Zuo et al., arXiv 2504.16084).

    r(y_i) = 1 if a(y_i) = mode{a(y_1), ..., a(y_G)} else 0

a(y) is the answer of a response, as the data define it; equivalent answers are one
(`cme.rewards.groups.cluster_answers`). A
response without a parsable answer does not vote and gets 0, since it cannot agree; where none in the group votes, the
whole group is unscored (None). Ties go to the answer that was given first in the group.

TTRL draws 64 votes and trains on 32 of them: the first 32 of the group, as its code has it (they are drawn alike, so
that any would do). With `train_on=N` the first N completions get a reward; the others vote and get None, which gives
them no advantage and leaves them out of the group's mean and deviation. By default all G are trained.

Logged: `majority_share`, the winner's votes over G, and, where the data have a column `answer`, `label_accuracy`, the
share of winners that are right.

Read in TTRL's code (github.com/PRIME-RL/TTRL, verl/verl/trainer/ppo/ttrl_utils.py): who does not vote, what a tie
gives, that the first ones are trained.

Deviations: TTRL drops the others from the batch; here they stay in it, so that its loss over tokens, and a KL
penalty, count them. It counts votes by the simplified text of an answer, we by equivalence. Where none votes, its
label is the text `None`, and the group is graded against that.
"""

from collections.abc import Callable, Sequence
from typing import Any

from cme.grading.answers import AnswerKind, are_equivalent, canonical_answer, extract_answer
from cme.models import chat
from cme.rewards import groups


class MajorityVote:
    """1 for each response that gives its group's most common answer, else 0.

    Args:
        answers: what part of a response is its answer. `none` is refused: nothing could vote.
        num_generations: size of a group, TRL's `num_generations`.
        train_on: how many of a group's completions, the first ones, get a reward; None for all.
    """

    __name__ = "majority_vote"
    needs_answers = True
    whole_batch = True

    def __init__(self, answers: AnswerKind, num_generations: int, train_on: int | None = None) -> None:
        extract_answer("probe", answers)
        self.check(answers, num_generations, train_on)
        self.answers = answers
        self.num_generations = num_generations
        self.train_on = num_generations if train_on is None else train_on
        self.left_out = 0
        """How many completions of the last call voted only: they have no reward because none was asked for."""

    @staticmethod
    def check(answers: AnswerKind, num_generations: int, train_on: int | None = None) -> None:
        """Raise ValueError, before anything loads, for a number to train on that a group does not have."""
        if train_on is not None and not 2 <= train_on <= num_generations:
            raise ValueError(
                f"train_on={train_on}; it must be from 2 to num_generations={num_generations}, or null for all"
            )

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        answer: Sequence[str | None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Vote within each group. Raises ValueError when a group is not whole."""
        given = [extract_answer(chat.to_text(c), self.answers) for c in completions]
        rewards: list[float | None] = []
        shares: list[float] = []
        right: list[bool | None] = []
        self.left_out = 0
        for group in groups.group_slices(prompts, self.num_generations):
            winner, agreed = groups.majority_answer(given[group], self.answers)
            trained = [None if winner is None else float(agrees) for agrees in agreed[: self.train_on]]
            rewards += [*trained, *[None] * (len(agreed) - len(trained))]
            self.left_out += len(agreed) - len(trained)
            if winner is None:
                continue
            shares.append(sum(agreed) / len(agreed))
            truth = None if answer is None else answer[group.start]
            if truth is not None:
                right.append(are_equivalent(canonical_answer(truth, self.answers), winner, self.answers))
        if log_metric:
            for metric, values in (("majority_share", shares), ("label_accuracy", right)):
                known = [float(value) for value in values if value is not None]
                if known:
                    log_metric(metric, sum(known) / len(known))
        return rewards
