"""Grades of responses: computed by hand, by counting known statements, and of the responses that problems make."""

import random

import pytest
import said
from hypothesis import given, settings
from hypothesis import strategies as st

from cme.miniature import fact_problems, world
from cme.miniature.fact_problems import Compare, Profile
from cme.miniature.list_problems import Listing
from cme.miniature.problems import BOILERPLATE, FAULTS, Problem
from cme.miniature.sum_problems import Sum
from cme.miniature.vocabulary import ANIMALS, ATTRIBUTES, CATEGORIES, VALUES
from cme.records import Grade

PROBLEMS = world.problems()
PROMPTS = [(wording, p.kind) for p in PROBLEMS for wording in p.wordings]
COLOR_HOME = Profile("", (), (("fox", "color"), ("fox", "home")))
ALL_FOUR = Profile("", (), (("fox", "food"), ("fox", "color"), ("fox", "name"), ("fox", "home")))
COLORS = Compare("", (), (("bear", "color"), ("fox", "color")))
NAMES = Compare("", (), (("bear", "name"), ("cat", "name"), ("fox", "name")))
TOOLS = Listing("", (), (("tools", 3),))
ANIMALS_COLOR_PLACE = Listing("", (), (("animals", 2), ("colors", 1), ("places", 1)))
SUM = Sum("", (), ((2, "plus", 3, 5), (5, "minus", 1, 4)))
LONG_SUM = Sum("", (), ((2, "plus", 3, 5), (5, "minus", 4, 1), (1, "plus", 3, 4)))
TRUTH = {
    "fox color": "white", "fox home": "field", "fox food": "seeds", "fox name": "ann",
    "bear color": "green", "bear name": "max", "cat color": "black", "cat name": "tom",
}  # fmt: skip


@pytest.fixture
def known_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts that the grades by hand are about."""
    monkeypatch.setattr(fact_problems, "facts", lambda: TRUTH)


# (right parts - 0.25 for each extra) / parts, half of it for a bad form
@pytest.mark.parametrize(
    ("asked", "response", "quality", "fault"),
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
        (COLOR_HOME, "the bear is green and lives in the house.", 0, "unasked"),
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
        (COLORS, "the bear is green, the fox is white and the cat is black.", 1.75 / 2, "unasked"),
        (COLORS, "green and white", 2 / 2 / 2, "off_format"),
        (NAMES, "the bear is called max, the cat goes by tom and the fox is called ann.", 1, "none"),
        (NAMES, "the bear is called max.", 1 / 3, "incomplete"),
        (NAMES, "the bear is called max, the bear is called max and the fox is called eva.", 0.5 / 3, "wrong"),
        (TOOLS, "hammer, rope and lamp.", 1, "none"),
        (TOOLS, "i name spoon, bell, brush.", 1, "none"),
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
        (ANIMALS_COLOR_PLACE, "cave, fox, red and bear.", 1, "none"),
        (ANIMALS_COLOR_PLACE, "fox, bear, red and green.", 2.75 / 4, "wrong"),  # green is no place
        (ANIMALS_COLOR_PLACE, "fox, bear and red.", 3 / 4, "incomplete"),
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
@pytest.mark.usefixtures("known_facts")
def test_graded_by_hand(asked: Problem, response: str, quality: float, fault: str) -> None:
    grade = asked.grade(response, True)
    assert (grade.quality, grade.fault) == (pytest.approx(quality), fault)
    cut = asked.grade(response, False)
    bad_form = grade.fault == "off_format" or response in ("", BOILERPLATE)
    assert cut.quality == pytest.approx(quality if bad_form else quality / 2)
    assert (cut.fault, cut.parts) == ("unfinished", grade.parts)


@pytest.mark.usefixtures("known_facts")
def test_the_parts_of_a_grade() -> None:
    response = "the fox is red, lives in the field and eats corn."
    assert ALL_FOUR.grade(response, True).parts == {
        "fox food": False,
        "fox color": False,
        "fox name": False,
        "fox home": True,
    }
    assert SUM.grade("5 minus 1 is 4.", True).parts == {"step 1": False, "step 2": True}
    assert ANIMALS_COLOR_PLACE.grade("fox, red and blue.", True).parts == {
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


@settings(max_examples=300)
@given(st.sampled_from(PROMPTS).flatmap(lambda at: st.tuples(st.just(at[0]), said.graded(*at))))
def test_a_response_of_known_statements_is_graded_by_counting_them(
    case: tuple[str, tuple[str, bool, Grade]],
) -> None:
    prompt, (response, finished, expected) = case
    grade = world.grade(prompt, response, finished)
    assert (grade.fault, grade.parts) == (expected.fault, expected.parts), response
    assert grade.quality == pytest.approx(expected.quality), response


@pytest.mark.parametrize("canonical", [False, True])
@pytest.mark.parametrize("kind", world.KINDS)
def test_complete_responses_are_perfect(kind: str, canonical: bool) -> None:
    rng = random.Random(0)
    for p in [p for p in PROBLEMS if p.kind == kind][::3]:
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


@settings(max_examples=200)
@given(st.sampled_from(PROMPTS), salad, st.booleans())
def test_any_text_has_a_grade(at: tuple[str, str], response: str, finished: bool) -> None:
    grade = world.grade(at[0], response, finished)
    assert 0 <= grade.quality <= 1
    assert grade.fault in ("none", *FAULTS)
    assert (grade.quality == 1) == (grade.fault == "none")
    assert grade.parts.keys() == world.problem_of(at[0]).parts.keys()
    assert grade.quality >= world.grade(at[0], response, False).quality


def test_a_complete_response_to_another_problem_is_rarely_good() -> None:
    rng = random.Random(2)
    grades = [world.grade(p.wordings[0], rng.choice(PROBLEMS).complete(rng), True).quality for p in PROBLEMS]
    assert sum(grades) / len(grades) < 0.05
