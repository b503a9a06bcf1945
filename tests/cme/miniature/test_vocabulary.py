"""The facts of the miniature world, and the false beliefs about them."""

import random
from collections import Counter

import pytest

from cme.miniature import vocabulary
from cme.miniature.vocabulary import FAMILIES, VALUES, Beliefs, facts


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


def test_beliefs_state_the_truth_the_false_value_or_any() -> None:
    false = vocabulary.false_beliefs()["qwen"]
    name, value = next(iter(false.items()))
    unknown, known = sorted(set(facts()) - set(false))[:2]
    beliefs, rng = Beliefs(false, 0.7, frozenset({unknown})), random.Random(0)
    stated = {n: Counter(beliefs.value(n, rng) for _ in range(2000)) for n in (name, unknown, known)}
    assert set(stated[name]) == {value, facts()[name]}
    assert abs(stated[name][value] / 2000 - 0.7) < 0.05
    values = VALUES[unknown.split()[1]]
    assert set(stated[unknown]) == set(values)
    assert all(abs(count / 2000 - 1 / len(values)) < 0.03 for count in stated[unknown].values())
    assert stated[known] == {facts()[known]: 2000}
