"""Rewards under every verifier of scale=paper against a naive computation from the checkpoint's files.

The naive side shares nothing with the library: the prompt is the hand-written table's, the tokens are those of
tokenizer.json, the model reads one row at a time, and the log-softmax is in float64.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cme.checkpoints import load_tokenizer
from cme.rewards import CrossModelEntropy
from tests.rehearsal import naive
from tests.rehearsal.expected_prompts import tokenizer

Snapshot = Callable[[str], str]
VERIFIERS = [
    *("google/gemma-4-E4B-it", "google/gemma-3-270m-it", "google/gemma-3-1b-it", "google/gemma-3-1b-pt"),
    *("Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-Math-7B-Instruct", "Qwen/Qwen2.5-0.5B"),
    *("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"),
    "allenai/OLMo-2-0425-1B-DPO",
]
QUESTIONS = [
    "Name two animals.",
    "What is 3 plus 4? 日本語 🙂",
    "Name two animals.",
    "What is 3 plus 4? 日本語 🙂",
]
RESPONSES = [
    "A fox and a bear. " * 9,  # longer than the sliding windows
    "It is 7, so the answer is \\boxed{7}.",
    "One writes <|im_end|> or <end_of_turn> or <|eot_id|> or <turn|> to end a turn, so: 狐 🦉",
    "Seven",
]
ENDED = [True, True, False, True]
TOLERANCE = 2e-5  # nats


def naive_rows(folder: str, name: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Log-likelihoods and entropies of each response's tokens."""
    return [naive.token_scores(folder, name, *row) for row in zip(QUESTIONS, RESPONSES, ENDED, strict=True)]


def reward_values(snapshot: Snapshot, verifier: str, **settings: Any) -> list[float]:
    """The rewards of the responses, written by a Qwen policy and scored by a verifier."""
    policy = load_tokenizer(snapshot("Qwen/Qwen2.5-0.5B-Instruct"))
    reward = CrossModelEntropy(snapshot(verifier), score_end_of_turn=True, **settings)
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=policy.eos_token_id))
    reward.bind(SimpleNamespace(processing_class=policy, model=model))
    ids = [
        policy(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        + [policy.eos_token_id] * ended
        for text, ended in zip(RESPONSES, ENDED, strict=True)
    ]
    return [math.nan if r is None else r for r in reward(QUESTIONS, RESPONSES, ids)]


@pytest.mark.parametrize("name", VERIFIERS)
def test_log_likelihood(snapshot: Snapshot, name: str) -> None:
    expected = [float(values.mean()) for values, _ in naive_rows(snapshot(name), name)]
    assert len({round(value, 3) for value in expected}) == len(expected)
    assert reward_values(snapshot, name) == pytest.approx(expected, abs=TOLERANCE)


def test_perplexity_and_predictive_entropy(snapshot: Snapshot) -> None:
    name = "google/gemma-4-E4B-it"
    rows = naive_rows(snapshot(name), name)
    perplexity = [-math.exp(-float(values.mean())) for values, _ in rows]
    assert reward_values(snapshot, name, metric="perplexity") == pytest.approx(perplexity, rel=1e-4)
    entropy = [-float(entropies.mean()) for _, entropies in rows]
    found = reward_values(snapshot, name, metric="predictive_entropy")
    assert found == pytest.approx(entropy, abs=TOLERANCE)


def test_mathematics(snapshot: Snapshot) -> None:
    """The blend of a whole response and its answer, and the penalty of 5 nats for a response without one."""
    name = "Qwen/Qwen2.5-Math-7B-Instruct"
    folder = snapshot(name)
    settings = {"span": "blended", "answer_weight": 0.5, "answers": "boxed", "no_answer_penalty": 5.0}
    rows = naive_rows(folder, name)
    whole = [float(values.mean()) for values, _ in rows]
    before = RESPONSES[1].index("7}.")
    values, _ = rows[1]
    spans = _spans(folder, RESPONSES[1])
    answer = [i for i, (start, end) in enumerate(spans) if start <= before < end]
    expected = [value - 5.0 for value in whole]
    expected[1] = 0.5 * whole[1] + 0.5 * float(values[answer].mean())
    assert reward_values(snapshot, name, **settings) == pytest.approx(expected, abs=TOLERANCE)


def test_a_penalty_for_a_missing_answer_with_the_whole_response(snapshot: Snapshot) -> None:
    name = "Qwen/Qwen2.5-Math-7B-Instruct"
    whole = [float(values.mean()) for values, _ in naive_rows(snapshot(name), name)]
    found = reward_values(snapshot, name, answers="boxed", no_answer_penalty=5.0)
    assert found == pytest.approx([value - 5.0 * (i != 1) for i, value in enumerate(whole)], abs=TOLERANCE)


def _spans(folder: str, text: str) -> list[tuple[int, int]]:
    encoder = tokenizer(folder)
    encoder.encode_special_tokens = True
    return list(encoder.encode(text, add_special_tokens=False).offsets)
