"""Preference pairs of the miniature world: a response of quality 1 and a worse one."""

import random
from collections.abc import Sequence

from cme.miniature.world import poor_response, problem_of, problems
from cme.records import Preference, Prompt


def load_pairs(prompts: Sequence[Prompt], seed: int) -> list[Preference]:
    """A pair for each prompt. The oracle grades the chosen response 1 and the rejected one lower; both are finished.

    Raises ValueError for a prompt that is not of the miniature world.
    """
    others = problems()
    pairs = []
    for prompt in prompts:
        problem, rng = problem_of(prompt.text), random.Random(f"preference:{seed}:{prompt.id}")
        rejected = poor_response(problem, rng, others)
        # the answer to another problem can happen to be right
        while problem.grade(rejected, finished=True).quality == 1:
            rejected = poor_response(problem, rng, others)
        pairs.append(Preference(prompt, problem.good(rng), rejected))
    return pairs
