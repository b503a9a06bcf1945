"""Preference pairs of the world, graded by its oracle."""

import pytest

from cme.miniature import world
from cme.miniature.preferences import load_pairs
from cme.miniature.problems import FAULTS
from cme.records import Prompt

PROMPTS = world.load_prompts("train", 288, 0)


def test_the_chosen_response_is_perfect_and_the_rejected_one_has_a_fault() -> None:
    pairs = load_pairs(PROMPTS, 0)
    assert [p.prompt for p in pairs] == PROMPTS
    grades = [[world.grade(p.prompt.text, r, True) for r in (p.chosen, p.rejected)] for p in pairs]
    assert all(better.quality == 1 > worse.quality for better, worse in grades)
    faults = [worse.fault for _, worse in grades]
    assert set(faults) == {*FAULTS} - {"unfinished"}
    assert all(abs(faults.count(fault) / len(faults) - 1 / 6) < 0.07 for fault in set(faults))


def test_a_pair_depends_only_on_prompt_and_seed() -> None:
    assert load_pairs(PROMPTS, 3) == load_pairs(PROMPTS, 3) != load_pairs(PROMPTS, 4)
    assert load_pairs(PROMPTS[5:9], 3) == load_pairs(PROMPTS, 3)[5:9]


def test_a_prompt_that_is_not_of_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="write a poem"):
        load_pairs([Prompt("x", "write a poem")], 0)
