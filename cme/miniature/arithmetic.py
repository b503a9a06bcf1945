"""The arithmetic problems of the miniature world, with gold answers: mathematics at `scale=miniature`."""

import hashlib
import random

from cme.miniature import world
from cme.miniature.problems import Arithmetic
from cme.records import Prompt


def load_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """A random sample of `count` additions and subtractions of a split, with the ids that `world.load_prompts` gives.

    Raises ValueError for an unknown split, or if the split has fewer prompts of arithmetic.
    """
    pool = [(p, text) for p, text in world.split_prompts(split) if isinstance(p, Arithmetic)]
    if count > len(pool):
        raise ValueError(f"split {split!r} has {len(pool)} prompts of arithmetic, but {count} were asked for")
    chosen = random.Random(f"arithmetic:{split}:{seed}").sample(pool, count)
    return [
        Prompt(f"{problem.kind}-{hashlib.sha256(text.encode()).hexdigest()[:6]}", text, problem.answer)
        for problem, text in chosen
    ]
