"""The miniature world: six kinds of task about a few animals, foods, places and tools.

Every prompt belongs to a `Problem` that knows the truth, so that each response has an exact quality in [0, 1]. Three
kinds have one right answer (arithmetic, reverse, recall), and three have many (list, describe, sentence). The world is
finite: `problems()` lists all of it in a fixed order.

The miniature models are trained on text about the whole world. The splits separate prompts: those for reinforcement
learning (`train`) and for evaluation (`eval`) have different wordings, and those for choosing hyperparameters
(`tune_train` and `tune`, with the same two purposes) are in neither. With splits by problem instead, models this small
would forget the facts that no training prompt is about.
"""

import hashlib
import itertools
import random
from collections.abc import Sequence
from functools import cache

from cme.miniature.problems import (
    ANIMALS,
    ATTRIBUTES,
    FACTS,
    MEMBERS,
    NOUNS,
    Arithmetic,
    Describe,
    Listing,
    OneAnswer,
    Problem,
    Recall,
    Reverse,
    Sentence,
    words,
)
from cme.records import Grade, Prompt

COUNTS = {"two": 2, "three": 3}
# by split: the index of the phrasing, and the range of a hash, in percent, that selects problems
SPLITS = {"train": (0, 0, 100), "eval": (1, 0, 75), "tune": (1, 75, 100), "tune_train": (2, 0, 100)}


def _arithmetic() -> list[Problem]:
    plus = [
        Arithmetic(
            f"{a}+{b}", (f"what is {a} plus {b}?", f"add {a} and {b}.", f"{a} plus {b} is what?"), a + b
        )
        for a, b in itertools.product(range(6), repeat=2)
    ]
    minus = [
        Arithmetic(
            f"{a}-{b}", (f"what is {a} minus {b}?", f"take {b} from {a}.", f"{a} minus {b} is what?"), a - b
        )
        for a, b in itertools.product(range(6), repeat=2)
        if a >= b
    ]
    return [*plus, *minus]


def _reverse() -> list[Problem]:
    rng = random.Random("reverse")
    triples = sorted({tuple(rng.sample(NOUNS, 3)) for _ in range(600)})
    return [
        Reverse(
            f"reverse {t}", (f"say {t} backwards.", f"reverse {t}.", f"turn {t} around."), tuple(t.split())
        )
        for t in map(" ".join, triples)
    ]


def _recall() -> list[Problem]:
    ask = {
        "color": ("what color is the {}?", "name the color of the {}.", "tell me the color of the {}."),
        "home": ("where does the {} live?", "name the home of the {}.", "tell me the home of the {}."),
        "food": ("what does the {} eat?", "name the food of the {}.", "tell me the food of the {}."),
        "size": ("is the {} small or big?", "name the size of the {}.", "tell me the size of the {}."),
    }
    return [
        Recall(f"{attribute} of {animal}", tuple(p.format(animal) for p in ask[attribute]), attribute, value)
        for animal, facts in FACTS.items()
        for attribute, value in zip(ATTRIBUTES, facts, strict=True)
    ]


def _listing() -> list[Problem]:
    one = [(((c, n),), f"{word} {c}") for c in MEMBERS for word, n in COUNTS.items()]
    two = [
        (((a, n), (b, 1)), f"{word} {a} and one of the {b}")
        for a, b in itertools.permutations(MEMBERS, 2)
        for word, n in COUNTS.items()
    ]
    return [
        Listing(asked, (f"name {asked}.", f"list {asked}.", f"give me {asked}."), wanted)
        for wanted, asked in [*one, *two]
    ]


def _describe() -> list[Problem]:
    return [
        Describe(
            f"describe {animal} {a} {b}",
            (
                f"describe the {animal} by its {a} and {b}.",
                f"tell the {a} and {b} of the {animal}.",
                f"what are the {a} and {b} of the {animal}?",
            ),
            animal, (a, b),
        )
        for animal in ANIMALS
        for a, b in itertools.combinations(ATTRIBUTES, 2)
    ]  # fmt: skip


def _sentence() -> list[Problem]:
    rng = random.Random("sentence")
    pairs = sorted({tuple(rng.sample(NOUNS, 2)) for _ in range(600)})
    return [
        Sentence(
            f"sentence {a} {b}",
            (
                f"write a sentence with {a} and {b}.",
                f"use {a} and {b} in a sentence.",
                f"make a sentence from {a} and {b}.",
            ),
            (a, b),
        )
        for a, b in pairs
    ]


