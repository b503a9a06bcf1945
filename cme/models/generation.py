"""Responses of a model to prompts, in batches."""

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
    unfinished: GenerationLog | None = None,
) -> list[Generation]:
    """One response to each prompt, as `token_ids` gives it, read as text."""
    end = chat.end_of_turn_id(tokenizer)
    found = generate_ids(
        model,
        tokenizer,
        prompts,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        temperature=temperature,
        seed=seed,
        progress=progress,
        unfinished=unfinished,
    )
    return [decode_generation(tokenizer, ids, end) for ids in found]


def decode_generation(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], end: int) -> Generation:
    """A response's token ids as text; it is finished where its last token is the one that ends a turn."""
    [finished] = chat.finished_flags([ids], end)
    own = ids[:-1] if finished else ids
    return Generation(str(tokenizer.decode(own, skip_special_tokens=True)), finished, len(ids))


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
    unfinished: GenerationLog | None = None,
) -> list[list[int]]:
    """Token ids of one response to each prompt, up to and with the token that ends its turn.

    Greedy at temperature 0, else sampled: from a generator seeded with `seed`, which leaves torch's global one as it
    is, or without a seed from that one. What a seed gives depends on the batches. Prompts of like length share one,
    left-padded; the responses come back in the order of `prompts`. Batches that `unfinished` has are not made again.
    """
    end = chat.end_of_turn_id(tokenizer)
    rendered = [chat.prompt_ids(tokenizer, p) for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(rendered[i]))
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    )
    if unfinished is not None:
        asked = json.dumps([rendered, max_new_tokens, temperature, seed])
        unfinished.begin(hashlib.sha256(asked.encode()).hexdigest())
    found: dict[int, list[int]] = {}
    starts = range(0, len(order), batch_size)
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        for start in tqdm(starts, desc=progress, disable=progress is None, leave=False):
            rows = order[start : start + batch_size]
            new = None if unfinished is None else unfinished.again(rows)
            if new is None:
                new = _batch(model, tokenizer, [rendered[i] for i in rows], end, max_new_tokens, sampling)
                if unfinished is not None:
                    unfinished.add(rows, new, random=bool(temperature))
            found |= dict(zip(rows, new, strict=True))
    return [found[i] for i in range(len(prompts))]


def _batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    end: int,
    max_new_tokens: int,
    sampling: Mapping[str, Any],
) -> list[list[int]]:
    """Token ids of the responses to B prompts' token ids."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), tokenizer.pad_token_id, device=model.device)  # (B, P)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=max_new_tokens,
        eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
        **({"do_sample": False} | dict(sampling)),
    )
    return [new[: new.index(end) + 1] if end in new else new for new in out[:, width:].tolist()]
