"""Groups of completions to one prompt, and which of them say the same."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from cme.chat import Text

Item = TypeVar("Item")


def whole(prompts: Sequence[Text], size: int) -> list[slice]:
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


def clusters(items: Sequence[Item], same: Callable[[Item, Item], bool]) -> list[int]:
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
