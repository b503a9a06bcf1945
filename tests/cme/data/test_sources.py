"""What all offline sources of prompts have in common: splits, seeds, sizes."""

import pytest
from samples import Source, all_prompts

from cme.data import instructions, word_problems
from cme.miniature import arithmetic, world

SOURCES = [module.load_prompts for module in (instructions, word_problems, world, arithmetic)]
each_source = pytest.mark.parametrize("load_prompts", SOURCES, ids=lambda source: source.__module__)


@each_source
def test_an_unknown_split_is_refused_with_the_known_ones(load_prompts: Source) -> None:
    with pytest.raises(ValueError, match=r"'trian'.*train, eval"):
        load_prompts("trian", 6, 0)


@each_source
@pytest.mark.parametrize("split", ["train", "eval"])
def test_more_prompts_than_there_are_are_refused(load_prompts: Source, split: str) -> None:
    with pytest.raises(ValueError, match=rf"'{split}' has \d+ .*\d+ were asked for"):
        load_prompts(split, 100_000, 0)


@each_source
def test_the_seed_decides_the_sample(load_prompts: Source) -> None:
    assert load_prompts("train", 30, 1) == load_prompts("train", 30, 1) != load_prompts("train", 30, 2)
    assert len({prompt.id for prompt in load_prompts("train", 30, 1)}) == 30


@each_source
def test_training_and_evaluation_share_no_prompt(load_prompts: Source) -> None:
    train, evaluation = ({p.text for p in all_prompts(load_prompts, split)} for split in ("train", "eval"))
    assert train and evaluation and not train & evaluation
