"""Generated word problems: correct answers and small numbers."""

import re

from samples import all_prompts

from cme.data.word_problems import HARD_TEMPLATES, TEMPLATES, load_prompts
from cme.grading.answers import extract_answer

# one problem of each template, solved by hand
SOLVED = {
    "gain-3-4": 7, "lose-9-4": 5, "boxes-3-4": 12, "share-12-4": 3, "more-3-4": 7, "differ-9-4": 5, "price-3-4": 12,
    "twice-3-4": 2, "days-3-4": 12, "both-3-4": 7,
}  # fmt: skip
# 240 - 15; 65 + 40; 150 - 60; 10 + 30; 17 * 15; 20 + 5; 20 - 15 + 30; 20 + 35
HARD_SOLVED = {
    "packs-20-15": 225, "week-13-20": 105, "change-20-15": 90, "half-20-15": 40, "rows-20-15": 255,
    "together-20-15": 25, "bus-20-15": 35, "games-20-15": 55,
}  # fmt: skip
ALL = {split: all_prompts(load_prompts, split) for split in ("train", "eval")}


def test_one_problem_of_each_template_by_hand() -> None:
    known = {prompt.id: prompt for prompts in ALL.values() for prompt in prompts}
    assert {template.key for template in TEMPLATES} == {name.split("-")[0] for name in SOLVED}
    assert {name: known[name].answer for name in SOLVED} == {name: str(n) for name, n in SOLVED.items()}


def test_one_hard_problem_of_each_template_by_hand() -> None:
    known = {prompt.id: prompt for prompt in all_prompts(load_prompts, "hard")}
    assert [template.key for template in HARD_TEMPLATES] == [name.split("-")[0] for name in HARD_SOLVED]
    assert {name: known[name].answer for name in HARD_SOLVED} == {
        name: str(n) for name, n in HARD_SOLVED.items()
    }
    assert len(load_prompts("hard", 300, 0)) == 300
    texts = {prompt.text for prompt in known.values()}
    assert len(texts) == len(known) and not texts & {prompt.text for s in ALL.values() for prompt in s}
    assert all(int(str(prompt.answer)) > 0 for prompt in known.values())


def test_the_numbers_of_a_problem_are_small_and_in_its_story() -> None:
    for prompt in ALL["train"] + ALL["eval"]:
        _, a, b = prompt.id.split("-")
        assert re.findall(r"\d+", prompt.text) == [a, b]
        assert prompt.answer is not None and 0 < int(prompt.answer) <= 144
        assert "{" not in prompt.text and "}" not in prompt.text
        assert extract_answer(str(prompt.reference), "number") == prompt.answer


def test_both_splits_have_every_template_and_together_every_problem() -> None:
    ids = {split: {prompt.id for prompt in prompts} for split, prompts in ALL.items()}
    assert not ids["train"] & ids["eval"]
    assert all({name.split("-")[0] for name in found} == {t.key for t in TEMPLATES} for found in ids.values())
    assert len(ids["train"]) > 512 and len(ids["eval"]) > 200
    numbers = [(a, b) for a in range(2, 13) for b in range(2, 13)]
    restricted = sum(2 * (a > b) + (a % b == 0) + (2 * a > b) for a, b in numbers)
    assert sum(map(len, ids.values())) == 6 * len(numbers) + restricted


def test_a_problem_has_the_same_text_in_every_sample() -> None:
    known = {prompt.id: prompt for prompt in ALL["train"]}
    assert all(known[prompt.id] == prompt for prompt in load_prompts("train", 50, 3))
