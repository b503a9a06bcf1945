"""What all rewards have in common, and the two that ignore the policy: random and ground truth."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cme import rewards
from cme.rewards import (
    CrossModelEntropy,
    FormatReward,
    GroundTruth,
    Length,
    MajorityVote,
    RandomReward,
    ReverseKL,
    Reward,
    SelfCertainty,
    SemanticEntropy,
    TokenEntropy,
)

END = 9
TRAINER: Any = SimpleNamespace(processing_class=SimpleNamespace(eos_token_id=END))


def message(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def test_no_reward_is_a_module_and_each_has_a_name(tiny_folder: Callable[..., Path]) -> None:
    made = [
        CrossModelEntropy(str(tiny_folder("qwen"))),
        FormatReward("none"),
        GroundTruth(None, "whole"),
        Length(8),
        MajorityVote("whole", 4),
        RandomReward(0),
        ReverseKL(str(tiny_folder("qwen"))),
        SelfCertainty(),
        SemanticEntropy("none", 4),
        TokenEntropy(),
    ]
    assert sorted(type(r).__name__ for r in made) == sorted({*rewards.__all__} - {"Reward"})
    assert all(isinstance(r, Reward) for r in made)
    assert not any(isinstance(r, torch.nn.Module) for r in made)
    assert [r.__name__ for r in made] == [
        "cme",
        "format",
        "ground_truth",
        "length",
        "majority_vote",
        "random",
        "reverse_kl",
        "self_certainty",
        "semantic_entropy",
        "token_entropy",
    ]
    assert {r.__name__ for r in made if r.needs_answers} == {"ground_truth", "majority_vote"}


def test_random_reward_is_a_fair_coin_that_its_seed_decides() -> None:
    def draw(seed: int) -> list[float | None]:
        return RandomReward(seed)(["p"] * 400, ["c"] * 400, [[1]] * 400)

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
    assert set(draw(3)) == {0.0, 1.0}
    assert 150 < sum(v or 0 for v in draw(3)) < 250


def test_random_reward_goes_on_drawing_and_minds_no_other_generator() -> None:
    reward = RandomReward(0)
    first = reward(["p"] * 50, ["c"] * 50, [[1]] * 50)
    torch.manual_seed(0)
    second = reward(["p"] * 50, ["c"] * 50, [[1]] * 50)
    whole = RandomReward(0)(["p"] * 100, ["c"] * 100, [[1]] * 100)
    assert first + second == whole
    assert first != second


def test_ground_truth_asks_the_oracle() -> None:
    asked = []

    def oracle(prompt: str, response: str, finished: bool) -> float:
        asked.append((prompt, response, finished))
        return len(response) / 10

    reward = GroundTruth(oracle, "none")
    reward.bind(TRAINER)
    graded = reward(
        [message("user", "p"), "q", "r"],
        [message("assistant", "abc"), "defgh", ""],
        [[1, END], [1, 2], []],
        answer=["ignored"] * 3,
    )
    assert asked == [("p", "abc", True), ("q", "defgh", False), ("r", "", False)]
    assert graded == [0.3, 0.5, 0.0]


def test_ground_truth_without_an_oracle_compares_answers() -> None:
    reward = GroundTruth(None, "whole")
    completions = ["Seven.", "seven", "eight", "", "seven"]
    answers = ["seven", "SEVEN!", "seven", "seven", None]
    assert reward(["p"] * 5, completions, [[1]] * 5, answer=answers) == [1.0, 1.0, 0.0, 0.0, None]


def test_ground_truth_without_any_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="'none'"):
        GroundTruth(None, "none")
    with pytest.raises(ValueError, match="column `answer`"):
        GroundTruth(None, "whole")(["p"], ["c"], [[1]])


def test_ground_truth_compares_by_meaning_and_leaves_the_undecided_unscored() -> None:
    said = [r"\boxed{0.5}", r"\boxed{0.25}", "0.5", r"\boxed{8^{8^{8^{8}}}}"]
    graded = GroundTruth(None, "boxed")(["p"] * 4, said, [[1]] * 4, answer=[r"\frac{1}{2}"] * 4)
    assert graded == [1.0, 0.0, 0.0, None]
