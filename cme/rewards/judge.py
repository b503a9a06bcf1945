"""A judge as reward: the share of its group that a response beats (RLAIF, Lee et al., arXiv 2309.00267).

    r(x, y_i) = mean over opponents j of points(y_i, y_j)      from 0 to 1
    points = 1 if the judge prefers y_i, 0.5 for a tie, 0 if it prefers y_j; the mean over both orders

Each pair is shown in both orders, as in RLAIF, since judges favour a place. The opponents of a response are the other
responses of its group, or with `neighbours=k` the k that follow it and the k before it in the group, seen as a ring:
a group of n then takes 2 n k comparisons and not n (n - 1).

A pair counts if both of its orders have a verdict. A pair without one is left out of both means, never counted as a
loss; a response none of whose pairs counts is unscored (None). Every verdict is logged at once (`keep_in`), and a
comparison whose verdict is in the log is not made again: neither in a resumed training nor for equal responses. With
several processes the main one asks. If a server gives no verdict at all, the training ends.

Deviations: RLAIF trains a reward model on the judge's preferences, and a variant (d-RLAIF) asks for a score of each
response; here the preferences are the reward. RLAIF averages the judge's probabilities over both orders, this reward
its verdicts; a judge that combines the orders (`cme.judges.base.Judge.combine`) gives one verdict per pair. RLAIF's
judge reads a chain of thought of its own; here the judge's prompt decides.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from cme import Unavailable
from cme.judges.base import Judge
from cme.judges.pairwise import VerdictLog, judge_pairs
from cme.models import chat
from cme.records import Generation, Pair, points
from cme.rewards.base import PlainReward, Texts, TokenIds, group_slices
from cme.runtime import distributed

LOG = "reward_verdicts.jsonl"
"""Name of the log of verdicts in the folder of a training."""


@dataclass(eq=False, repr=False)
class PairwiseJudge(PlainReward):
    """The mean points of each response against others of its group, by a judge that sees both orders.

    Args:
        judge: compares two responses.
        num_generations: size of a group, TRL's `num_generations`.
        neighbours: number of responses behind each, in the ring of its group, that it is compared with; None for all.

    Raises ValueError for a `neighbours` that the group does not have.
    """

    __name__ = "pairwise_judge"
    whole_batch = True

    judge: Judge
    num_generations: int
    neighbours: int | None = None

    def __post_init__(self) -> None:
        most = (self.num_generations - 1) // 2
        if self.neighbours is not None and not 1 <= self.neighbours <= most:
            raise ValueError(
                f"neighbours={self.neighbours} with num_generations={self.num_generations}; it must be from 1 to "
                f"{most}, or null for all"
            )
        self._folder: Path | None = None
        self._log: VerdictLog | None = None

    def keep_in(self, folder: Path) -> None:
        """Log the verdicts in a folder, so that no comparison is made twice and earlier calls count."""
        self._folder = folder

    def __call__(
        self,
        prompts: Texts,
        completions: Texts,
        completion_ids: TokenIds,
        answer: Sequence[str | None] | None = None,
        reference: Sequence[str | None] | None = None,
        prompt_text: Sequence[str] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Compare the B completions within their groups; None for one without a comparison that counts.

        Args:
            answer, reference: columns with the gold answer and a good response, for judges that read them.
            prompt_text: column with the prompts as a judge reads them; without it, the last message of each.

        Raises RuntimeError before `bind`, ValueError where a group is incomplete, Unavailable where the judge cannot be
        used at all, or a server gives no verdict on any pair.
        """
        texts, finished = [chat.to_text(c) for c in completions], self.finished_flags(completion_ids)
        shown = [Generation(*row) for row in zip(texts, finished, map(len, completion_ids), strict=True)]
        read = prompt_text or [chat.to_text(p) for p in prompts]
        pairs, places = [], []
        for group in group_slices(prompts, self.num_generations):
            for i, j in ring(self.num_generations, self.neighbours):
                first, second = group.start + i, group.start + j
                good, gold = (None if column is None else column[first] for column in (reference, answer))
                places.append((first, second))
                pairs.append(Pair(f"{first}-{second}", read[first], good, shown[second], shown[first], gold))
        # the main process asks, and the others receive its answer
        asked = self._judge(pairs) if distributed.process_index() == 0 else []
        won: list[list[float]] = [[] for _ in shown]
        for (first, second), score in zip(places, distributed.gather_rows(asked), strict=True):
            if not math.isnan(score):
                won[first].append(score)
                won[second].append(1 - score)
        return [math.fsum(mine) / len(mine) if mine else None for mine in won]

    def _judge(self, pairs: Sequence[Pair]) -> list[float]:
        """The points of the first response (`policy`) of each pair; NaN for a pair with an unscored verdict."""
        if self._log is None:
            if self._folder is None:  # in a plain script the log lives as long as the reward
                self._temporary = tempfile.TemporaryDirectory(prefix="cme-verdicts-")
                self._folder = Path(self._temporary.name)
            self._log = VerdictLog(self._folder / LOG).__enter__()  # held as long as the reward
        verdicts = judge_pairs(self.judge, pairs, True, self._log)
        if self.judge.asks_server and all(verdict.outcome == "unscored" for verdict in verdicts):
            raise Unavailable(
                f"reward={self.__name__}: the judge gave no verdict on any of {len(pairs)} pairs "
                f"({verdicts[0].reason}); the same command goes on from the last checkpoint"
            )
        each, size = [points(verdict) for verdict in verdicts], 1 if self.judge.combines_orders else 2
        return [sum(each[i : i + size]) / size for i in range(0, len(each), size)]


def ring(size: int, neighbours: int | None) -> list[tuple[int, int]]:
    """The pairs of a group of `size` that are compared: all, or each response with the `neighbours` that follow it."""
    if neighbours is None:
        return list(combinations(range(size), 2))
    return [(i, (i + k) % size) for i in range(size) for k in range(1, neighbours + 1)]
