"""Sums of rewards by hand, and against the advantages that TRL computes of several reward functions."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from plain_rewards import FunctionReward
from scripted import policy_ending_at
from trl import GRPOConfig, GRPOTrainer
from verifiers import Folder

from cme import TrainingFailed
from cme.rewards import CrossModelEntropy, Length, RandomReward, Reward, WeightedSum

FIRST = [1.0, 2.0, 3.0, 6.0, 0.0, 0.0, 4.0, 4.0]
SECOND: list[float | None] = [10.0, 20.0, None, 60.0, 5.0, 5.0, 5.0, 5.0]


def given(name: str, values: list[float | None]) -> Reward:
    def function(*_: Any, **__: Any) -> list[float | None]:
        return values

    function.__name__ = name
    return FunctionReward(function)


def members() -> dict[str, Reward]:
    return {"first": given("first", list(FIRST)), "second": given("second", SECOND)}


def call(reward: WeightedSum, **columns: Any) -> list[float | None]:
    return reward(["p"] * 4 + ["q"] * 4, ["c"] * 8, [[1]] * 8, **columns)


def test_the_sum_by_hand() -> None:
    logged: dict[str, float] = {}
    found = call(WeightedSum(members(), {"first": 2.0, "second": -0.1}, 4), log_metric=logged.__setitem__)
    assert found == [
        pytest.approx(v) if v is not None else None for v in (1, 2, None, 6, -0.5, -0.5, 7.5, 7.5)
    ]
    assert logged == {"reward_first": 2.5, "reward_second": pytest.approx(110 / 7)}
    assert call(WeightedSum(members(), {"first": 1.0, "second": 0.0}, 4))[2] is None


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_a_member_that_is_not_finite_ends_the_training(value: float, weight: float, aggregation: Any) -> None:
    """It is no None, as in a reward of its own: the member is broken."""
    parts = members() | {"first": given("first", [value, *FIRST[1:]])}
    with pytest.raises(TrainingFailed, match=f"reward 'first' gave {value} for 1 of 8 completions"):
        call(WeightedSum(parts, {"first": weight, "second": 1.0}, 4, aggregation))


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_advantages_are_those_of_trl(tiny_folder: Folder, tmp_path: Path, aggregation: Any) -> None:
    """TRL has the two functions with their weights, or the sum alone; it divides normalized sums by the batch's."""
    weights = {"first": 2.0, "second": 0.5}
    by_batch = "batch" if aggregation == "normalize_then_sum" else "group"
    both = [given("first", list(FIRST)), given("second", [3.0, 1.0, 8.0, 2.0, 5.0, 1.0, 5.0, 2.0])]
    named = dict(zip(weights, both, strict=True))
    advantages = []
    for functions, more in (
        (both, {"reward_weights": [2.0, 0.5], "multi_objective_aggregation": aggregation}),
        ([WeightedSum(named, weights, 4, aggregation)], {"scale_rewards": by_batch}),
    ):
        config = GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=4,
            report_to=[],
            use_cpu=True,
            bf16=False,
            **more,
        )
        prompts = ["what is 3 plus 4?", "name two animals."]
        rows = Dataset.from_list([{"prompt": p} for p in prompts])
        trainer = GRPOTrainer(str(tiny_folder("qwen")), functions, config, train_dataset=rows)
        made = trainer._generate_and_score_completions([{"prompt": p} for p in prompts for _ in range(4)])
        advantages.append(made["advantages"])
    assert advantages[0].abs().max() > 0.5
    assert torch.allclose(*advantages, atol=1e-5)


def test_members_are_bound_and_keep_their_state(tiny_folder: Folder) -> None:
    class Bound(Length):
        trainer: Any = None

        def bind(self, trainer: Any) -> None:
            self.trainer = trainer

    made = [
        WeightedSum({"length": Bound(4), "random": RandomReward(seed)}, {"length": 1.0, "random": 1.0}, 2)
        for seed in (0, 1)
    ]
    trainer = policy_ending_at(9)
    made[0].bind(trainer)
    assert vars(made[0].parts["length"])["trainer"] is trainer
    made[1].load_state_dict(made[0].state_dict())
    draws = [reward(["p"] * 40, ["c"] * 40, [[1]] * 40) for reward in made]
    assert draws[0] == draws[1] and len(set(draws[0])) == 2
    with pytest.raises(ValueError, match=r"members\.cme has granularity=token"):
        dense = CrossModelEntropy(str(tiny_folder("qwen")), granularity="token")
        WeightedSum({"cme": dense, "length": Length(4)}, {"cme": 1.0, "length": 1.0}, 4)


def test_normalized_rewards_by_hand() -> None:
    """First: mean 3, deviation sqrt(14/3), then 2 and sqrt(16/3); second: 30 and sqrt(700), then no differences."""
    reward = WeightedSum(members(), {"first": 1.0, "second": 3.0}, 4, "normalize_then_sum")
    a, b, c = math.sqrt(14 / 3) + 1e-4, math.sqrt(16 / 3) + 1e-4, math.sqrt(700) + 1e-4
    expected = [
        *(-2 / a - 3 * 20 / c, -1 / a - 3 * 10 / c, None, 3 / a + 3 * 30 / c),
        *(-2 / b, -2 / b, 2 / b, 2 / b),
    ]
    assert call(reward) == [None if v is None else pytest.approx(v) for v in expected]
