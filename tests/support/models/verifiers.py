"""Verifiers with the random-weight models of the tests."""

from collections.abc import Callable
from pathlib import Path

from cme.checkpoints import Checkpoint
from cme.scoring.token_scorer import TokenScorer
from cme.scoring.verifier import Verifier

Tiny = Callable[..., Checkpoint]
"""The fixture `tiny`."""
Folder = Callable[..., Path]
"""The fixture `tiny_folder`."""


def make_verifier(
    checkpoint: Checkpoint, max_prompt_tokens: int = 500, max_response_tokens: int = 500
) -> Verifier:
    """A verifier in this process, with limits that no text of the tests reaches unless a test lowers them."""
    return Verifier(
        checkpoint.tokenizer,
        TokenScorer(checkpoint.model),
        max_prompt_tokens=max_prompt_tokens,
        max_response_tokens=max_response_tokens,
    )