_MAKERS = (_arithmetic, _reverse, _recall, _listing, _describe, _sentence)
KINDS = ("arithmetic", "reverse", "recall", "list", "describe", "sentence")


@cache
def problems() -> tuple[Problem, ...]:
    """All problems of the world in a fixed order."""
    return tuple(itertools.chain.from_iterable(make() for make in _MAKERS))


def split_prompts(split: str) -> list[tuple[Problem, str]]:
    """All prompts of a split, each after its problem. Raises ValueError for an unknown split."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    wording, start, end = SPLITS[split]
    percent = {p: int(hashlib.sha256(p.key.encode()).hexdigest(), 16) % 100 for p in problems()}
    return [(p, p.phrasings[wording]) for p in problems() if start <= percent[p] < end]


@cache
def _problems_by_prompt() -> dict[str, Problem]:
    return {phrasing: p for p in problems() for phrasing in p.phrasings}


def problem_of(prompt: str) -> Problem:
    """The problem behind a prompt. Raises ValueError for a prompt that is not of the miniature world."""
    try:
        return _problems_by_prompt()[prompt]
    except KeyError:
        raise ValueError(f"prompt {prompt!r} is not of the miniature world") from None


def quality(prompt: str, response: str, finished: bool) -> float:
    """The oracle: exact quality in [0, 1] of a response to a prompt of the world.

    `finished` says whether the response ended with an end-of-turn token.
    """
    return problem_of(prompt).grade(response, finished).quality


def grade(prompt: str, response: str, finished: bool) -> Grade:
    """The oracle with the main fault of the response; the prompt is its only part."""
    problem = problem_of(prompt)
    found = problem.grade(response, finished)
    faults = {
        "none": found.quality == 1,
        "wrong": found.content == 0,
        "incomplete": found.content < 1,
        "unfinished": not finished,
    }
    fault = next((name for name, has in faults.items() if has), "off_format")
    return Grade(found.quality, fault, {problem.key: found.content == 1})


def blind_spots(family: str) -> frozenset[str]:
    """Names of the facts about which a family has a false belief: none in this world."""
    return frozenset()


def load_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """`sample_prompts` as a source of prompts; problems with one right answer have it as the gold answer."""
    prompts = []
    for text in sample_prompts(split, count, seed):
        problem = problem_of(text)
        answer = problem.answer if isinstance(problem, OneAnswer) else None
        prompts.append(
            Prompt(f"{problem.kind}-{hashlib.sha256(text.encode()).hexdigest()[:6]}", text, answer)
        )
    return prompts


def sample_prompts(split: str, count: int, seed: int) -> list[str]:
    """A random sample of `count` prompts of a split without replacement, with equal shares of all kinds.

    Raises ValueError if the split has too few prompts of a kind.
    """
    rng = random.Random(f"{split}:{seed}")
    prompts = split_prompts(split)
    sample: list[str] = []
    for i, kind in enumerate(KINDS):
        pool = [prompt for problem, prompt in prompts if problem.kind == kind]
        share = count // len(KINDS) + (i < count % len(KINDS))
        if share > len(pool):
            raise ValueError(
                f"split {split!r} has {len(pool)} prompts of kind {kind!r}, but {share} were asked for"
            )
        sample += rng.sample(pool, share)
    rng.shuffle(sample)
    return sample


def poor_response(problem: Problem, rng: random.Random, others: Sequence[Problem]) -> str:
    """A poor response to a problem: wrong, irrelevant, scrambled, rambling or repetitive."""
    other = rng.choice(others)
    way = rng.randrange(5)
    if way == 0:
        same_kind = [p for p in others if p.kind == problem.kind]
        return rng.choice(same_kind).good(rng) if same_kind else other.good(rng)
    if way == 1:
        return other.good(rng)
    if way == 2:
        scrambled = words(problem.good(rng)) + words(other.good(rng))
        rng.shuffle(scrambled)
        return " ".join(scrambled)
    if way == 3:
        return f"{problem.good(rng)} {other.good(rng)} {rng.choice(others).good(rng)}"
    return " ".join([rng.choice(NOUNS)] * rng.randint(2, 6))
