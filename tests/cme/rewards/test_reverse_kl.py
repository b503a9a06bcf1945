"""Reverse KL as a reward against full logits in float64, under a policy and a verifier of other tokens."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cme.checkpoints import Checkpoint
from cme.models import chat
from cme.rewards import CrossModelEntropy, ReverseKL

Tiny = Callable[..., Checkpoint]
Folder = Callable[..., Path]
PROMPTS = ["what is 3 plus 4?", "name two animals."]
SAID = ["it is 7.", "fox, bear and some more"]
ENDED = [True, False]


@torch.no_grad()
def mean_log_likelihood(model: Checkpoint, prompt: str, response: str, end: bool) -> float:
    head = chat.prompt_ids(model.tokenizer, prompt)
    tail = chat.response_ids(model.tokenizer, response) + [model.tokenizer.eos_token_id] * end
    log_p = model.model(input_ids=torch.tensor([head + tail])).logits[0].double().log_softmax(-1)
    return sum(float(log_p[len(head) - 1 + t, token]) for t, token in enumerate(tail)) / len(tail)


def bound(reward: Any, policy: Checkpoint) -> Any:
    reward.bind(
        SimpleNamespace(
            processing_class=policy.tokenizer,
            model=policy.model,
            accelerator=SimpleNamespace(unwrap_model=lambda model: model),
        )
    )
    return reward


def sampled(policy: Checkpoint) -> list[list[int]]:
    end = policy.tokenizer.eos_token_id
    return [chat.response_ids(policy.tokenizer, s) + [end] * e for s, e in zip(SAID, ENDED, strict=True)]


@pytest.mark.parametrize(("policy", "verifier"), [("qwen", "gemma"), ("llama", "olmo"), ("gemma", "gemma")])
def test_it_is_what_the_verifier_gives_minus_what_the_policy_gives(
    tiny: Tiny, tiny_folder: Folder, policy: str, verifier: str
) -> None:
    own, other = tiny(policy), tiny(verifier)
    reward = bound(ReverseKL(str(tiny_folder(verifier)), score_end_of_turn=True), own)
    rows = list(zip(PROMPTS, SAID, ENDED, strict=True))
    expected = [mean_log_likelihood(other, *row) - mean_log_likelihood(own, *row) for row in rows]
    assert reward(PROMPTS, SAID, sampled(own)) == pytest.approx(expected, abs=1e-4)
    if policy == verifier:
        assert expected == pytest.approx([0, 0], abs=1e-4)  # the policy is its verifier
    else:
        assert max(map(abs, expected)) > 1e-2


def test_the_policy_is_the_live_one(tiny: Tiny, tiny_folder: Folder) -> None:
    own = tiny("llama")
    reward = bound(ReverseKL(str(tiny_folder("llama")), score_end_of_turn=True), own)
    ids = sampled(own)
    before = reward(PROMPTS, SAID, ids)
    assert before == pytest.approx([0, 0], abs=1e-4)
    with torch.no_grad():
        for weight in own.model.parameters():
            weight.mul_(1.5)
    after = reward(PROMPTS, SAID, ids)
    verifier = CrossModelEntropy(str(tiny_folder("llama")), score_end_of_turn=True)
    verifier.bind(SimpleNamespace(processing_class=own.tokenizer))  # type: ignore[arg-type]
    q = verifier(PROMPTS, SAID, ids)
    p = [mean_log_likelihood(own, *row) for row in zip(PROMPTS, SAID, ENDED, strict=True)]
    assert after == pytest.approx([a - b for a, b in zip(q, p, strict=True) if a is not None], abs=1e-3)
    assert after != pytest.approx(before, abs=1e-2)


def test_what_either_cannot_score_is_unscored(tiny: Tiny, tiny_folder: Folder) -> None:
    own = tiny("qwen")
    reward = bound(
        ReverseKL(str(tiny_folder("qwen"))), own
    )  # without the end of turn, an empty response has no token
    first, second = reward(PROMPTS, ["", SAID[1]], [[own.tokenizer.eos_token_id], sampled(own)[1]])
    assert first is None and second is not None


def test_without_a_policy_it_cannot_run(tiny_folder: Folder) -> None:
    with pytest.raises(RuntimeError, match="bind"):
        ReverseKL(str(tiny_folder("qwen")))(PROMPTS, SAID, [[1], [1]])
