"""The world's arithmetic by itself, with gold answers: the miniature's mathematics track."""

import hashlib
import random

from cme.miniature import world
from cme.miniature.problems import Arithmetic
from cme.records import Prompt


def load_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """`count` additions and subtractions of a split of the world, drawn by `seed`, under the world's ids.

    Raises ValueError for an unknown split, or for more prompts than it has.
    """
    pool = [(p, text) for p, text in world.split_prompts(split) if isinstance(p, Arithmetic)]
    if count > len(pool):
        raise ValueError(f"split {split!r} has {len(pool)} prompts of arithmetic, {count} asked for")
    chosen = random.Random(f"arithmetic:{split}:{seed}").sample(pool, count)
    return [
        Prompt(f"{problem.kind}-{hashlib.sha256(text.encode()).hexdigest()[:6]}", text, problem.answer)
        for problem, text in chosen
    ]
