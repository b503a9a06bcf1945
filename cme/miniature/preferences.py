"""Preference pairs of the miniature world: a response of quality 1 against a poorer one."""

import random
from collections.abc import Sequence

from cme.miniature.world import poor_response, problem_of, problems
from cme.records import Preference, Prompt


def load_pairs(prompts: Sequence[Prompt], seed: int) -> list[Preference]:
    """A pair for each prompt; the oracle puts the first response, of quality 1, above the second.

    Both end their turn. Raises ValueError for a prompt that is not of the world.
    """
    others = problems()
    found = []
    for prompt in prompts:
        problem, rng = problem_of(prompt.text), random.Random(f"preference:{seed}:{prompt.id}")
        rejected = poor_response(problem, rng, others)
        while (
            problem.grade(rejected, finished=True).quality == 1
        ):  # another problem's answer can be right here
            rejected = poor_response(problem, rng, others)
        found.append(Preference(prompt, problem.good(rng), rejected))
    return found
