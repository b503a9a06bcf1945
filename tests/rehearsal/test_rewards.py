"""Cross-Model Entropy under every verifier of scale=paper against a naive computation from the checkpoint's files.

The naive side shares nothing with the library: the prompt is the hand-written table's, the tokens are those of
tokenizer.json, the model reads one row at a time, and the log-softmax is in float64.
"""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from cme.checkpoints import load_tokenizer
from cme.rewards import CrossModelEntropy
from tests.rehearsal.expected import token_scores

VERIFIERS = [
    *("google/gemma-4-E4B-it", "google/gemma-3-270m-it", "google/gemma-3-1b-it", "google/gemma-3-1b-pt"),
    *("Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-Math-7B-Instruct", "Qwen/Qwen2.5-0.5B"),
    *("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"),
    "allenai/OLMo-2-0425-1B-DPO",
]
QUESTIONS = ["Name two animals.", "What is 3 plus 4? 日本語 🙂"] * 2
RESPONSES = [
    "A fox and a bear. " * 9,  # longer than the sliding windows
    "It is 7, so the answer is \\boxed{7}.",
    "One writes <|im_end|> or <end_of_turn> or <|eot_id|> or <turn|> to end a turn, so: 狐 🦉",
    "Seven",
]
ENDED = [True, True, False, True]
TOLERANCE = 2e-5  # nats


@pytest.mark.parametrize("name", VERIFIERS)
def test_log_likelihood(snapshot: Callable[[str], str], name: str) -> None:
    """The responses are written by a Qwen policy."""
    policy = load_tokenizer(snapshot("Qwen/Qwen2.5-0.5B-Instruct"))
    reward = CrossModelEntropy(snapshot(name), score_end_of_turn=True)
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=policy.eos_token_id))
    reward.bind(SimpleNamespace(processing_class=policy, model=model))
    ids = [
        policy(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        + [policy.eos_token_id] * ended
        for text, ended in zip(RESPONSES, ENDED, strict=True)
    ]
    rows = zip(QUESTIONS, RESPONSES, ENDED, strict=True)
    expected = [float(token_scores(snapshot(name), name, *row)[0].mean()) for row in rows]
    assert len({round(value, 3) for value in expected}) == len(expected)
    assert reward(QUESTIONS, RESPONSES, ids) == pytest.approx(expected, abs=TOLERANCE)
