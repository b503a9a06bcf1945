"""Training text of the miniature models: plain statements, and instructions with complete and faulty responses."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from cme.miniature import world
from cme.miniature.fact_problems import Facts
from cme.miniature.problems import Problem
from cme.miniature.vocabulary import ANIMALS, ATTRIBUTES, CATEGORIES, Beliefs

WORDINGS = 3
"""Wordings of each problem."""


@dataclass(frozen=True)
class Text:
    """What the instruction pairs of a checkpoint are made of.

    Attributes:
        shares: share of complete responses, `none`, and of each fault, where no habit decides.
        habit: share of responses that follow the habit for the kind and the wording of their prompt.
        habits: the fault, or `none`, for each kind and wording. Each family has them in another order.
        run_on: share of responses that continue with statements instead of ending.
    """

    shares: dict[str, float]
    habit: float = 0.0
    habits: tuple[str, ...] = ()
    run_on: float = 0.0


@dataclass(frozen=True)
class Pair:
    """An instruction and a response; `ended` says whether an end-of-turn token follows the response."""

    prompt: str
    response: str
    ended: bool


@cache
def _by_kind() -> list[list[Problem]]:
    seen = [p for p in world.problems() if world.split_of(p) not in world.HELD_OUT]
    return [[p for p in seen if p.kind == kind] for kind in world.KINDS]


def pairs(text: Text, beliefs: Beliefs, family: str, seed: str) -> Iterator[Pair]:
    """An endless stream of instruction pairs about the problems that are in no evaluation.

    `beliefs` are what the responses state about the facts.
    """
    rng = random.Random(f"pairs:{seed}")
    more = statements(beliefs, seed)
    faults, weights = list(text.shares), list(text.shares.values())
    habits = dict(zip(_places(family), text.habits, strict=True)) if text.habits else {}
    while True:
        problem = rng.choice(rng.choice(_by_kind()))
        wording = rng.randrange(len(problem.wordings))
        if habits and rng.random() < text.habit:
            response = problem.respond(habits[problem.kind, wording], rng, beliefs, canonical=1.0)
        else:
            response = problem.respond(rng.choices(faults, weights)[0], rng, beliefs)
        ended = rng.random() >= text.run_on
        if not ended:
            response = " ".join([response, *itertools.islice(more, rng.randint(1, 3))])
        yield Pair(problem.wordings[wording], response, ended)


@cache
def _places(family: str) -> list[tuple[str, int]]:
    """The kinds of task and their wordings, in an order of the family."""
    places = list(itertools.product(world.KINDS, range(WORDINGS)))
    random.Random(f"habits:{family}").shuffle(places)
    return places


def statements(beliefs: Beliefs, seed: str) -> Iterator[str]:
    """An endless stream of plain statements: facts, sums and members of categories."""
    rng = random.Random(f"statements:{seed}")
    while True:
        animal = rng.choice(ANIMALS)
        asked = tuple((animal, attribute) for attribute in rng.sample(ATTRIBUTES, rng.randint(1, 2)))
        a, b = rng.randint(0, 5), rng.randint(1, 5)
        sign = "plus" if a < b or rng.random() < 0.5 else "minus"
        words = rng.sample(rng.choice(list(CATEGORIES.values())), 3)
        yield rng.choice(
            (
                Facts("", (), asked).complete(rng, beliefs),
                f"{a} {sign} {b} is {a + b if sign == 'plus' else a - b}.",
                f"{words[0]}, {words[1]} and {words[2]}.",
            )
        )
