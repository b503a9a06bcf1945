"""docs/grpo_with_cme.py: the loop to read computes the reward of the library, and it learns."""

import importlib.util
from types import ModuleType

import pytest
import torch
from paths import ROOT
from scripted import policy_ending_at

from cme.checkpoints import load
from cme.miniature import world
from cme.rewards import CrossModelEntropy
from cme.training.advantages import group_advantages

SCRIPT = ROOT / "docs" / "grpo_with_cme.py"
END = 777


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grpo_with_cme", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_reward_is_that_of_the_library(loop: ModuleType) -> None:
    prompts = world.sample_prompts("tune", 12, seed=1)
    generator, verifier = load(loop.GENERATOR), load(loop.VERIFIER)
    torch.manual_seed(0)
    answers = loop.respond(generator.model, generator.tokenizer, prompts, temperature=1.0)
    # a control token that is spelled is text
    texts = [*answers.texts, "<end_of_turn>", "the cow eats grass."]
    ended = [*answers.ended, True, False]
    assert {True, False} == {*ended} and len({*texts}) > 8
    prompts = [*prompts, *prompts[:2]]
    reward = CrossModelEntropy(loop.VERIFIER, score_end_of_turn=True)
    reward.bind(policy_ending_at(END))
    expected = reward(prompts, texts, [[1, END] if end else [1] for end in ended])
    found = loop.cross_model_entropy(verifier.model, verifier.tokenizer, prompts, texts, ended)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_its_advantages_are_those_of_the_library(loop: ModuleType) -> None:
    rewards = torch.randn(4 * loop.GROUP, generator=torch.Generator().manual_seed(0))
    expected = group_advantages(rewards[:, None], loop.GROUP, floor=0.0, scale=True)[:, 0]
    assert torch.allclose(loop.group_advantages(rewards), expected, atol=1e-6)


def test_beyond_the_clip_a_token_has_no_gradient(loop: ModuleType) -> None:
    sampled = torch.zeros(1, 4)
    log_probs = torch.tensor([[0.0, 0.1, 0.3, 0.3]], requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0]])
    loss = loop.policy_loss(log_probs, sampled, torch.tensor([2.0]), mask)
    assert loss.item() == pytest.approx(-2.0 * (1.0 + torch.tensor(0.1).exp().item() + 1.2) / 3, rel=1e-6)
    loss.backward()
    assert log_probs.grad is not None
    assert log_probs.grad[0].ne(0).tolist() == [True, True, False, False]


@pytest.mark.slow
def test_a_short_training_raises_the_true_quality(
    loop: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after, win_rate = loop.main(steps=15)
    assert after > before + 0.1 and win_rate > 0.6
    assert f"{before:.2f} before, {after:.2f} after" in capsys.readouterr().out


def test_it_stays_short_enough_to_read() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 250
