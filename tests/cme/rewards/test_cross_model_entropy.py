"""Cross-Model Entropy against the mean of its per-token values, one forward pass a response."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cme.checkpoints import Checkpoint
from cme.rewards import CrossModelEntropy

Tiny = Callable[..., Checkpoint]
Folder = Callable[..., Path]
PROMPTS = ["what is 3 plus 4?", "name two animals."]
RESPONSES = ["7.", "fox, bear and some more words."]
POLICY_END = 777
TRAINER: Any = SimpleNamespace(processing_class=SimpleNamespace(eos_token_id=POLICY_END))


@torch.no_grad()
def mean_log_likelihood(verifier: Checkpoint, prompt: str, response: str, end: bool) -> float:
    tokenizer = verifier.tokenizer
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    head = tokenizer(text, add_special_tokens=False)["input_ids"]
    tail = tokenizer(response, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * end
    log_p = verifier.model(input_ids=torch.tensor([head + tail])).logits[0].double().log_softmax(-1)
    values = [float(log_p[len(head) - 1 + t, token]) for t, token in enumerate(tail)]
    return sum(values) / len(values)


@pytest.mark.parametrize("chatty", [False, True])
def test_reward_is_the_mean_over_response_tokens(
    tiny: Tiny, tiny_folder: Folder, family: str, chatty: bool
) -> None:
    reward = CrossModelEntropy(str(tiny_folder(family)))
    prompts: list[Any] = [[{"role": "user", "content": p}] for p in PROMPTS] if chatty else PROMPTS
    said: list[Any] = [[{"role": "assistant", "content": r}] for r in RESPONSES] if chatty else RESPONSES
    found = reward(prompts, said, [[1, 2], [3]])
    verifier = tiny(family)
    expected = [
        mean_log_likelihood(verifier, p, r, end=False) for p, r in zip(PROMPTS, RESPONSES, strict=True)
    ]
    assert found == pytest.approx(expected, abs=1e-4)
    assert all(v is not None and v < 0 for v in found)


def test_the_end_is_scored_where_the_policy_ended_its_turn(tiny: Tiny, tiny_folder: Folder) -> None:
    reward = CrossModelEntropy(str(tiny_folder("gemma")), score_end_of_turn=True)
    reward.bind(TRAINER)
    found = reward(PROMPTS, RESPONSES, [[1, POLICY_END], [POLICY_END, 3]])
    verifier = tiny("gemma")
    assert found == pytest.approx(
        [
            mean_log_likelihood(verifier, PROMPTS[0], RESPONSES[0], end=True),
            mean_log_likelihood(verifier, PROMPTS[1], RESPONSES[1], end=False),
        ],
        abs=1e-4,
    )


def test_the_end_cannot_be_scored_without_the_policy(tiny_folder: Folder) -> None:
    reward = CrossModelEntropy(str(tiny_folder("qwen")), score_end_of_turn=True)
    with pytest.raises(RuntimeError, match="bind"):
        reward(PROMPTS, RESPONSES, [[1], [1]])


@pytest.mark.parametrize("value", [None, -12.5, 0.0])
def test_empty_responses_get_what_the_field_says(tiny_folder: Folder, value: float | None) -> None:
    reward = CrossModelEntropy(str(tiny_folder("qwen")), empty_response=value)
    found = reward(PROMPTS, ["", RESPONSES[1]], [[], [3]])
    assert found[0] == value
    assert found[1] is not None and found[1] < 0 and found[1] != value


def test_a_broken_verifier_leaves_responses_unscored_and_says_why_once(
    tiny_folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    reward = CrossModelEntropy(str(tiny_folder("qwen")), empty_response=0.0)
    with torch.no_grad():
        next(reward.verifiers[0].engine.model.parameters()).fill_(float("nan"))
    assert reward(PROMPTS, RESPONSES, [[1], [1]]) == [None, None]
    assert reward(PROMPTS, RESPONSES, [[1], [1]]) == [None, None]
    said = [r.message for r in caplog.records if "has no reward" in r.message]
    assert len(said) == 1 and "not finite" in said[0]


def test_the_share_of_truncated_is_logged(tiny_folder: Folder) -> None:
    reward = CrossModelEntropy(str(tiny_folder("qwen")), max_response_tokens=4)
    logged: dict[str, float] = {}
    reward(PROMPTS, RESPONSES, [[1], [1]], log_metric=logged.__setitem__)
    assert logged == {"prompt_truncated": 0, "response_truncated": 0.5}
