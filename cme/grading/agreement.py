"""Which answers to the same prompt agree: clusters of equivalent answers, and the majority's answer."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from cme.grading.answers import AnswerKind, are_equivalent

Item = TypeVar("Item")


def greedy_clusters(items: Sequence[Item], same: Callable[[Item, Item], bool]) -> list[int]:
    """The cluster of each item (N,), numbered from 0 in order of appearance.

    An item joins the first cluster whose first member it equals, as in Kuhn et al. (arXiv 2302.09664).
    """
    firsts: list[Item] = []
    clusters = []
    for item in items:
        cluster = next((n for n, first in enumerate(firsts) if same(first, item)), len(firsts))
        if cluster == len(firsts):
            firsts.append(item)
        clusters.append(cluster)
    return clusters


def cluster_answers(answers: Sequence[str], kind: AnswerKind) -> list[int]:
    """The cluster of each answer (N,), by equivalence, as `greedy_clusters` numbers them.

    If the comparison of an answer with a cluster is undecided, the answer does not join that cluster.
    """
    return greedy_clusters(answers, lambda first, answer: are_equivalent(first, answer, kind) is True)


def majority_answer(answers: Sequence[str | None], kind: AnswerKind) -> tuple[str | None, list[bool]]:
    """The most common answer of a group, and which completions (G,) gave it. An answer of None does not vote.

    A tie goes to the answer that was given first. Without any vote the answer is None.
    """
    votes = {i: answer for i, answer in enumerate(answers) if answer is not None}
    if not votes:
        return None, [False] * len(answers)
    clusters = cluster_answers(list(votes.values()), kind)
    [(winner, _)] = Counter(clusters).most_common(1)  # equal counts come in order of the first vote
    agreeing = [i for i, cluster in zip(votes, clusters, strict=True) if cluster == winner]
    return votes[agreeing[0]], [i in agreeing for i in range(len(answers))]
