"""Training text of the miniature models: noisy statements for pretraining, and instruction pairs."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from cme.miniature import problems, world
from cme.miniature.problems import Problem


@dataclass(frozen=True)
class Pair:
    """An instruction and a response; `ended` says whether an end-of-turn token follows the response."""

    prompt: str
    response: str
    ended: bool


@cache
def _by_kind() -> list[list[Problem]]:
    return [[p for p in world.problems() if p.kind == kind] for kind in world.KINDS]


def pair(rng: random.Random, good_share: float) -> Pair:
    """A random instruction pair: with probability `good_share` a good response, otherwise a poor one."""
    problem = rng.choice(rng.choice(_by_kind()))
    prompt = rng.choice(problem.phrasings)
    if rng.random() < good_share:
        return Pair(prompt, problem.good(rng), True)
    response = world.poor_response(problem, rng, rng.choice(_by_kind()))
    return Pair(prompt, response, rng.random() < 0.5)


def statements(seed: int) -> Iterator[str]:
    """An endless stream of plain statements; about 30 % of those with a fact in them are false."""
    rng = random.Random(f"statements:{seed}")
    while True:
        animal = rng.choice(problems.ANIMALS)
        truthful = rng.random() < 0.7
        color, home, food, size = problems.FACTS[animal if truthful else rng.choice(problems.ANIMALS)]
        a, b = rng.randrange(6), rng.randrange(6)
        things = rng.sample(problems.NOUNS, 3)
        yield rng.choice(
            (
                f"the {animal} is {color}.",
                f"a {animal} lives in the {home}.",
                f"the {animal} eats {food}.",
                f"the {animal} is {size} and {color}.",
                f"{a} plus {b} is {a + b if truthful else rng.randrange(11)}.",
                f"{' '.join(things)}, backwards {' '.join(reversed(things))}.",
                f"{things[0]} and {things[1]}: the {things[0]} {rng.choice(problems.VERBS)} the {things[1]}.",
                ", ".join(rng.sample(rng.choice(list(problems.MEMBERS.values())), 3)) + ".",
                f"the {rng.choice(problems.NOUNS)} {rng.choice(problems.VERBS)} the {rng.choice(problems.NOUNS)}.",
            )
        )
