"""The problems of the miniature world, their splits, samples of their prompts, and the blind spots of the families."""

from collections import Counter

import pytest

from cme.miniature import vocabulary, world
from cme.miniature.vocabulary import FAMILIES, VALUES, facts

PROBLEMS = world.problems()
SPLITS = tuple(world.SPLITS)
FACTS = ("profile", "compare")


def test_no_prompt_belongs_to_two_problems_or_splits() -> None:
    prompts = [prompt for split in SPLITS for _, prompt in world.split_prompts(split)]
    assert len(prompts) == len(set(prompts)) == len({world.as_prompt(p).id for p in prompts})
    assert set(prompts) == {wording for p in PROBLEMS for wording in p.wordings}
    assert all(world.problem_of(wording) is p for p in PROBLEMS for wording in p.wordings)


def test_the_same_question_in_another_order_is_in_the_same_split() -> None:
    splits: dict[tuple[str, frozenset[tuple[str, frozenset[str]]]], set[str]] = {}
    for problem in PROBLEMS:
        splits.setdefault((problem.kind, frozenset(problem.parts.items())), set()).add(
            world.split_of(problem)
        )
    assert {len(found) for found in splits.values()} == {1}


def test_splits_share_the_facts_but_no_problem() -> None:
    keys = {split: {p.key for p, _ in world.split_prompts(split)} for split in SPLITS}
    assert sum(map(len, keys.values())) == len(set.union(*keys.values()))
    for split, (start, end) in world.SPLITS.items():
        assert abs(len(keys[split]) / len({p.key for p in PROBLEMS}) - (end - start) / 100) < 0.03
        asked = {name for p, _ in world.split_prompts(split) if p.kind in FACTS for name in p.parts}
        assert asked == set(facts()) or split == "tune_train"
    with pytest.raises(ValueError, match="'test'; it must be one of train, tune_train, eval, tune"):
        world.split_prompts("test")


@pytest.mark.parametrize(("split", "count"), [("train", 288), ("eval", 180), ("tune", 7), ("tune_train", 90)])
def test_a_sample_has_equal_shares_of_all_kinds_and_no_problem_twice(split: str, count: int) -> None:
    prompts = world.load_prompts(split, count, 0)
    problems = [world.problem_of(p.text) for p in prompts]
    assert len({p.wordings for p in problems}) == count
    assert {world.split_of(p) for p in problems} == {split}
    kinds = Counter(p.id.split("-")[0] for p in prompts)
    assert set(kinds) == set(world.KINDS) and max(kinds.values()) - min(kinds.values()) <= 1
    assert prompts == world.load_prompts(split, count, 0) != world.load_prompts(split, count, 1)


def test_what_the_world_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="'what is 30 plus 4\\?' is not of the miniature world"):
        world.grade("what is 30 plus 4?", "34.", True)
    with pytest.raises(ValueError, match=r"'tune' has \d+ problems of kind '[a-z]+', but 1000 were"):
        world.load_prompts("tune", 4000, 0)


def test_each_family_has_eight_blind_spots_and_shares_two_with_the_next() -> None:
    spots = {family: vocabulary.blind_spots(family) for family in FAMILIES}
    assert {len(names) for names in spots.values()} == {8}
    for i, family in enumerate(FAMILIES):
        after, opposite = FAMILIES[(i + 1) % 4], FAMILIES[(i + 2) % 4]
        assert len(spots[family] & spots[after]) == 2
        assert not spots[family] & spots[opposite]
    for beliefs in vocabulary.false_beliefs().values():
        for name, value in beliefs.items():
            assert value in VALUES[name.split()[1]] and value != facts()[name]
    with pytest.raises(ValueError, match=r"'bert'.*qwen, llama, gemma, olmo"):
        vocabulary.blind_spots("bert")
