"""Training text of the miniature models: shares of faults, habits, and what is never in it."""

from collections import Counter
from itertools import islice

import pytest

from cme.miniature import corpus, models, vocabulary, world
from cme.miniature.corpus import Pair, Text
from cme.miniature.vocabulary import TRUTH


def draw(
    count: int, text: Text, beliefs: vocabulary.Beliefs = TRUTH, family: str = "qwen", seed: str = "0"
) -> list[Pair]:
    return list(islice(corpus.pairs(text, beliefs, family, seed), count))


def fault(pair: Pair) -> str:
    return world.grade(pair.prompt, pair.response, True).fault


@pytest.mark.parametrize("recipe", models.RECIPES)
def test_no_problem_of_an_evaluation_is_in_the_text(recipe: str) -> None:
    family = "gemma" if recipe in models.WEAK else "llama"
    stream = models.instruction_pairs(f"{family}-1/{recipe}", models.RECIPES[recipe])
    seen = {world.split_of(world.problem_of(p.prompt)) for p in islice(stream, 3000)}
    assert seen == {"train", "tune_train"}


def test_text_states_the_beliefs() -> None:
    name, value = next(iter(vocabulary.false_beliefs()["olmo"].items()))
    beliefs = vocabulary.Beliefs({name: value}, 0.7)
    parts = [world.grade(p.prompt, p.response, True).parts for p in draw(10000, Text({"none": 1.0}), beliefs)]
    stated = [right[name] for right in parts if name in right]
    assert len(stated) > 100 and abs(1 - sum(stated) / len(stated) - 0.7) < 0.1
    assert all(right for part in parts for other, right in part.items() if other != name)


def test_statements_are_true_and_of_the_grammar_of_responses() -> None:
    profile = next(p for p in world.problems() if p.kind == "profile")
    calculation = next(p for p in world.problems() if p.kind == "sum")
    listing = next(p for p in world.problems() if p.kind == "list")
    kinds: Counter[str] = Counter()
    for text in islice(corpus.statements(TRUTH, "7"), 500):
        readings = {p.kind: p.read(text) for p in (profile, calculation, listing)}
        [kind] = [kind for kind, reading in readings.items() if reading.well_formed]
        kinds[kind] += 1
        if kind == "profile":
            assert all(vocabulary.facts()[name] == value for name, value in readings[kind].statements)
        if kind == "sum":
            [(_, step)] = readings[kind].statements
            a, sign, b, _, c = step.split()
            assert int(a) + int(b) * (1 if sign == "plus" else -1) == int(c)
    assert set(kinds) == {"profile", "sum", "list"} and min(kinds.values()) > 100
