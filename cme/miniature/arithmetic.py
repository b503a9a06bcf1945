"""The calculations of the miniature world, with gold answers: mathematics at `scale=miniature`."""

import random
from dataclasses import replace

from cme.miniature import world
from cme.miniature.sum_problems import Sum
from cme.records import Prompt


def load_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """A random sample of `count` calculations of a split, one wording each, with the ids that the world gives.

    Raises ValueError for an unknown split, or if the split has fewer calculations.
    """
    pool = list(dict.fromkeys(p for p, _ in world.split_prompts(split) if isinstance(p, Sum)))
    if count > len(pool):
        raise ValueError(f"split {split!r} has {len(pool)} calculations, but {count} were asked for")
    rng = random.Random(f"arithmetic:{split}:{seed}")
    return [
        replace(world.as_prompt(rng.choice(problem.wordings)), answer=problem.answer)
        for problem in rng.sample(pool, count)
    ]
