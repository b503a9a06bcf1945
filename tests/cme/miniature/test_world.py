"""The miniature world: grades computed by hand, and splits."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cme.miniature import problems as vocabulary
from cme.miniature import world

PROMPTS = [phrasing for p in world.problems() for phrasing in p.phrasings]
WORDS = [
    *vocabulary.NOUNS, *vocabulary.COLORS, *vocabulary.SIZES, *vocabulary.VERBS, *vocabulary.PREPOSITIONS,
    "the", "a", "is", "and", "lives", "eats", "0", "7", "12", ",", ".", " ", "\n", "xyz",
]  # fmt: skip
responses = st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)


@pytest.mark.parametrize("kind", world.KINDS)
def test_good_responses_have_quality_one(kind: str) -> None:
    rng = random.Random(0)
    problems = [p for p in world.problems() if p.kind == kind]
    assert problems
    for problem in problems:
        for response in {problem.good(rng) for _ in range(50)}:
            assert world.quality(problem.phrasings[0], response, True) == 1.0, (problem.key, response)


@settings(max_examples=300)
@given(st.sampled_from(PROMPTS), responses, st.booleans())
def test_quality_is_between_zero_and_one_and_ending_never_hurts(
    prompt: str, response: str, finished: bool
) -> None:
    assert 0.0 <= world.quality(prompt, response, finished) <= 1.0
    assert world.quality(prompt, response, True) >= world.quality(prompt, response, False)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("response", ["", " ", ".", "\n.", "xyz."])
def test_an_empty_response_has_quality_zero(response: str, finished: bool) -> None:
    assert {world.quality(p, response, finished) for p in PROMPTS} == {0.0}


def test_an_unfinished_good_response_loses_exactly_its_ending() -> None:
    rng = random.Random(1)
    for problem in world.problems():
        assert world.quality(problem.phrasings[0], problem.good(rng), False) == pytest.approx(0.8)


def test_a_good_response_to_another_problem_is_rarely_good() -> None:
    rng = random.Random(2)
    grades = [
        world.quality(p.phrasings[0], rng.choice(world.problems()).good(rng), True) for p in world.problems()
    ]
    assert sum(grades) / len(grades) < 0.15


# content * (0.6 + 0.2 form + 0.2 ending), by hand
@pytest.mark.parametrize(
    ("prompt", "response", "quality"),
    [
        ("what is 3 plus 4?", "7.", 1.0),
        ("add 3 and 4.", "7.", 1.0),
        ("what is 3 plus 4?", "7", 0.6),  # no full stop: neither form nor ending
        ("what is 3 plus 4?", " 7. ", 1.0),
        ("what is 3 plus 4?", "it is 7.", 0.8),  # ended, but not in the answer's form
        ("what is 3 plus 4?", "7. 7", 0.6),
        ("what is 3 plus 4?", "8.", 0.0),
        ("what is 3 plus 4?", "7 8.", 0.0),  # something false beside it
        ("what is 3 plus 4?", "3 4 7.", 0.0),
        ("what is 5 minus 2?", "3.", 1.0),
        ("take 2 from 5.", "3.", 1.0),
        ("take 2 from 5.", "minus 3.", 0.8),
        ("what color is the fox?", "red.", 1.0),
        ("what color is the fox?", "Red.", 0.8),
        ("what color is the fox?", "the fox is red.", 0.8),
        ("what color is the fox?", "red brown.", 0.0),
        ("what color is the fox?", "forest.", 0.0),
        ("where does the cow live?", "field.", 1.0),
        ("what does the duck eat?", "bread.", 1.0),
        ("is the bear small or big?", "big.", 1.0),
        ("is the bear small or big?", "small or big.", 0.0),
        ("name two animals.", "fox, bear.", 1.0),
        ("name two animals.", "bear, fox.", 1.0),
        ("name two animals.", "fox bear.", 0.8),
        ("name two animals.", "fox, fox.", 0.5),  # one of two
        ("name two animals.", "fox.", 0.5),
        ("name two animals.", "fox, bear, wolf.", 2 / 3),  # one too many
        ("name two animals.", "fox, hammer.", 0.5),
        ("name two animals.", "hammer, rope.", 0.0),
        ("name two animals and one of the foods.", "fox, bear, bread.", 1.0),
        ("list two animals and one of the foods.", "bread, bear, fox.", 1.0),
        ("name two animals and one of the foods.", "fox, bear.", 2 / 3),
        ("name two animals and one of the foods.", "fox, bear, wolf.", 2 / 3),  # a third animal is no food
        ("name two animals and one of the foods.", "bread, corn, fox.", 2 / 3),
        ("name two animals and one of the foods.", "fox, bear, bread, corn.", 3 / 4),
        ("name two animals and one of the foods.", "fox, fox, fox.", 1 / 3),
        ("name three tools.", "rope, lamp.", 2 / 3),
        ("describe the fox by its color and home.", "the fox is red and lives in the forest.", 1.0),
        ("describe the fox by its color and home.", "a fox lives in the forest and is red.", 1.0),
        ("tell the color and home of the fox.", "the fox is red and lives in the barn.", 0.5),
        ("tell the color and home of the fox.", "the fox is red.", 0.4),  # half of it, in no form
        ("tell the color and home of the fox.", "the fox is red brown in the forest.", 2 / 3 * 0.8),
        ("tell the color and home of the fox.", "the bear is red and lives in the forest.", 0.0),
        ("tell the color and home of the fox.", "it is red and lives in the forest.", 0.0),
        ("tell the color and home of the fox.", "the fox and bear is red in the forest.", 0.0),
        ("describe the cat by its food and size.", "the cat eats fish and is small.", 1.0),
    ],
)
def test_graded_by_hand(prompt: str, response: str, quality: float) -> None:
    assert world.quality(prompt, response, True) == pytest.approx(quality)


def assert_graded(problem: world.Problem, grades: dict[str, float]) -> None:
    for response, quality in grades.items():
        assert world.quality(problem.phrasings[0], response, True) == pytest.approx(quality), response


def test_reversals_graded_by_hand() -> None:
    problem = next(p for p in world.problems() if p.kind == "reverse")
    a, b, c = problem.phrasings[0].removeprefix("say ").removesuffix(" backwards.").split()
    grades = {
        f"{c} {b} {a}.": 1.0,
        f"{c} {b}.": 2 / 3 * 0.8,  # two of three words, not three
        f"{a} {b} {c}.": 1 / 3,  # only the middle is in its place, in the right form
        f"{c} {b} {a}": 0.6,
        f"{c} {b} {a} {a}.": 3 / 4 * 0.8,
        f"{c}, {b}, {a}.": 0.8,
        f"{a}.": 0.0,
    }
    assert_graded(problem, grades)


def test_sentences_graded_by_hand() -> None:
    problem = next(p for p in world.problems() if p.kind == "sentence")
    a, b = problem.phrasings[1].removeprefix("use ").removesuffix(" in a sentence.").split(" and ")
    grades = {
        f"the {a} sees the {b}.": 1.0,
        f"the big {b} has the red {a} near the cave.": 1.0,
        f"the {a} sees the {a}.": 0.5,
        f"the {a} sees {b}.": 0.8,  # not of the grammar
        f"the {a} is the {b}.": 0.8,
        f"the {a} sees the {b}": 0.6,
        f"{a} {b} " + "the " * 22 + ".": 0.5 * 0.8,  # 24 words, 12 too many
        "the spoons sees the words.": 0.0,
    }
    assert_graded(problem, grades)


def test_a_prompt_that_is_not_of_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="'what is 30 plus 4\\?' is not of the miniature world"):
        world.quality("what is 30 plus 4?", "34.", True)


def test_no_prompt_belongs_to_two_problems_or_splits() -> None:
    prompts = [prompt for split in world.SPLITS for _, prompt in world.split_prompts(split)]
    for values in (PROMPTS, [p.key for p in world.problems()], prompts):
        assert len(values) == len(set(values))


def test_training_has_all_problems_and_evaluation_three_quarters() -> None:
    keys = {split: {problem.key for problem, _ in world.split_prompts(split)} for split in world.SPLITS}
    assert (
        keys["train"]
        == keys["tune_train"]
        == keys["eval"] | keys["tune"]
        == {p.key for p in world.problems()}
    )
    assert not keys["eval"] & keys["tune"]
    assert abs(len(keys["eval"]) / len(keys["train"]) - 0.75) < 0.05


@pytest.mark.parametrize("count", [6, 20, 120])
def test_prompts_are_balanced_over_kinds_without_repeats(count: int) -> None:
    prompts = world.load_prompts("train", count, 0)
    kinds = Counter(world.problem_of(p.text).kind for p in prompts)
    assert len(prompts) == len({p.id for p in prompts}) == count
    assert set(kinds) == set(world.KINDS)
    assert max(kinds.values()) - min(kinds.values()) <= 1


def test_problems_with_one_right_answer_have_it_as_gold_answer() -> None:
    prompts = [p for p in world.load_prompts("train", 120, 0) if p.answer is not None]
    assert {world.quality(p.text, f"{p.answer}.", True) for p in prompts} == {1.0}
    assert {world.problem_of(p.text).kind for p in prompts} == {"arithmetic", "reverse", "recall"}


def test_too_many_prompts_of_a_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'tune' has \d+ prompts of kind '[a-z]+', but 1000 "):
        world.load_prompts("tune", 6000, 0)


def test_poor_responses_are_poor() -> None:
    rng = random.Random(3)
    every = world.problems()
    by_kind = {kind: [p for p in every if p.kind == kind] for kind in world.KINDS}
    responses = [world.poor_response(p, rng, by_kind[p.kind]) for p in every]
    grades = [world.quality(p.phrasings[0], r, True) for p, r in zip(every, responses, strict=True)]
    assert sum(grades) / len(grades) < 0.4
