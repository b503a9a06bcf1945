"""The contract of all rewards, and those that look at neither a verifier nor a group: controls and ground truth."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import policy_ending_at

from cme import rewards
from cme.grading import math_grader
from cme.judges.oracle import OracleJudge
from cme.miniature import world
from cme.records import Grade
from cme.rewards import (
    FormatReward,
    GroundTruth,
    Length,
    MajorityVote,
    RandomReward,
    ReferenceLikelihood,
    Reward,
    SemanticEntropy,
    SequenceLikelihood,
    TokenEntropy,
)

END = 9
OTHER_END = 10
TRAINER = policy_ending_at(END, OTHER_END)
ARGUMENTS: dict[str, Any] = {
    "FormatReward": ["none"],
    "GroundTruth": [None, "whole"],
    "Length": [8],
    "MajorityVote": ["whole", 4],
    "PairwiseJudge": [OracleJudge(world.grade), 4],
    "RandomReward": [0],
    "ReferenceLikelihood": ["number"],
    "SemanticEntropy": ["none", 4],
    "WeightedSum": [{"a": Length(8), "b": RandomReward(0)}, {"a": 1.0, "b": 2.0}, 4],
}


OF_A_VERIFIER = (
    "CrossModelEntropy",
    "CrossModelEntropyEMA",
    "CrossModelEntropyRank",
    "EndogenousReward",
    "ReverseKL",
)


def message(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def test_every_reward_keeps_the_contract(tiny_folder: Callable[..., Path]) -> None:
    built = []
    for name in sorted({*rewards.__all__} - {"Reward"}):
        verifier = [str(tiny_folder("qwen"))] if name in OF_A_VERIFIER else []
        more = {"CrossModelEntropyRank": {"num_generations": 4}, "CrossModelEntropyEMA": {"decay": 0.9}}
        built.append(vars(rewards)[name](*ARGUMENTS.get(name, verifier), **more.get(name, {})))
    assert all(isinstance(r, Reward) and not isinstance(r, torch.nn.Module) for r in built)
    assert [r.__name__ for r in built] == [
        "cme",
        "cme_ema",
        "cme_rank",
        "endorm",
        "format",
        "ground_truth",
        "length",
        "majority_vote",
        "pairwise_judge",
        "random",
        "reference_likelihood",
        "reverse_kl",
        "self_certainty",
        "semantic_entropy",
        "sequence_likelihood",
        "token_entropy",
        "weighted_sum",
    ]
    assert {r.__name__ for r in built if r.needs_answers} == {
        "ground_truth",
        "majority_vote",
        "reference_likelihood",
    }
    assert {r.__name__ for r in built if r.whole_batch} == {
        "cme_rank",
        "majority_vote",
        "pairwise_judge",
        "random",
        "semantic_entropy",
        "weighted_sum",
    }
    assert {r.__name__ for r in built if r.NEUTRAL} == {"cme", "cme_ema", "cme_rank", "endorm", "reverse_kl"}
    assert {r.__name__ for r in built if r.state_dict()} == {"cme_ema", "random", "weighted_sum"}


@pytest.mark.parametrize(
    ("reward", "settings", "named"),
    [
        (Length, {"target": 0}, "target=0; it must be at least 1"),
        (MajorityVote, {"answers": "whole", "num_generations": 4, "train_on": 1}, "train_on=1"),
        (MajorityVote, {"answers": "whole", "num_generations": 4, "train_on": 5}, "train_on=5"),
        (MajorityVote, {"answers": "whole", "num_generations": 4, "train_on": -1}, "train_on=-1"),
        (SemanticEntropy, {"answers": "whole", "num_generations": 4, "value": "share"}, "value=share"),
        (SemanticEntropy, {"answers": "whole", "num_generations": 4, "threshold": 0.0}, "threshold=0.0"),
        (SemanticEntropy, {"answers": "whole", "num_generations": 4, "threshold": 1.5}, "threshold=1.5"),
        (TokenEntropy, {"chunks": 0}, "chunks=0; it must be at least 1"),
        (SequenceLikelihood, {"value": "share"}, "value=share"),
        (ReferenceLikelihood, {"answers": "number", "value": "share"}, "value=share"),
        (ReferenceLikelihood, {"answers": "whole"}, "answers=whole"),
        (ReferenceLikelihood, {"answers": "none"}, "answers=none"),
        (TokenEntropy, {"no_answer": -7.0}, "no_answer=-7.0 with answers=none"),
    ],
)
def test_settings_are_refused_by_name(reward: type[Reward], settings: dict[str, Any], named: str) -> None:
    for build in (reward, reward.check):
        with pytest.raises(ValueError, match=named):
            build(**settings)


def test_data_without_answers_are_refused() -> None:
    for build in (lambda: MajorityVote("none", 4), lambda: GroundTruth(None, "none")):
        with pytest.raises(ValueError, match="'none'"):
            build()
    with pytest.raises(ValueError, match="column `answer`"):
        GroundTruth(None, "whole")(["p"], ["c"], [[1]])


def test_random_reward_is_a_fair_coin_that_its_seed_decides() -> None:
    def draw(seed: int) -> list[float | None]:
        return RandomReward(seed)(["p"] * 400, ["c"] * 400, [[1]] * 400)

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
    assert set(draw(3)) == {0.0, 1.0}
    assert 150 < sum(v or 0 for v in draw(3)) < 250


def test_random_reward_continues_from_its_state_and_uses_no_other_generator() -> None:
    def draw(reward: Reward, n: int) -> list[float | None]:
        return reward(["p"] * n, ["c"] * n, [[1]] * n)

    reward, resumed = RandomReward(0), RandomReward(1)
    first = draw(reward, 50)
    torch.manual_seed(0)
    resumed.load_state_dict(reward.state_dict())
    second = draw(reward, 50)
    assert draw(resumed, 50) == second != first
    assert first + second == draw(RandomReward(0), 100)


def test_length_is_best_at_its_target_and_falls_alike_on_both_sides() -> None:
    ids = [[1] * n for n in (0, 2, 4, 5, 8, 12)]
    assert Length(4)(["p"] * 6, ["whatever"] * 6, ids) == [0, 0.5, 1, 0.75, 0, -1]
    rising = Length(16)(["p"] * 16, ["c"] * 16, [[1] * n for n in range(1, 17)])
    assert rising == sorted(set(rising), key=lambda v: math.nan if v is None else v)


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
    with pytest.raises(RuntimeError, match="bind"):
        reward(["p"], ["c"], [[1]])
    reward.bind(TRAINER)
    assert reward(["p"], [message("assistant", text)], [[1, END] if ended else [1, 2]]) == [expected]


def test_ground_truth_asks_the_oracle() -> None:
    calls = []

    def oracle(prompt: str, response: str, finished: bool) -> Grade:
        calls.append((prompt, response, finished))
        return Grade(len(response) / 10, "none", {})

    reward = GroundTruth(oracle, "none")
    reward.bind(TRAINER)
    prompts, completions = [message("user", "p"), "q", "r"], [message("assistant", "abc"), "defgh", ""]
    graded = reward(prompts, completions, [[1, OTHER_END], [1, 2], []], answer=["ignored"] * 3)
    assert calls == [("p", "abc", True), ("q", "defgh", False), ("r", "", False)]
    assert graded == [0.3, 0.5, 0.0]


def test_ground_truth_compares_answers_and_leaves_undecided_ones_unscored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(math_grader._grader, "seconds", 1.0)
    completions = ["Seven.", "seven", "eight", "", "seven", "seven"]
    gold = ["seven", "SEVEN!", "seven", "seven", None, "?"]
    graded = GroundTruth(None, "whole")(["p"] * 6, completions, [[1]] * 6, answer=gold)
    assert graded == [1, 1, 0, 0, None, None]
    boxes = [r"\boxed{0.5}", r"\boxed{0.25}", "0.5", r"\boxed{8^{8^{8^{8}}}}"]
    graded = GroundTruth(None, "boxed")(["p"] * 4, boxes, [[1]] * 4, answer=[r"\frac{1}{2}"] * 4)
    assert graded == [1.0, 0.0, 0.0, None]
