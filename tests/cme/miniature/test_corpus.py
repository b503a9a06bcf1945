"""Training text of the miniature models: shares of faults, habits, and what is never in it."""

from collections import Counter
from itertools import islice

import pytest

from cme.miniature import corpus, models, vocabulary, world
from cme.miniature.corpus import Pair, Text
from cme.miniature.vocabulary import TRUTH

SHARES = {"none": 0.5, "incomplete": 0.2, "wrong": 0.1, "boilerplate": 0.1, "unasked": 0.1}


def draw(
    count: int, text: Text, beliefs: vocabulary.Beliefs = TRUTH, family: str = "qwen", seed: str = "0"
) -> list[Pair]:
    return list(islice(corpus.pairs(text, beliefs, family, seed), count))


def fault(pair: Pair) -> str:
    return world.grade(pair.prompt, pair.response, True).fault


def test_shares_of_faults_and_of_kinds() -> None:
    pairs = draw(4000, Text(SHARES))
    assert all(p.ended for p in pairs)
    found = Counter(map(fault, pairs))
    assert set(found) == set(SHARES)
    assert all(abs(found[name] / 4000 - share) < 0.03 for name, share in SHARES.items())
    kinds = Counter(world.problem_of(p.prompt).kind for p in pairs)
    assert set(kinds) == set(world.KINDS) and all(abs(n / 4000 - 0.25) < 0.03 for n in kinds.values())


@pytest.mark.parametrize("recipe", models.RECIPES)
def test_no_problem_of_an_evaluation_is_in_the_text(recipe: str) -> None:
    family = "gemma" if recipe in models.WEAK else "llama"
    stream = models.instruction_pairs(f"{family}-1/{recipe}", models.RECIPES[recipe])
    seen = {world.split_of(world.problem_of(p.prompt)) for p in islice(stream, 3000)}
    assert seen == {"train", "tune_train"}


def test_a_habit_is_one_response_for_a_prompt() -> None:
    habits = (
        "none",
        "none",
        "none",
        "incomplete",
        "incomplete",
        "incomplete",
        "wrong",
        "wrong",
        "wrong",
        *["unasked"] * 3,
    )
    text = Text({"off_format": 1.0}, habit=0.6, habits=habits)
    places: dict[str, dict[tuple[str, int], str]] = {}
    for family in ("qwen", "llama"):
        by_place: dict[tuple[str, int], Counter[str]] = {}
        responses: dict[str, set[str]] = {}
        for pair in draw(6000, text, family=family):
            problem, name = world.problem_of(pair.prompt), fault(pair)
            place = (problem.kind, problem.wordings.index(pair.prompt))
            by_place.setdefault(place, Counter())[name] += 1
            if name != "off_format":
                responses.setdefault(pair.prompt, set()).add(pair.response)
        assert {len(texts) for texts in responses.values()} == {1}
        assert len(by_place) == 12
        for found in by_place.values():
            [(habit, times), (other, _)] = sorted(found.items(), key=lambda item: item[0] == "off_format")
            assert other == "off_format" and abs(times / found.total() - 0.6) < 0.1
            assert habit in habits
        places[family] = {place: min(found, key="off_format".__eq__) for place, found in by_place.items()}
        assert sorted(places[family].values()) == sorted(habits)
    assert places["qwen"] != places["llama"]


def test_some_responses_run_on_with_statements() -> None:
    pairs = draw(1000, Text({"none": 1.0}, run_on=0.3))
    assert abs(sum(not p.ended for p in pairs) / 1000 - 0.3) < 0.05
    for pair in pairs:
        assert (fault(pair) == "none") == pair.ended, pair


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


def test_text_depends_on_the_seed() -> None:
    text = Text(SHARES)
    assert draw(50, text) == draw(50, text) != draw(50, text, seed="1")
    statements = [list(islice(corpus.statements(TRUTH, seed), 50)) for seed in "001"]
    assert statements[0] == statements[1] != statements[2]
