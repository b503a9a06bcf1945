"""The moving average of the policy as verifier: by hand, at its two ends, and through trainings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from cme_cases import PROMPTS, RESPONSES
from trainings import run_grpo, same, weights
from verifiers import Folder, Tiny

from cme.checkpoints import Checkpoint
from cme.rewards import CrossModelEntropy, CrossModelEntropyEMA
from cme.scoring.policy import UntrainedPolicy
from cme.training.history import TrainingResult
from cme.training.job import TrainingJob


def averages(reward: CrossModelEntropyEMA) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in reward.state_dict().items()}


def shift(policy: Checkpoint, seed: int) -> None:
    """Change every weight of the policy, as an optimizer step does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize("decay", [0.0, 0.25, 0.9, 1.0])
def test_two_steps_by_hand(tiny: Tiny, tiny_folder: Folder, decay: float) -> None:
    reward, policy = CrossModelEntropyEMA(str(tiny_folder("qwen")), decay=decay), tiny("qwen")
    reward.bind(UntrainedPolicy(policy.tokenizer, policy.model))
    held = [averages(reward)]
    for step in (1, 2):
        shift(policy, step)
        held.append({n: w.detach().clone() for n, w in policy.model.named_parameters()})
        reward.move(policy.model)
    start, first, second = held
    for name, found in averages(reward).items():
        expected = (
            decay * decay * start[name] + decay * (1 - decay) * first[name] + (1 - decay) * second[name]
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    unmoved = [torch.equal(averages(reward)[name], start[name]) for name in start]
    assert all(unmoved) if decay == 1 else not any(unmoved)


def train(
    tiny: Tiny, folder: Path, reward: Any, **settings: Any
) -> tuple[TrainingResult, Checkpoint, list[torch.Tensor]]:
    policy = tiny("qwen")
    job = TrainingJob(0, folder, quiet=True)
    result = run_grpo(policy, tiny("qwen"), reward, job, **settings)
    return result, policy, weights(policy)


def test_decay_1_trains_as_the_untrained_policy_as_verifier(
    tiny: Tiny, tiny_folder: Folder, tmp_path: Path
) -> None:
    folder = str(tiny_folder("qwen"))
    frozen = train(tiny, tmp_path, CrossModelEntropy(folder, score_end_of_turn=True))
    ended = train(tiny, tmp_path, CrossModelEntropyEMA(folder, decay=1.0, score_end_of_turn=True))
    assert ended[0].history["reward"] == frozen[0].history["reward"] and same(ended[2], frozen[2])
    moved = train(tiny, tmp_path, CrossModelEntropyEMA(folder, decay=0.5, score_end_of_turn=True))
    assert moved[0].history["reward"][0] == frozen[0].history["reward"][0]  # before the first step
    assert moved[0].history["reward"][1:] != frozen[0].history["reward"][1:]


def test_the_average_moves_once_per_optimizer_step(
    tiny: Tiny, tiny_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a step samples twice, and where a sampled batch is trained on twice."""
    moved: list[int] = []
    monkeypatch.setattr(CrossModelEntropyEMA, "move", lambda self, policy: moved.append(1))
    for settings in ({"gradient_accumulation_steps": 2, "steps_per_generation": 1}, {"num_iterations": 2}):
        moved.clear()
        reward = CrossModelEntropyEMA(str(tiny_folder("qwen")), decay=0.5)
        train(tiny, tmp_path, reward, max_steps=4, **settings)
        assert len(moved) == 4


def test_it_must_be_bound_to_a_policy_with_the_same_weights(tiny: Tiny, tiny_folder: Folder) -> None:
    reward = CrossModelEntropyEMA(str(tiny_folder("qwen")), decay=0.5)
    with pytest.raises(RuntimeError, match=r"decay=0.5: call bind"):
        reward(PROMPTS, RESPONSES, [[1]] * 4)
    other = tiny("llama")
    with pytest.raises(ValueError, match="its weights are not the policy's"):
        reward.bind(UntrainedPolicy(other.tokenizer, other.model))
