"""The miniature world: four kinds of task with two to four parts, about the facts of `cme.miniature.vocabulary`.

Every prompt belongs to a `Problem` that knows the truth, so that each response has an exact quality in [0, 1]. The
world is finite: `problems()` lists all of it in a fixed order.

The splits separate problems, not wordings: no problem of `eval` (evaluation) or `tune` (the evaluation of
hyperparameters) is in the text that the models are trained on, nor in the prompts of reinforcement learning (`train`,
or `tune_train` for hyperparameters). `train`, `eval` and `tune` each ask about all facts, in other combinations.
"""

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from functools import cache

from cme.miniature.fact_problems import Compare, Profile
from cme.miniature.list_problems import Listing
from cme.miniature.problems import Problem
from cme.miniature.sum_problems import Sum
from cme.miniature.vocabulary import ANIMALS, ATTRIBUTES, CATEGORIES
from cme.records import Grade, Prompt

# by split: the range of a hash, in percent, that selects problems
SPLITS = {"train": (0, 48), "tune_train": (48, 63), "eval": (63, 88), "tune": (88, 100)}
HELD_OUT = ("eval", "tune")
KINDS = ("profile", "compare", "list", "sum")
LARGEST = 10
COUNTS = {1: "one", 2: "two", 3: "three", 4: "four"}


def _join(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _profile() -> Iterator[Problem]:
    for animal in ANIMALS:
        for size in (2, 3, 4):
            for chosen in itertools.combinations(ATTRIBUTES, size):
                key = f"profile {animal} {' '.join(chosen)}"
                # two of the orders in which a prompt can name the attributes, in the same split
                for order in random.Random(key).sample(list(itertools.permutations(chosen)), 2):
                    named = _join(order)
                    wordings = (
                        f"describe the {animal} by its {named}.",
                        f"tell me the {named} of the {animal}.",
                        f"what are the {named} of the {animal}?",
                    )
                    yield Profile(key, wordings, tuple((animal, a) for a in order))


def _compare() -> Iterator[Problem]:
    rng = random.Random("compare")
    pairs = list(itertools.combinations(ANIMALS, 2))
    triples = rng.sample(list(itertools.combinations(ANIMALS, 3)), 40)
    for attribute in ATTRIBUTES:
        for group in [*pairs, *triples]:
            key = f"compare {attribute} {' '.join(group)}"
            order = random.Random(key).sample(group, len(group))
            named = _join([f"the {animal}" for animal in order])
            wordings = (
                f"compare the {attribute} of {named}.",
                f"what is the {attribute} of {named}?",
                f"state the {attribute} of {named}.",
            )
            yield Compare(key, wordings, tuple((animal, attribute) for animal in order))


def _listing() -> Iterator[Problem]:
    single = [((c, n),) for c in CATEGORIES for n in (2, 3, 4)]
    double = [
        ((a, m), (b, n))
        for a, b in itertools.permutations(CATEGORIES, 2)
        for m, n in ((1, 1), (2, 1), (1, 2), (2, 2), (1, 3))
        if (m, a) <= (n, b)
    ]
    triple = [
        tuple((c, 1 + (c == twice)) for c in chosen)
        for chosen in itertools.combinations(CATEGORIES, 3)
        for twice in (None, *chosen)
    ]
    for wanted in [*single, *double, *triple]:
        phrases = [f"{COUNTS[n]} of the {c}" for c, n in wanted]
        named = _join(phrases) if len(phrases) > 1 else phrases[0]
        wordings = (f"name {named}.", f"list {named}.", f"give me {named}.")
        yield Listing(f"list {named}", wordings, wanted)


def _sum() -> Iterator[Problem]:
    def steps(value: int, left: int) -> list[tuple[tuple[int, str, int, int], ...]]:
        if left == 0:
            return [()]
        found = []
        for sign, other in itertools.product(("plus", "minus"), range(1, 6)):
            result = value + other if sign == "plus" else value - other
            if 0 <= result <= LARGEST:
                found += [((value, sign, other, result), *rest) for rest in steps(result, left - 1)]
        return found

    rng = random.Random("sum")
    two = [s for value in range(1, 6) for s in steps(value, 2)]
    three = rng.sample([s for value in range(1, 6) for s in steps(value, 3) if len(set(s)) == 3], 300)
    for chosen in [*two, *three]:
        text = f"{chosen[0][0]} " + " ".join(f"{sign} {other}" for _, sign, other, _ in chosen)
        wordings = (f"what is {text}?", f"work out {text}.", f"calculate {text}.")
        yield Sum(f"sum {text}", wordings, chosen)


@cache
def problems() -> tuple[Problem, ...]:
    """All problems of the world in a fixed order."""
    return (*_profile(), *_compare(), *_listing(), *_sum())


@cache
def split_of(problem: Problem) -> str:
    """The split that a problem belongs to."""
    percent = int(hashlib.sha256(problem.key.encode()).hexdigest(), 16) % 100
    return next(name for name, (start, end) in SPLITS.items() if start <= percent < end)


def split_prompts(split: str) -> list[tuple[Problem, str]]:
    """All prompts of a split, each after its problem. Raises ValueError for an unknown split."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    return [(p, wording) for p in problems() if split_of(p) == split for wording in p.wordings]


@cache
def _problems_by_prompt() -> dict[str, Problem]:
    return {wording: p for p in problems() for wording in p.wordings}


def problem_of(prompt: str) -> Problem:
    """The problem behind a prompt. Raises ValueError for a prompt that is not of the miniature world."""
    try:
        return _problems_by_prompt()[prompt]
    except KeyError:
        raise ValueError(f"prompt {prompt!r} is not of the miniature world") from None


def grade(prompt: str, response: str, finished: bool) -> Grade:
    """The oracle: the exact grade of a response to a prompt of the world.

    `finished` says whether the response ended with an end-of-turn token.
    """
    return problem_of(prompt).grade(response, finished)


def load_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """`sample_prompts` as a source of prompts."""
    return [as_prompt(text) for text in sample_prompts(split, count, seed)]


def as_prompt(text: str) -> Prompt:
    """A prompt of the world, whose id begins with its kind."""
    return Prompt(f"{problem_of(text).kind}-{hashlib.sha256(text.encode()).hexdigest()[:6]}", text)


def sample_prompts(split: str, count: int, seed: int) -> list[str]:
    """A random sample of `count` prompts of a split, with equal shares of all kinds and one wording per problem.

    Raises ValueError if the split has too few problems of a kind.
    """
    rng = random.Random(f"{split}:{seed}")
    prompts = split_prompts(split)
    sample: list[str] = []
    for i, kind in enumerate(KINDS):
        pool = list(dict.fromkeys(problem for problem, _ in prompts if problem.kind == kind))
        share = count // len(KINDS) + (i < count % len(KINDS))
        if share > len(pool):
            raise ValueError(
                f"split {split!r} has {len(pool)} problems of kind {kind!r}, but {share} were asked for"
            )
        sample += [rng.choice(problem.wordings) for problem in rng.sample(pool, share)]
    rng.shuffle(sample)
    return sample
