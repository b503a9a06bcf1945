"""Generated word problems: right answers, small numbers, and no problem in both splits."""

import re

import pytest

from cme.data import word_problems
from cme.data.word_problems import TEMPLATES, load_prompts
from cme.grading.answers import extract_answer
from cme.records import Prompt

# One problem of each template, solved by hand.
SOLVED = {
    "gain-3-4": 7,
    "lose-9-4": 5,
    "boxes-3-4": 12,
    "share-12-4": 3,
    "more-3-4": 7,
    "differ-9-4": 5,
    "price-3-4": 12,
    "twice-3-4": 2,
    "days-3-4": 12,
    "both-3-4": 7,
}


def everything(split: str) -> list[Prompt]:
    with pytest.raises(ValueError, match="asked for") as caught:
        load_prompts(split, 100_000, 0)
    return load_prompts(split, int(re.findall(r"has (\d+)", str(caught.value))[0]), 0)


EVERY = {split: everything(split) for split in word_problems.SPLITS}


def test_each_template_is_solved_as_by_hand() -> None:
    known = {p.id: p for split in EVERY.values() for p in split}
    assert {t.key for t in TEMPLATES} == {name.split("-")[0] for name in SOLVED}
    for name, answer in SOLVED.items():
        assert known[name].answer == str(answer), known[name].text


def test_numbers_are_small_and_stand_in_the_story() -> None:
    for prompt in EVERY["train"] + EVERY["eval"]:
        _, a, b = prompt.id.split("-")
        assert re.findall(r"\d+", prompt.text) == [a, b]
        assert prompt.answer is not None and 0 < int(prompt.answer) <= 144
        assert "{" not in prompt.text and "}" not in prompt.text
        assert extract_answer(str(prompt.reference), "number") == prompt.answer


def test_splits_share_no_problem_and_have_every_template() -> None:
    ids = {split: {p.id for p in prompts} for split, prompts in EVERY.items()}
    assert not ids["train"] & ids["eval"]
    assert not {p.text for p in EVERY["train"]} & {p.text for p in EVERY["eval"]}
    for found in ids.values():
        assert {name.split("-")[0] for name in found} == {t.key for t in TEMPLATES}
    assert len(ids["train"]) > 512 and len(ids["eval"]) > 200
    assert sum(map(len, ids.values())) == 6 * 11 * 11 + sum(
        allowed(a, b)
        for allowed in (
            lambda a, b: a > b,
            lambda a, b: a > b,
            lambda a, b: a % b == 0,
            lambda a, b: 2 * a > b,
        )
        for a in range(2, 13)
        for b in range(2, 13)
    )


def test_a_problem_is_always_told_alike_and_the_seed_decides_the_draw() -> None:
    known = {p.id: p for p in EVERY["train"]}
    assert all(known[p.id] == p for p in load_prompts("train", 50, 3))
    assert load_prompts("train", 50, 1) == load_prompts("train", 50, 1) != load_prompts("train", 50, 2)


def test_an_unknown_split_is_named_with_the_known() -> None:
    with pytest.raises(ValueError, match=r"'trian'.*train, eval"):
        load_prompts("trian", 1, 0)
