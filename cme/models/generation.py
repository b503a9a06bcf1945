"""Responses of a model to prompts, generated in batches."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cme.models import chat
from cme.models.generation_log import GenerationLog
from cme.records import Generation


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[chat.Text],
    *,
    max_new_tokens: int,
    batch_size: int,
    temperature: float = 0.0,
    seed: int | None = None,
    progress: str | None = None,
    log: GenerationLog | None = None,
) -> list[Generation]:
    """One response to each prompt, as text. The arguments are those of `generate_ids`."""
    end = chat.end_of_turn_id(tokenizer)
    responses = generate_ids(
        model,
        tokenizer,
        prompts,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        temperature=temperature,
        seed=seed,
        progress=progress,
        log=log,
    )
    return [decode_generation(tokenizer, ids, end) for ids in responses]


def decode_generation(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], end: int) -> Generation:
    """The token ids of a response as text. The response is finished if its last token is `end`."""
    [finished] = chat.finished_flags([ids], end)
    content = ids[:-1] if finished else ids
    return Generation(str(tokenizer.decode(content, skip_special_tokens=True)), finished, len(ids))


@torch.no_grad()
def generate_ids(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[chat.Text],
    *,
    max_new_tokens: int,
    batch_size: int,
    temperature: float = 0.0,
    seed: int | None = None,
    progress: str | None = None,
    log: GenerationLog | None = None,
) -> list[list[int]]:
    """Token ids of one response to each prompt, including the token that ends its turn.

    Prompts of similar length share a batch, padded on the left. The responses come in the order of `prompts`.

    Args:
        max_new_tokens: maximum length of a response.
        batch_size: prompts per batch. What a seed samples depends on it.
        temperature: 0 decodes greedily, any other value samples.
        seed: seed of the sampling; torch's global generator is then left as it was. None samples from that generator.
        progress: label of a progress bar; None for no bar.
        log: batches of an earlier attempt, which are reused, and where new ones are saved.
    """
    end = chat.end_of_turn_id(tokenizer)
    rendered = [chat.prompt_ids(tokenizer, p) for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(rendered[i]))
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    )
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
                batch = _generate_batch(
                    model, tokenizer, [rendered[i] for i in rows], end, max_new_tokens, sampling
                )
                if log is not None:
                    log.add(rows, batch, random=bool(temperature))
            responses |= dict(zip(rows, batch, strict=True))
    return [responses[i] for i in range(len(prompts))]


def _generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    end: int,
    max_new_tokens: int,
    sampling: Mapping[str, Any],
) -> list[list[int]]:
    """Token ids of the responses, given the token ids of B prompts."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), tokenizer.pad_token_id, device=model.device)  # (B, P)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    output = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=max_new_tokens,
        eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
        **({"do_sample": False} | dict(sampling)),
    )
    return [new[: new.index(end) + 1] if end in new else new for new in output[:, width:].tolist()]
