"""Faults of the library that tests here show: each mark goes when its fault is mended, or its test fails."""

import pytest


def known_fault(words: str) -> pytest.MarkDecorator:
    """Marks a test of the right value that a fault still makes wrong."""
    return pytest.mark.xfail(strict=True, reason=words)


TURN_TOKEN = known_fault(
    "the end of turn is looked for among the named special tokens alone, and Gemma 3 names none"
)
ONE_STOP_TOKEN = known_fault("loading replaces the checkpoint's list of stop tokens by the end of the turn")
CLOCK = known_fault("the template of Llama 3.2 writes today's date into the prompt")
GENERATION_CONFIG = known_fault("greedy decoding inherits fields of the checkpoint's generation_config.json")
RETRAINING = known_fault("another judge changes the run's id, so the policy is trained again")
IGNORED_PENALTY = known_fault("reward.no_answer_penalty is ignored with span=response")
