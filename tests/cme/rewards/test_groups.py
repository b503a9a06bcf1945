"""Groups and clusters, by hand and against a slow rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cme.rewards.groups import greedy_clusters, group_slices


def test_groups_lie_side_by_side() -> None:
    prompts = ["a", "a", "b", "b", "a", "a"]  # the same prompt may come again
    assert [prompts[group] for group in group_slices(prompts, 2)] == [["a", "a"], ["b", "b"], ["a", "a"]]
    assert group_slices([], 4) == []


@pytest.mark.parametrize(
    ("prompts", "size", "named"),
    [
        (["p"] * 6, 4, "6 completions do not make whole groups of 4"),
        (["p", "p", "p", "q"], 2, "completion 2 mixes"),
    ],
)
def test_groups_that_are_not_whole_are_refused(prompts: list[str], size: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        group_slices(prompts, size)


def test_a_chain_is_cut_where_the_first_member_is_far() -> None:
    near = lambda a, b: abs(a - b) <= 1  # noqa: E731
    assert greedy_clusters([0, 1, 2, 3], near) == [0, 0, 1, 1]
    assert greedy_clusters([1, 0, 2, 3], near) == [0, 0, 0, 1]
    assert greedy_clusters([], near) == []


@given(st.lists(st.integers(0, 5)))
def test_equals_share_a_number_and_numbers_come_in_order(items: list[int]) -> None:
    found = greedy_clusters(items, int.__eq__)
    order = list(dict.fromkeys(items))
    assert found == [order.index(item) for item in items]
