"""The reward in bfloat16 beside that in float32, on real verifiers."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from cme.checkpoints import load
from cme.miniature import world
from cme.models.generation import generate
from cme.models.packages import missing_parts
from cme.records import RunRecord, read_record
from cme.rewards import CrossModelEntropy

LAPTOP = Path(__file__).parents[3] / "results" / "reference" / "laptop"


def both(
    verifier: str, prompts: Sequence[str], responses: Sequence[str], **settings: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards in float32 and in bfloat16, each of shape (B,), in nats per token."""
    values = []
    for dtype in ("float32", "bfloat16"):
        reward = CrossModelEntropy(
            verifier, dtype=dtype, max_prompt_tokens=256, max_response_tokens=128, **settings
        )
        values.append(torch.tensor(reward(prompts, responses, [[0]] * len(responses))))
    return values[0], values[1]


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
    exact, rounded = both(f"miniature:{family}-1/verifier", *responses, score_end_of_turn=False)
    assert 0 < (exact - rounded).abs().mean() < 0.01
    assert (exact - rounded).abs().max() < 0.1 < 1 < exact.std()


@pytest.mark.slow
def test_so_does_bfloat16_of_the_packaged_verifier() -> None:
    """Of the untrained SmolLM2's responses; the spread of rewards decides what a difference means."""
    name = "qwen2.5-coder-1.5b-instruct"
    if reason := missing_parts(name):
        pytest.skip(reason)
    path = next(LAPTOP.glob("laptop-smollm2-instruct-random-*.record.json"))
    pairs = read_record(path, RunRecord).pairs[:24]
    exact, rounded = both(f"package:{name}", [p.prompt for p in pairs], [p.start.response for p in pairs])
    print(
        f"mean {(exact - rounded).abs().mean():.4f}, signed {(rounded - exact).mean():.4f}, most "
        f"{(exact - rounded).abs().max():.4f}; standard deviation of the reward {exact.std():.3f}"
    )
    assert 0 < (exact - rounded).abs().mean() < 0.01
