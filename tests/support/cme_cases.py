"""Responses to score with Cross-Model Entropy, and the naive scores that it is compared with."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from naive import Scores, score

from cme.checkpoints import Checkpoint
from cme.rewards import CrossModelEntropy

Make = Callable[..., CrossModelEntropy]
NAN = math.nan
PROMPTS = ["what is 3 plus 4?", "name two animals.", "name two animals.", "what is 3 plus 4?"]
RESPONSES = [
    "it is \\boxed{7}.",
    "fox, bear and some more words.",
    "owl — 狐.",
    "\\boxed{1} or \\boxed{12} then",
]
ANSWERS = ["7", None, None, "12"]
ENDED = [True, False, True, True]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def near(expected: Sequence[float], tolerance: float = 1e-4) -> Any:
    return pytest.approx(list(expected), abs=tolerance, rel=1e-4, nan_ok=True)


def rewards_of(reward: CrossModelEntropy, responses: Sequence[str] = RESPONSES) -> list[float | None]:
    return reward(PROMPTS[: len(responses)], responses, [[1]] * len(responses))


def naive_scores(
    verifier: Checkpoint, responses: Sequence[str] = RESPONSES, prompt: str | None = None
) -> list[Scores]:
    prompts = PROMPTS[: len(responses)]
    return [
        score(verifier, p if prompt is None else prompt, r) for p, r in zip(prompts, responses, strict=True)
    ]


def sampled(policy: Checkpoint, texts: Sequence[str], ended: Sequence[bool]) -> list[list[int]]:
    """The canonical tokens of each text, with the end of turn where the policy ended it."""
    tokenizer = policy.tokenizer
    return [
        tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * end
        for text, end in zip(texts, ended, strict=True)
    ]


def break_verifier(reward: CrossModelEntropy, index: int = 0) -> None:
    with torch.no_grad():
        next(reward.verifiers[index].engine.model.parameters()).fill_(NAN)  # type: ignore[attr-defined]


def over(one: Scores, values: Sequence[float], start: int, end: int) -> list[float]:
    """The values of the tokens that share a character with [start, end)."""
    return [
        v for v, (a, b) in zip(values, one.spans, strict=True) if set(range(a, b)) & set(range(start, end))
    ]
