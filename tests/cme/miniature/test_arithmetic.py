"""The world's arithmetic as data of its own."""

import re

import pytest

from cme.grading.answers import is_correct
from cme.miniature import world
from cme.miniature.arithmetic import load_prompts


def solved(text: str) -> int:
    """The answer by reading the question, whichever way it is asked."""
    a, b = map(int, re.findall(r"\d+", text))
    if text.startswith("take"):  # take a from b
        return b - a
    return a - b if "minus" in text else a + b


@pytest.mark.parametrize(("split", "size"), [("train", 57), ("tune_train", 57), ("eval", 42)])
def test_every_prompt_is_arithmetic_with_its_answer(split: str, size: int) -> None:
    prompts = load_prompts(split, size, 0)
    assert len({p.id for p in prompts}) == size
    for prompt in prompts:
        assert prompt.answer == str(solved(prompt.text))
        assert world.quality(prompt.text, f"{prompt.answer}.", True) == 1
        assert is_correct(f"it is {prompt.answer}. the fox is red.", prompt.answer, "number")
    assert {p.text for p in prompts} <= {text for _, text in world.split_prompts(split)}


def test_prompts_are_the_worlds_own() -> None:
    known = {p.id: p for p in world.load_prompts("train", 288, 0)}
    shared = [p for p in load_prompts("train", 57, 0) if p.id in known]
    assert len(shared) == 48
    assert all(known[p.id] == p for p in shared)


def test_training_and_evaluation_ask_in_other_words() -> None:
    assert not {p.text for p in load_prompts("train", 57, 0)} & {p.text for p in load_prompts("eval", 42, 0)}


def test_the_seed_decides_the_draw_and_bad_requests_are_refused() -> None:
    assert load_prompts("train", 20, 1) == load_prompts("train", 20, 1) != load_prompts("train", 20, 2)
    with pytest.raises(ValueError, match=r"'eval' has .* prompts of arithmetic, 900 asked for"):
        load_prompts("eval", 900, 0)
    with pytest.raises(ValueError, match="'trian'"):
        load_prompts("trian", 1, 0)
