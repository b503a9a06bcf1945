"""Groups of completions to one prompt, and which of them say the same."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from cme.grading.answers import AnswerKind, are_equivalent
from cme.models.chat import Text

Item = TypeVar("Item")


def group_slices(prompts: Sequence[Text], size: int) -> list[slice]:
    """Where each group of `size` completions lies among B, given their prompts (B,).

    Raises ValueError where the last group is cut off or a group mixes prompts.
    """
    if len(prompts) % size:
        raise ValueError(f"{len(prompts)} completions do not make whole groups of {size}")
    groups = [slice(start, start + size) for start in range(0, len(prompts), size)]
    for group in groups:
        if any(p != prompts[group.start] for p in prompts[group]):
            raise ValueError(
                f"the group from completion {group.start} on mixes prompts; it must be one prompt's"
            )
    return groups


def greedy_clusters(items: Sequence[Item], same: Callable[[Item, Item], bool]) -> list[int]:
    """The cluster of each item (N,), numbered from 0 in order of appearance.

    Greedy, as in Kuhn et al. (arXiv 2302.09664): an item joins the first cluster whose first member it is the same as.
    """
    firsts: list[Item] = []
    found = []
    for item in items:
        at = next((n for n, first in enumerate(firsts) if same(first, item)), len(firsts))
        if at == len(firsts):
            firsts.append(item)
        found.append(at)
    return found


def cluster_answers(answers: Sequence[str], kind: AnswerKind) -> list[int]:
    """The cluster of each answer (N,), as `clusters` has them, of answers that are equivalent.

    One that is undecided against a cluster does not join it: it is no evidence of agreement.
    """
    return greedy_clusters(answers, lambda first, answer: are_equivalent(first, answer, kind) is True)


def majority_answer(answers: Sequence[str | None], kind: AnswerKind) -> tuple[str | None, list[bool]]:
    """The first of a group's most common answers, and which completions (G,) gave it; None does not vote.

    Equal counts go to the answer that was given first. Where nobody votes the answer is None.
    """
    cast = {i: answer for i, answer in enumerate(answers) if answer is not None}
    if not cast:
        return None, [False] * len(answers)
    found = cluster_answers(list(cast.values()), kind)
    [(most, _)] = Counter(found).most_common(1)  # equal counts come in order of first vote
    agreed = [i for i, cluster in zip(cast, found, strict=True) if cluster == most]
    return cast[agreed[0]], [i in agreed for i in range(len(answers))]
