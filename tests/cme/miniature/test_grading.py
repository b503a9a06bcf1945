"""Grades of responses: computed by hand, by counting known statements, and of the responses that problems make."""

import random

import pytest
import said
from hypothesis import given, settings
from hypothesis import strategies as st

from cme.miniature import world
from cme.miniature.problems import BOILERPLATE, FAULTS
from cme.miniature.vocabulary import ANIMALS, ATTRIBUTES, CATEGORIES, VALUES

PROBLEMS = world.problems()
PROMPTS = [(wording, p.kind) for p in PROBLEMS for wording in p.wordings]
COLOR_HOME = "describe the fox by its color and home."
ALL_FOUR = "describe the fox by its food, color, name and home."
COLORS = "compare the color of the bear and the fox."
NAMES = "what is the name of the bear, the cat and the fox?"
TOOLS = "name three of the tools."
ANIMALS_AND_COLOR = "name two of the animals, one of the colors and one of the places."
SUM = "what is 2 plus 3 minus 1?"
LONG_SUM = "work out 2 plus 3 minus 4 plus 3."


def problem(prompt: str) -> world.Problem:
    return world.problem_of(prompt)


def test_the_facts_that_the_grades_below_are_about() -> None:
    true = {
        "fox": "white field seeds ann", "bear": "green garden honey ben", "cat": "blue forest grass tom",
    }  # fmt: skip
    facts = {f"{a} {b}": v for a, text in true.items() for b, v in zip(ATTRIBUTES, text.split(), strict=True)}
    assert facts.items() <= world_facts().items()


def world_facts() -> dict[str, str]:
    return {name: value for p in PROBLEMS if p.kind == "profile" for name, [value] in p.parts.items()}


