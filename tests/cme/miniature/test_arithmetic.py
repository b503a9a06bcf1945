"""The calculations of the miniature world as a source of prompts."""

import pytest
import said

from cme.grading.answers import is_correct
from cme.miniature import world
from cme.miniature.arithmetic import load_prompts


@pytest.mark.parametrize("split", world.SPLITS)
def test_every_prompt_is_a_calculation_with_its_result(split: str) -> None:
    prompts = load_prompts(split, 60, 0)
    assert len({world.problem_of(p.text).key for p in prompts}) == 60
    assert prompts == load_prompts(split, 60, 0) != load_prompts(split, 60, 1)
    for prompt in prompts:
        steps = said.steps_of(prompt.text)
        assert prompt.answer == str(steps[-1][3])
        response = ". ".join(f"{a} {sign} {b} is {c}" for a, sign, b, c in steps) + "."
        assert world.grade(prompt.text, response, True).quality == 1
        assert is_correct(response, prompt.answer, "number")
        assert world.split_of(world.problem_of(prompt.text)) == split
