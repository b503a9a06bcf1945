"""Rewards that look at neither a verifier nor a group: controls and ground truth; settings that are refused."""

import math
from typing import Any

import pytest
import torch
from scripted import policy_ending_at
from verifiers import Folder

from cme import rewards
from cme.grading import math_grader
from cme.judges.oracle import OracleJudge
from cme.miniature import world
from cme.records import Grade
from cme.rewards import (
    CrossModelEntropyEMA,
    CrossModelEntropyRank,
    EndogenousReward,
    FormatReward,
    GroundTruth,
    Length,
    MajorityVote,
    PairwiseJudge,
    RandomReward,
    ReferenceLikelihood,
    ReverseKL,
    Reward,
    SemanticEntropy,
    SequenceLikelihood,
    TokenEntropy,
    WeightedSum,
)

END = 9
OTHER_END = 10
TRAINER = policy_ending_at(END, OTHER_END)


def message(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


WHOLE = {"answers": "whole", "num_generations": 4}
AVERAGE: dict[str, Any] = {"verifier": "x", "decay": 0.9}
SUMMED = {"members": {"a": Length(4), "b": Length(8)}, "num_generations": 4}


def test_rewards_that_need_answers_and_those_that_need_the_completions_of_all_processes() -> None:
    kinds = [vars(rewards)[name] for name in rewards.__all__ if name != "Reward"]
    assert {vars(kind)["__name__"] for kind in kinds if kind.needs_answers} == {
        *("ground_truth", "majority_vote", "reference_likelihood")
    }
    assert {vars(kind)["__name__"] for kind in kinds if kind.whole_batch} == {
        *("cme_rank", "majority_vote", "pairwise_judge", "random", "semantic_entropy", "weighted_sum")
    }


@pytest.mark.parametrize(
    ("reward", "settings", "named"),
    [
        (Length, {"target": 0}, "target=0; it must be at least 1"),
        (MajorityVote, WHOLE | {"train_on": 1}, "train_on=1"),
        (MajorityVote, WHOLE | {"train_on": 5}, "train_on=5"),
        (SemanticEntropy, WHOLE | {"value": "share"}, "value=share"),
        (SemanticEntropy, WHOLE | {"threshold": 0.0}, "threshold=0.0"),
        (SemanticEntropy, WHOLE | {"threshold": 0.5}, "threshold=0.5 has no effect"),
        (TokenEntropy, {"chunks": 0}, "chunks=0; it must be at least 1"),
        (TokenEntropy, {"no_answer": -7.0}, "no_answer=-7.0 with answers=none"),
        (SequenceLikelihood, {"value": "share"}, "value=share"),
        (ReferenceLikelihood, {"answers": "number", "value": "share"}, "value=share"),
        (ReferenceLikelihood, {"answers": "whole"}, "answers=whole"),
        (PairwiseJudge, {"judge": OracleJudge(world.grade), "num_generations": 5, "neighbours": 3}, "neighbours=3"),
        (ReverseKL, {"verifier": "x", "power": -1.0}, "power=-1"),
        (ReverseKL, {"verifier": "x", "mask_special": True, "score_end_of_turn": True}, "mask_special=true"),
        (ReverseKL, {"verifier": ["a", "b"]}, "verifier="),
        (CrossModelEntropyRank, {"verifier": "x", "num_generations": 4, "batch_tokens": 0}, "batch_tokens=0"),
        (CrossModelEntropyEMA, AVERAGE | {"decay": 1.5}, "decay=1.5"),
        (CrossModelEntropyEMA, AVERAGE | {"decay": math.nan}, "decay=nan"),
        (CrossModelEntropyEMA, AVERAGE | {"dtype": "bfloat16"}, "dtype=bfloat16"),
        (CrossModelEntropyEMA, AVERAGE | {"quantization": "8bit"}, "quantization"),
        (CrossModelEntropyEMA, AVERAGE | {"verifier": ["a", "b"]}, "one checkpoint"),
        (WeightedSum, SUMMED | {"weights": {"a": 1.0}}, "weights="),
        (WeightedSum, SUMMED | {"weights": {"a": 1.0, "c": 1.0}}, "weights="),
        (WeightedSum, SUMMED | {"weights": {"a": 1.0, "b": math.inf}}, "weights="),
        (WeightedSum, SUMMED | {"weights": {"a": 1.0, "b": 1.0}, "aggregation": "mean"}, "aggregation=mean"),
        (WeightedSum, SUMMED | {"members": {"a": Length(4)}, "weights": {"a": 1.0}}, "at least two members"),
    ],
)  # fmt: skip
def test_settings_are_refused_by_name(reward: type[Reward], settings: dict[str, Any], named: str) -> None:
    for build in (reward, reward.check):
        with pytest.raises(ValueError, match=named):
            build(**settings)


@pytest.mark.parametrize(
    ("reward", "more"), [(EndogenousReward, {}), (CrossModelEntropyRank, {"num_generations": 4})]
)
def test_other_settings_of_cross_model_entropy_are_refused(
    tiny_folder: Folder, reward: type[Reward], more: dict[str, int]
) -> None:
    for setting in ({"server": {}}, {"pmi": True}):
        with pytest.raises(TypeError, match=next(iter(setting))):
            reward(str(tiny_folder("qwen")), **more, **setting)


def test_data_without_answers_are_refused() -> None:
    for build in (lambda: MajorityVote("none", 4), lambda: GroundTruth(None, "none")):
        with pytest.raises(ValueError, match="'none'"):
            build()
    with pytest.raises(ValueError, match="column `answer`"):
        GroundTruth(None, "whole")(["p"], ["c"], [[1]])


def test_random_reward_is_a_fair_coin_of_its_own_generator_and_continues_from_its_state() -> None:
    def draw(reward: Reward, n: int) -> list[float | None]:
        return reward(["p"] * n, ["c"] * n, [[1]] * n)

    whole = draw(RandomReward(3), 400)
    assert set(whole) == {0.0, 1.0} and 150 < sum(v or 0 for v in whole) < 250
    assert draw(RandomReward(4), 400) != whole
    reward, resumed = RandomReward(3), RandomReward(1)
    assert draw(reward, 150) == whole[:150]
    torch.manual_seed(0)
    resumed.load_state_dict(reward.state_dict())
    assert draw(resumed, 250) == draw(reward, 250) == whole[150:]


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
        ("whole", "seven", True, 1),
        ("whole", "...", True, 0),
        ("none", "Certainly!", True, 1),
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
    completions = ["Seven.", "seven", "eight", "", "seven", "seven"]
    gold = ["seven", "SEVEN!", "seven", "seven", None, "?"]
    graded = GroundTruth(None, "whole")(["p"] * 6, completions, [[1]] * 6, answer=gold)
    assert graded == [1, 1, 0, 0, None, None]
    boxes = [r"\boxed{0.5}", r"\boxed{0.25}", "0.5"]
    graded = GroundTruth(None, "boxed")(["p"] * 3, boxes, [[1]] * 3, answer=[r"\frac{1}{2}"] * 3)
    assert graded == [1.0, 0.0, 0.0]
    monkeypatch.setattr(math_grader._grader, "seconds", 1.0)
    endless = [r"\boxed{8^{8^{8^{8}}}}"]
    assert GroundTruth(None, "boxed")(["p"], endless, [[1]], answer=[r"\frac{1}{2}"]) == [None]
