"""Groups of completions of one prompt, and which completions of a group agree."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from cme.grading.answers import AnswerKind, are_equivalent
from cme.models.chat import Text

Item = TypeVar("Item")


def group_slices(prompts: Sequence[Text], size: int) -> list[slice]:
    """The groups of `size` consecutive completions, given the prompts (B,) of all completions.

    Raises ValueError where the last group is incomplete or a group has more than one prompt.
    """
    if len(prompts) % size:
        raise ValueError(f"{len(prompts)} completions do not make whole groups of {size}")
    groups = [slice(start, start + size) for start in range(0, len(prompts), size)]
    for group in groups:
        if any(p != prompts[group.start] for p in prompts[group]):
            raise ValueError(
                f"the group that starts at completion {group.start} mixes prompts; a group must have one prompt"
            )
    return groups


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
