"""Responses of a model to prompts, generated in batches."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Required, TypedDict, Unpack

import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cme.models import chat
from cme.models.generation_log import GenerationLog
from cme.records import Generation


class GenerationSettings(TypedDict, total=False):
    """Keyword arguments of `generate` and `generate_ids`.

    max_new_tokens: maximum length of a response.
    batch_size: prompts per batch. What a seed samples depends on it.
    temperature: 0 (the default) decodes greedily, any other value samples.
    seed: seed of the sampling; torch's global generator is then left as it was. None (the default) samples from that
        generator.
    progress: label of a progress bar; None (the default) for no bar.
    log: batches of an earlier attempt, which are reused, and where new ones are saved.
    """

    max_new_tokens: Required[int]
    batch_size: Required[int]
    temperature: float
    seed: int | None
    progress: str | None
    log: GenerationLog | None


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[chat.Text],
    **settings: Unpack[GenerationSettings],
) -> list[Generation]:
    """One response to each prompt, as text."""
    return decode(tokenizer, generate_ids(model, tokenizer, prompts, **settings))


def decode(tokenizer: PreTrainedTokenizerBase, responses: Sequence[Sequence[int]]) -> list[Generation]:
    """The token ids of responses as text. A response is finished if its last token is the end of turn."""
    end = chat.end_of_turn_id(tokenizer)
    generations = []
    for ids in responses:
        finished = len(ids) > 0 and ids[-1] == end
        text = tokenizer.decode(ids[:-1] if finished else ids, skip_special_tokens=True)
        generations.append(Generation(str(text), finished, len(ids)))
    return generations


@torch.no_grad()
def generate_ids(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[chat.Text],
    **settings: Unpack[GenerationSettings],
) -> list[list[int]]:
    """Token ids of one response to each prompt, including the token that ends its turn.

    Prompts of similar length share a batch, padded on the left. The responses come in the order of `prompts`.
    """
    batch_size, max_new_tokens = settings["batch_size"], settings["max_new_tokens"]
    temperature, seed = settings.get("temperature", 0.0), settings.get("seed")
    progress, log = settings.get("progress"), settings.get("log")
    rendered = [chat.prompt_ids(tokenizer, p) for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(rendered[i]))
    decoding: dict[str, Any] = {"do_sample": False}
    if temperature:
        decoding = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    decoding |= {"max_new_tokens": max_new_tokens, "eos_token_id": chat.end_of_turn_id(tokenizer)}
    if log is not None:
        request = json.dumps([rendered, max_new_tokens, temperature, seed])
        log.begin(hashlib.sha256(request.encode()).hexdigest())
    responses: dict[int, list[int]] = {}
    starts = range(0, len(order), batch_size)
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        for start in tqdm(starts, desc=progress, disable=progress is None, leave=False):
            rows = order[start : start + batch_size]
            batch = None if log is None else log.replay(rows)
            if batch is None:
                batch = _generate_batch(model, [rendered[i] for i in rows], tokenizer.pad_token_id, decoding)
                if log is not None:
                    log.add(rows, batch, random=bool(temperature))
            responses |= dict(zip(rows, batch, strict=True))
    return [responses[i] for i in range(len(prompts))]


def _generate_batch(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], padding: int, decoding: dict[str, Any]
) -> list[list[int]]:
    """Token ids of the responses, given the token ids of B prompts."""
    ids, mask = pad(prompts, model.device, left=True, value=padding)  # (B, P)
    output = model.generate(input_ids=ids, attention_mask=mask, pad_token_id=padding, **decoding)
    end = decoding["eos_token_id"]
    responses = output[:, ids.shape[1] :].tolist()
    return [new[: new.index(end) + 1] if end in new else new for new in responses]


def pad(
    rows: Sequence[Sequence[int]], device: torch.device, *, left: bool, value: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, T) padded with `value` on the left or right, and their mask (B, T)."""
    side = "left" if left else "right"
    tokens = [torch.tensor(row, dtype=torch.long) for row in rows]
    ids = pad_sequence(tokens, batch_first=True, padding_value=value, padding_side=side)
    mask = pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True, padding_side=side)
    return ids.to(device), mask.to(device)