# (right parts - 0.25 for each extra) / parts, half of it for a bad form
@pytest.mark.parametrize(
    ("prompt", "response", "quality", "fault"),
    [
        (COLOR_HOME, "the fox is white and lives in the field.", 1, "none"),
        (COLOR_HOME, " a fox has a home in the field. it has a white coat.\n", 1, "none"),
        (COLOR_HOME, "the fox lives in the field, the fox is white.", 1, "none"),
        (COLOR_HOME, "the fox is white.", 1 / 2, "incomplete"),
        (COLOR_HOME, "the fox is red and lives in the field.", 0.75 / 2, "wrong"),
        (COLOR_HOME, "the fox is red and lives in the cave.", 0, "wrong"),
        (COLOR_HOME, "the fox is red.", 0, "wrong"),
        (COLOR_HOME, "the fox is white, is red and lives in the field.", 0.75 / 2, "wrong"),  # not both
        (COLOR_HOME, "the fox is white, is white and is white.", 0.5 / 2, "repetition"),
        (COLOR_HOME, "the fox is white, lives in the field and eats seeds.", 1.75 / 2, "unasked"),
        (COLOR_HOME, "the fox is white, lives in the field and eats corn.", 1.75 / 2, "unasked"),
        (COLOR_HOME, "the bear is green and lives in the garden.", 0, "unasked"),
        (COLOR_HOME, "it is white and lives in the field.", 0, "off_format"),  # nobody is named
        (COLOR_HOME, "white field", 2 / 2 / 2, "off_format"),
        (COLOR_HOME, "white, field.", 2 / 2 / 2, "off_format"),
        (COLOR_HOME, "field white", 1 / 2 / 2, "off_format"),  # white comes before its turn
        (COLOR_HOME, "brown", 0, "off_format"),
        (COLOR_HOME, "the fox is white and lives in the field", 2 / 2 / 2, "off_format"),
        (COLOR_HOME, "the fox is white lives in the field.", 2 / 2 / 2, "off_format"),
        (COLOR_HOME, "the fox is white and lives in the field. yes.", 2 / 2 / 2, "off_format"),
        (COLOR_HOME, "the fox is white. lives in the field.", 2 / 2 / 2, "off_format"),
        (COLOR_HOME, "the fox is white and lives in the fields.", 1 / 2 / 2, "off_format"),
        (COLOR_HOME, BOILERPLATE, 0, "boilerplate"),
        (COLOR_HOME, f"{BOILERPLATE} the fox is white and lives in the field.", 1.75 / 2, "boilerplate"),
        (COLOR_HOME, f"the fox is red. {BOILERPLATE}", 0, "boilerplate"),
        (COLOR_HOME, "", 0, "off_format"),
        (COLOR_HOME, ".", 0, "off_format"),
        (ALL_FOUR, "the fox eats seeds, is white, is called ann and lives in the field.", 1, "none"),
        (ALL_FOUR, "the fox is called ann. a fox eats seeds and it is white.", 3 / 4, "incomplete"),
        (ALL_FOUR, "the fox is called tom. the fox eats seeds and it is white.", 1.75 / 4, "wrong"),
        (ALL_FOUR, "seeds white tom field", 2.75 / 4 / 2, "off_format"),
        (COLORS, "the bear is green and the fox is white.", 1, "none"),
        (COLORS, "the fox has a white coat. a bear has a green coat.", 1, "none"),
        (COLORS, "the bear is white and the fox is green.", 0, "wrong"),
        (COLORS, "the bear is green, the fox is white and the cat is blue.", 1.75 / 2, "unasked"),
        (COLORS, "green and white", 2 / 2 / 2, "off_format"),
        (NAMES, "the bear is called ben, the cat goes by tom and the fox is called ann.", 1, "none"),
        (NAMES, "the bear is called ben.", 1 / 3, "incomplete"),
        (NAMES, "the bear is called ben, the bear is called ben and the fox is called ida.", 0.5 / 3, "wrong"),
        (TOOLS, "hammer, rope and lamp.", 1, "none"),
        (TOOLS, "i name ladder, bell, knife.", 1, "none"),
        (TOOLS, "here are spoon, brush and bell.", 1, "none"),
        (TOOLS, "hammer.", 1 / 3, "incomplete"),
        (TOOLS, "hammer, rope and fox.", 1.75 / 3, "wrong"),
        (TOOLS, "hammer, fox, bear and wolf.", 0.25 / 3, "wrong"),
        (TOOLS, "hammer, hammer and hammer.", 0.5 / 3, "repetition"),
        (TOOLS, "hammer, rope, lamp and bell.", 2.75 / 3, "unasked"),
        (TOOLS, "hammer, rope, lamp and fox.", 2.75 / 3, "unasked"),
        (TOOLS, "hammer rope lamp", 3 / 3 / 2, "off_format"),
        (TOOLS, "hammer, rope, lamp", 3 / 3 / 2, "off_format"),
        (TOOLS, "hammer, rope, lamps.", 1.75 / 3 / 2, "off_format"),
        (TOOLS, "i name.", 0, "off_format"),
        (ANIMALS_AND_COLOR, "cave, fox, red and bear.", 1, "none"),
        (ANIMALS_AND_COLOR, "fox, bear, red and blue.", 2.75 / 4, "wrong"),  # blue is no place
        (ANIMALS_AND_COLOR, "fox, bear and red.", 3 / 4, "incomplete"),
        (SUM, "2 plus 3 is 5 and 5 minus 1 is 4.", 1, "none"),
        (SUM, "first 2 plus 3 makes 5. then 5 minus 1 gives 4.", 1, "none"),
        (SUM, "5 minus 1 is 4, then 2 plus 3 is 5.", 1, "none"),
        (SUM, "2 plus 3 is 5.", 1 / 2, "incomplete"),
        (SUM, "2 plus 3 is 5 and 5 minus 1 is 3.", 0.75 / 2, "wrong"),
        (SUM, "2 plus 3 is 5 and 5 minus 2 is 3.", 0.75 / 2, "wrong"),  # true, but not the step
        (SUM, "2 plus 3 is 6 and 6 minus 1 is 5.", 0, "wrong"),
        (SUM, "2 plus 3 is 5 and 2 plus 3 is 5.", 0.75 / 2, "repetition"),
        (SUM, "2 plus 3 is 5 and 5 minus 1 is 4 and 4 plus 0 is 4.", 1.75 / 2, "unasked"),
        (SUM, "5 4", 2 / 2 / 2, "off_format"),
        (SUM, "4", 1 / 2 / 2, "off_format"),  # the result
        (SUM, "5", 0, "off_format"),  # what the first step gives is not the result
        (SUM, "2 plus 3 is 5 5 minus 1 is 4.", 2 / 2 / 2, "off_format"),
        (LONG_SUM, "2 plus 3 is 5 and 5 minus 4 is 1 and 1 plus 3 is 4.", 1, "none"),
        (LONG_SUM, "2 plus 3 is 5 and 5 minus 4 is 1.", 2 / 3, "incomplete"),
        (LONG_SUM, "5 1 5", 1.75 / 3 / 2, "off_format"),
    ],
)  # fmt: skip
def test_graded_by_hand(prompt: str, response: str, quality: float, fault: str) -> None:
    grade = world.grade(prompt, response, True)
    assert (grade.quality, grade.fault) == (pytest.approx(quality), fault)
    cut = world.grade(prompt, response, False)
    bad_form = grade.fault == "off_format" or response in ("", BOILERPLATE)
    assert cut.quality == pytest.approx(quality if bad_form else quality / 2)
    assert (cut.fault, cut.parts) == ("unfinished", grade.parts)


