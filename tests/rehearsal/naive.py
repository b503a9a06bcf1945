"""Greedy decoding and scoring the slow, obvious way, from a checkpoint's files and the hand-written table alone."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tests.rehearsal.expected_prompts import EXPECTED, ids_of, tokenizer


@cache
def model(folder: str, dtype: torch.dtype = torch.float32) -> Any:
    """The model of a checkpoint."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


@torch.no_grad()
def token_scores(
    folder: str, name: str, question: str, response: str, ended: bool, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-likelihood and entropy (T,) of a response's tokens in nats, its end of turn last where it ended.

    Of more than `limit` tokens the first ones: a response of as many of the generator's tokens may have more of these.
    """
    prompt = ids_of(folder, EXPECTED[name].render(question), controls=True)
    end = ids_of(folder, EXPECTED[name].end_of_turn, controls=True)
    tokens = [*ids_of(folder, response, controls=False), *(end if ended else [])][:limit]
    logits = model(folder)(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    log_p = logits.double().log_softmax(-1)
    return log_p[range(len(tokens)), tokens], -(log_p.exp() * log_p).sum(-1)


@torch.no_grad()
def greedy(folder: str, name: str, question: str, tokens: int) -> tuple[str, bool, int]:
    """The response of argmax after argmax, without a cache: its text, whether it ended, and its number of tokens."""
    ids = ids_of(folder, EXPECTED[name].render(question), controls=True)
    stops = {stop for text in EXPECTED[name].stops for stop in ids_of(folder, text, controls=True)}
    new: list[int] = []
    while len(new) < tokens and not stops & set(new):
        new.append(int(model(folder)(input_ids=torch.tensor([[*ids, *new]])).logits[0, -1].argmax()))
    ended = bool(stops & set(new))
    return _text(folder, new[:-1] if ended else new), ended, len(new)


def _text(folder: str, ids: Sequence[int]) -> str:
    return str(tokenizer(folder).decode(list(ids), skip_special_tokens=True))
