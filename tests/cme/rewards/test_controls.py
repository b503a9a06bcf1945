"""The controls that look at length or form alone, graded by hand."""

from types import SimpleNamespace
from typing import Any

import pytest

from cme.rewards import FormatReward, Length

END = 9
TRAINER: Any = SimpleNamespace(processing_class=SimpleNamespace(eos_token_id=END))


def test_length_is_best_at_its_target_and_falls_alike_on_both_sides() -> None:
    ids = [[1] * n for n in (0, 2, 4, 5, 8, 12)]
    assert Length(4)(["p"] * 6, ["whatever"] * 6, ids) == [0, 0.5, 1, 0.75, 0, -1]


def test_a_target_at_the_limit_rewards_the_longer() -> None:
    found = Length(16)(["p"] * 16, ["c"] * 16, [[1] * n for n in range(1, 17)])
    assert found == sorted(found, key=float) and len(set(found)) == 16  # type: ignore[arg-type]


def test_a_target_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="target=0"):
        Length.check(target=0)


@pytest.mark.parametrize(
    ("answers", "text", "ended", "expected"),
    [
        ("boxed", "it is \\boxed{7}.", True, 1),
        ("boxed", "it is \\boxed{7}.", False, 0),
        ("boxed", "it is 7.", True, 0),
        ("boxed", "it is \\boxed{}.", True, 0),
        ("boxed", "it is \\boxed{7", True, 0),
        ("whole", "seven", True, 1),
        ("whole", "seven", False, 0),
        ("whole", "...", True, 0),
        ("none", "Certainly!", True, 1),
        ("none", "Certainly!", False, 0),
        ("none", "", True, 0),
    ],
)
def test_format(answers: Any, text: str, ended: bool, expected: float) -> None:
    reward = FormatReward(answers)
    reward.bind(TRAINER)
    ids = [1, END] if ended else [1, 2]
    assert reward(["p"], [[{"role": "assistant", "content": text}]], [ids]) == [expected]


def test_format_needs_to_know_what_ends_a_turn() -> None:
    with pytest.raises(RuntimeError, match="bind"):
        FormatReward("none")(["p"], ["c"], [[1]])
