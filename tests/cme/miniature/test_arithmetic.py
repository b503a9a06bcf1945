"""The arithmetic of the miniature world as a source of its own."""

import re

import pytest

from cme.grading.answers import is_correct
from cme.miniature import world
from cme.miniature.arithmetic import load_prompts


def solve(text: str) -> int:
    """The answer by reading the question in any of its wordings."""
    a, b = map(int, re.findall(r"\d+", text))
    if text.startswith("take"):  # take a from b
        return b - a
    return a - b if "minus" in text else a + b


@pytest.mark.parametrize(("split", "size"), [("train", 57), ("tune_train", 57), ("eval", 42)])
def test_every_prompt_is_arithmetic_with_its_answer(split: str, size: int) -> None:
    prompts = load_prompts(split, size, 0)
    assert len({p.id for p in prompts}) == size
    for prompt in prompts:
        assert prompt.answer == str(solve(prompt.text))
        assert world.quality(prompt.text, f"{prompt.answer}.", True) == 1
        assert is_correct(f"it is {prompt.answer}. the fox is red.", prompt.answer, "number")
    assert {p.text for p in prompts} <= {text for _, text in world.split_prompts(split)}


def test_prompts_are_those_of_the_world() -> None:
    known = {p.id: p for p in world.load_prompts("train", 288, 0)}
    shared = [p for p in load_prompts("train", 57, 0) if p.id in known]
    assert len(shared) == 48
    assert all(known[p.id] == p for p in shared)
