"""Majority vote: cases graded by hand."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cme.rewards import MajorityVote


def vote(
    groups: list[list[str]], shares: list[float] | None = None, chatty: bool = False
) -> list[float | None]:
    size = len(groups[0])
    prompts = [f"prompt {i}" for i, group in enumerate(groups) for _ in group]
    said = [c for group in groups for c in group]
    completions = [[{"role": "assistant", "content": c}] for c in said] if chatty else said
    metrics = (lambda _, value: shares.append(value)) if shares is not None else None
    return MajorityVote("whole", size)(prompts, completions, [[1]] * len(prompts), log_metric=metrics)


@pytest.mark.parametrize("chatty", [False, True])
@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (["a", "b", "a", "c"], [1, 0, 1, 0]),
        (["A!", "b", "a.", " a "], [1, 0, 1, 1]),  # answers are compared normalised
        (["b", "a", "b", "a"], [1, 0, 1, 0]),  # a tie goes to the first given
        (["a", "b", "c", "d"], [1, 0, 0, 0]),
        (["c", "b", "a", "b"], [0, 1, 0, 1]),
        (["", "...", "a", ""], [0, 0, 1, 0]),  # the unparsable do not vote, though they are more
        (["", "?!", " ", "."], [None] * 4),  # nobody votes
        (["a", "a", "a", "a"], [1, 1, 1, 1]),
    ],
)
def test_one_group(group: list[str], expected: list[float | None], chatty: bool) -> None:
    assert vote([group], chatty=chatty) == expected


def test_groups_vote_by_themselves_and_the_share_of_voting_groups_is_logged() -> None:
    shares: list[float] = []
    found = vote([["a", "a", "b", "b"], ["b", "b", "b", "a"], ["", "", "", ""]], shares)
    assert found == [1, 1, 0, 0, 1, 1, 1, 0, None, None, None, None]
    assert shares == [pytest.approx((2 / 4 + 3 / 4) / 2)]


@given(st.lists(st.sampled_from(["a", "b", "c", "..."]), min_size=5, max_size=5))
def test_rewards_name_the_most_common_answer(group: list[str]) -> None:
    found = vote([group])
    parsed = [g for g in group if g != "..."]
    if not parsed:
        assert found == [None] * 5
        return
    winners = {g for g, r in zip(group, found, strict=True) if r == 1}
    assert len(winners) == 1
    assert Counter(parsed)[winners.pop()] == max(Counter(parsed).values())
    assert set(found) <= {0.0, 1.0}


def test_of_sixty_four_votes_the_first_thirty_two_are_trained() -> None:
    """The first half alone would elect `a`."""
    said = ["a"] * 20 + ["b"] * 10 + [""] * 2 + ["b"] * 30 + ["c"] * 2
    reward = MajorityVote("whole", 64, train_on=32)
    logged: dict[str, float] = {}
    found = reward(["p"] * 64, said, [[1]] * 64, log_metric=logged.__setitem__)
    assert found == [0.0] * 20 + [1.0] * 10 + [0.0] * 2 + [None] * 32
    assert logged == {"majority_share": 40 / 64}
    assert reward.left_out == 32


def test_a_group_that_nobody_votes_in_is_unscored_beyond_what_was_left_out() -> None:
    reward = MajorityVote("whole", 4, train_on=2)
    assert reward(["p"] * 4 + ["q"] * 4, ["", "", "", "", "a", "b", "b", "b"], [[1]] * 8) == [
        *[None] * 4,
        *[0.0, 1.0, None, None],
    ]
    assert reward.left_out == 4


@pytest.mark.parametrize("number", [-1, 0, 1, 5])
def test_a_number_to_train_on_that_a_group_does_not_have_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"train_on={number}"):
        MajorityVote("whole", 4, train_on=number)


def test_how_often_the_vote_is_right_is_logged_where_the_answer_is_known() -> None:
    said = ["Seven", "seven.", "eight", "", "b", "b", "c", "c", "x", "x", "x", "x", "", "", "", ""]
    right = ["SEVEN!"] * 4 + ["c"] * 4 + [None] * 4 + ["a"] * 4
    logged: dict[str, float] = {}
    prompts = [f"prompt {i // 4}" for i in range(16)]
    MajorityVote("whole", 4)(prompts, said, [[1]] * 16, answer=right, log_metric=logged.__setitem__)
    assert logged == {"majority_share": pytest.approx((2 + 2 + 4) / 12), "label_accuracy": 1 / 2}


def test_boxes_vote_by_what_is_in_them() -> None:
    said = ["\\boxed{7}", "so \\boxed{ 7 }", "7", "\\boxed{8}"]
    logged: dict[str, float] = {}
    reward = MajorityVote("boxed", 4)
    found = reward(["p"] * 4, said, [[1]] * 4, answer=["7"] * 4, log_metric=logged.__setitem__)
    assert found == [1, 1, 0, 0]
    assert logged == {"majority_share": 1 / 2, "label_accuracy": 1}


def test_a_group_that_is_not_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="6 completions do not make whole groups of 4"):
        MajorityVote("whole", 4)(["p"] * 6, ["a"] * 6, [[1]] * 6)


def test_a_group_of_two_prompts_is_refused() -> None:
    with pytest.raises(ValueError, match="mixes prompts"):
        MajorityVote("whole", 2)(["p", "p", "p", "q"], ["a"] * 4, [[1]] * 4)


def test_data_without_answers_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'none'"):
        MajorityVote("none", 4)


def test_votes_in_boxes_count_by_what_they_mean() -> None:
    said = [r"\boxed{2}", r"so \boxed{0.5}", r"\boxed{\frac{1}{2}}", "one half"]
    assert MajorityVote("boxed", 4)(["p"] * 4, said, [[1]] * 4) == [0, 1, 1, 0]


def test_votes_are_last_numbers() -> None:
    said = ["7. the fox is red.", "it is 7.0", "3 plus 4 is 8", "none"]
    assert MajorityVote("number", 4)(["p"] * 4, said, [[1]] * 4) == [1, 1, 0, 0]
