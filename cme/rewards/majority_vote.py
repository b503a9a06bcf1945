"""Majority vote, TTRL (Zuo et al., arXiv 2504.16084).

    r(y_i) = 1 if a(y_i) = mode{a(y_1), ..., a(y_G)} else 0

a(y) is the answer of a response, as the data define it; equivalent answers are one (`cme.answers.cluster`). A
response without a parsable answer does not vote and gets 0, since it cannot agree; where none in the group votes,
the whole group is unscored (None).
Ties go to the answer that was given first in the group.

Deviation: TTRL draws 64 votes and trains on 32 of them; here the G completions that are trained on vote.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from cme import chat
from cme.answers import AnswerKind, cluster, extract


class MajorityVote:
    """1 for each response that gives its group's most common answer, else 0.

    Args:
        answers: what part of a response is its answer. `none` is refused: nothing could vote.
        num_generations: size of a group, TRL's `num_generations`.
    """

    __name__ = "majority_vote"
    needs_answers = True

    def __init__(self, answers: AnswerKind, num_generations: int) -> None:
        extract("probe", answers)
        self.answers = answers
        self.num_generations = num_generations

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Vote within each group. Raises ValueError when a group is not whole."""
        size = self.num_generations
        given = [extract(chat.text_of(c), self.answers) for c in completions]
        rewards: list[float | None] = []
        shares = []
        if len(prompts) % size:
            raise ValueError(f"{len(prompts)} completions do not make whole groups of {size}")
        for start in range(0, len(given), size):
            if any(p != prompts[start] for p in prompts[start : start + size]):
                raise ValueError(
                    f"the group from completion {start} on mixes prompts; it must be one prompt's"
                )
            named = iter(cluster([a for a in given[start : start + size] if a is not None], self.answers))
            group = [None if a is None else next(named) for a in given[start : start + size]]
            votes = Counter(a for a in group if a is not None)
            if not votes:
                rewards += [None] * size
                continue
            winner, count = votes.most_common(1)[0]  # equal counts come in order of first vote
            shares.append(count / size)
            rewards += [float(a == winner) for a in group]
        if log_metric and shares:
            log_metric("majority_share", sum(shares) / len(shares))
        return rewards