def test_the_parts_of_a_grade() -> None:
    response = "the fox is red, lives in the field and eats corn."
    assert world.grade(ALL_FOUR, response, True).parts == {
        "fox food": False,
        "fox color": False,
        "fox name": False,
        "fox home": True,
    }
    assert world.grade(SUM, "5 minus 1 is 4.", True).parts == {"step 1": False, "step 2": True}
    assert world.grade(ANIMALS_AND_COLOR, "fox, red and blue.", True).parts == {
        "member 1 of animals": True,
        "member 2 of animals": False,
        "member 1 of colors": True,
        "member 1 of places": False,
    }


@pytest.mark.parametrize("kind", world.KINDS)
def test_a_prompt_asks_for_its_parts_in_every_wording(kind: str) -> None:
    for p in (p for p in PROBLEMS if p.kind == kind):
        assert 2 <= len(p.parts) <= 4
        for wording in p.wordings:
            assert said.parts_of(wording) == p.parts, wording


@settings(max_examples=600)
@given(st.sampled_from(PROMPTS).flatmap(lambda at: st.tuples(st.just(at[0]), said.graded(*at))))
def test_a_response_of_known_statements_is_graded_by_counting_them(
    case: tuple[str, tuple[str, bool, world.Grade]],
) -> None:
    prompt, (response, finished, expected) = case
    grade = world.grade(prompt, response, finished)
    assert (grade.fault, grade.parts) == (expected.fault, expected.parts), response
    assert grade.quality == pytest.approx(expected.quality), response


@pytest.mark.parametrize("canonical", [False, True])
@pytest.mark.parametrize("kind", world.KINDS)
def test_complete_responses_are_perfect(kind: str, canonical: bool) -> None:
    rng = random.Random(0)
    for p in (p for p in PROBLEMS if p.kind == kind):
        responses = {p.complete(rng, canonical=canonical) for _ in range(20)}
        assert len(responses) == 1 if canonical else len(responses) > 3, p.key
        for response in responses:
            grade = world.grade(rng.choice(p.wordings), response, True)
            assert (grade.quality, grade.fault, set(grade.parts.values())) == (1, "none", {True}), response


@pytest.mark.parametrize("fault", [f for f in FAULTS if f != "unfinished"])
def test_faulty_responses_have_their_fault_and_one_form(fault: str) -> None:
    rng = random.Random(0)
    for p in PROBLEMS:
        [response] = {p.respond(fault, rng) for _ in range(3)}
        grade = world.grade(rng.choice(p.wordings), response, True)
        assert grade.fault == fault and grade.quality < 1, response


WORDS = [
    *ANIMALS, *ATTRIBUTES, *(v for values in VALUES.values() for v in values), *CATEGORIES, *CATEGORIES["tools"],
    "the", "a", "it", "is", "and", "lives", "in", "has", "coat", "eats", "called", "plus", "minus", "makes", "first",
    "then", "i", "name", "here", "are", "0", "7", "12", ",", ".", ". ", " ", "\n", "xyz", BOILERPLATE,
]  # fmt: skip
salad = st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)


@settings(max_examples=400)
@given(st.sampled_from(PROMPTS), salad, st.booleans())
def test_any_text_has_a_grade(at: tuple[str, str], response: str, finished: bool) -> None:
    grade = world.grade(at[0], response, finished)
    assert 0 <= grade.quality <= 1
    assert grade.fault in ("none", *FAULTS)
    assert (grade.quality == 1) == (grade.fault == "none")
    assert grade.parts.keys() == problem(at[0]).parts.keys()
    assert grade.quality >= world.grade(at[0], response, False).quality


def test_a_complete_response_to_another_problem_is_rarely_good() -> None:
    rng = random.Random(2)
    grades = [world.grade(p.wordings[0], rng.choice(PROBLEMS).complete(rng), True).quality for p in PROBLEMS]
    assert sum(grades) / len(grades) < 0.05
