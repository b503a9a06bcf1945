"""Majority vote, TTRL (Zuo et al., arXiv 2504.16084).

    r(y_i) = 1 if a(y_i) = mode{a(y_1), ..., a(y_G)} else 0

a(y) is the answer of a response, as the data define it. Equivalent answers count as one
(`cme.grading.agreement.cluster_answers`). A response without a parsable answer does not vote and gets 0. If no response
of a group votes, the whole group is unscored (None). A tie goes to the answer that was given first.

TTRL draws 64 votes and trains on the first 32 of them. With `train_on=N` the first N completions of a group get a
reward. The others vote and get None, so they get no advantage and do not enter the group's mean and standard deviation.
By default all G completions are trained on.

Logged: `majority_share`, the winner's votes over G, and, if the data have a column `answer`, `label_accuracy`, the
share of winners that are correct.

TTRL's code (github.com/PRIME-RL/TTRL, verl/verl/trainer/ppo/ttrl_utils.py) settles who does not vote, how ties are
broken, and that the first completions are trained on.

Deviations: TTRL drops the other completions from the batch; here they stay, so its loss over tokens and a KL penalty
count them. TTRL compares answers by their simplified text, this reward by equivalence. If nobody votes, TTRL's label is
the text `None`, against which the group is graded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cme.grading import agreement
from cme.grading.answers import AnswerKind, extract_answer, is_right
from cme.models import chat
from cme.rewards.base import LogMetric, Reward, Texts, TokenIds, group_slices


@dataclass(eq=False, repr=False)
class MajorityVote(Reward):
    """1 for each response that gives its group's most common answer, else 0.

    Args:
        answers: what part of a response is its answer.
        num_generations: size of a group, TRL's `num_generations`.
        train_on: how many of a group's completions, from the first, get a reward; None for all.

    Raises ValueError for data without answers (`none`), and as `check` does.
    """

    __name__ = "majority_vote"
    needs_answers = True
    whole_batch = True

    answers: AnswerKind
    num_generations: int
    train_on: int | None = None

    def __post_init__(self) -> None:
        extract_answer("", self.answers)
        self.check(num_generations=self.num_generations, train_on=self.train_on)

    @classmethod
    def check(cls, num_generations: int = 0, train_on: int | None = None, **settings: Any) -> None:
        """Raise ValueError for a `train_on` outside 2..num_generations."""
        if train_on is not None and not 2 <= train_on <= num_generations:
            raise ValueError(
                f"train_on={train_on}; it must be from 2 to num_generations={num_generations}, or null for all"
            )

    def __call__(
        self,
        prompts: Texts,
        completions: Texts,
        completion_ids: TokenIds,
        answer: Sequence[str | None] | None = None,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Vote within each group. Raises ValueError where a group is incomplete."""
        answers = [extract_answer(chat.to_text(c), self.answers) for c in completions]
        others = 0 if self.train_on is None else self.num_generations - self.train_on
        rewards: list[float | None] = []
        shares: list[float] = []
        correct: list[bool | None] = []
        for group in group_slices(prompts, self.num_generations):
            winner, agrees = agreement.majority_answer(answers[group], self.answers)
            trained = [None if winner is None else float(a) for a in agrees[: self.train_on]]
            rewards += [*trained, *[None] * others]
            if winner is None:
                continue
            shares.append(sum(agrees) / len(agrees))
            correct.append(None if answer is None else is_right(winner, answer[group.start], self.answers))
        self.left_out = len(prompts) // self.num_generations * others
        if log_metric:
            for metric, values in (("majority_share", shares), ("label_accuracy", correct)):
                known = [float(value) for value in values if value is not None]
                if known:
                    log_metric(metric, sum(known) / len(known))
        return rewards
