"""A verifier in 8 bits gives nearly the scores that it gives in float32."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cme.checkpoints import load
from cme.rewards import CrossModelEntropy

pytest.importorskip("bitsandbytes")

PROMPTS = [
    [{"role": "user", "content": f"where does the {a} live?"}] for a in ("fox", "cow", "mouse", "fish")
]
RESPONSES = [
    [{"role": "assistant", "content": s}] for s in ("in the forest", "field", "the cave and the river", "4")
]


@pytest.mark.parametrize("name", ["gemma", "qwen"])
def test_scores_are_nearly_equal(tiny_folder: Callable[..., Path], name: str) -> None:
    place = str(tiny_folder(name))
    rewards = [
        torch.tensor(CrossModelEntropy(place, quantization=how)(PROMPTS, RESPONSES, [[1]] * 4))
        for how in (None, "8bit")
    ]
    gap = (rewards[0] - rewards[1]).abs()
    assert 0 < gap.mean() < 0.1, gap


def test_linear_layers_are_rounded_and_the_rest_is_not(tiny_folder: Callable[..., Path]) -> None:
    model = load(str(tiny_folder("gemma")), quantization="8bit").model
    kinds = {name: weight.dtype for name, weight in model.named_parameters()}
    rounded = [name for name, kind in kinds.items() if kind == torch.int8]
    assert rounded and all("proj" in name for name in rounded)
    assert kinds["model.embed_tokens.weight"] == torch.float32
