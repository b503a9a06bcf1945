"""Preference pairs of the miniature world: a complete response and a faulty one."""

import random
from collections.abc import Sequence

from cme.miniature.problems import FAULTS
from cme.miniature.world import problem_of
from cme.records import Preference, Prompt

REJECTED = [fault for fault in FAULTS if fault != "unfinished"]


def load_pairs(prompts: Sequence[Prompt], seed: int) -> list[Preference]:
    """A pair for each prompt. The oracle grades the chosen response 1 and the rejected one lower; both are finished.

    Raises ValueError for a prompt that is not of the miniature world.
    """
    pairs = []
    for prompt in prompts:
        problem, rng = problem_of(prompt.text), random.Random(f"preference:{seed}:{prompt.id}")
        pairs.append(Preference(prompt, problem.complete(rng), problem.respond(rng.choice(REJECTED), rng)))
    return pairs
