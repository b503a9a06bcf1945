"""The reward in bfloat16 beside that in float32, on real verifiers of the miniature."""

import pytest
import torch

from cme.checkpoints import load
from cme.miniature import world
from cme.models.generation import generate
from cme.rewards import CrossModelEntropy


@pytest.fixture(scope="module")
def responses() -> tuple[list[str], list[str]]:
    """Prompts, and sampled responses that are right, wrong or rambling."""
    prompts = [prompt.text for prompt in world.load_prompts("eval", 48, 0)]
    policy = load("miniature:qwen-1/pretrained")
    settings = {"max_new_tokens": 24, "batch_size": 48, "temperature": 1.0, "seed": 0}
    return prompts, [g.response for g in generate(policy.model, policy.tokenizer, prompts, **settings)]


@pytest.mark.parametrize("family", ["gemma", "llama"])
def test_bfloat16_moves_the_reward_by_less_than_a_hundredth_of_a_nat(
    responses: tuple[list[str], list[str]], family: str
) -> None:
    """Per token and on average over responses, whose rewards differ by nats."""
    prompts, texts = responses
    values = []
    for dtype in ("float32", "bfloat16"):
        name = f"miniature:{family}-1/verifier"
        limits = {"max_prompt_tokens": 128, "max_response_tokens": 64}
        reward = CrossModelEntropy(name, dtype=dtype, score_end_of_turn=False, **limits)
        values.append(torch.tensor(reward(prompts, texts, [[0]] * len(texts))))
    exact, rounded = values
    assert 0 < (exact - rounded).abs().mean() < 0.01
    assert (exact - rounded).abs().max() < 0.1 < 1 < exact.std()
