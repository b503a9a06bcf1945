"""Responses of a model to prompts, generated in batches.

Our own loop decodes them. It computes each distinct prompt once, whatever its number of responses, drops a response
from the batch when it ends, and draws one uniform number per token. For a small model on a CPU this takes about half of
the time of transformers' `generate`, which samples from the same distribution by other draws.

The rows of a batch do not change each other's responses, up to rounding. Where padding, or a longer row, would change
what a model computes, only rows of one length share a batch (`cme.models.padding.row_groups`).
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Required, TypedDict, Unpack

import torch
from accelerate.utils import is_peft_model
from tqdm import tqdm
from transformers import (
    DynamicCache,
    DynamicLayer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.cache_utils import DynamicSlidingWindowLayer

from cme.models import chat
from cme.models.architecture import keeps_keys_and_values, short_length
from cme.models.generation_log import GenerationLog
from cme.models.padding import pad, respond_in_groups
from cme.records import Generation

NEUTRAL_DECODING = {
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
}
"""Fields of GenerationConfig at which the model's own distribution decides."""


class GenerationSettings(TypedDict, total=False):
    """Keyword arguments of `generate` and `generate_ids`.

    max_new_tokens: maximum length of a response.
    batch_size: prompts per batch. What a seed samples depends on it.
    temperature: 0 (the default) decodes greedily, any other value samples.
    seed: seed of the sampling; torch's global generator is then left as it was. None (the default) samples from that
        generator.
    end_ids: ids of the tokens that end a response; None (the default) for all of the model's (`chat.end_ids`).
    progress: label of a progress bar; None (the default) for no bar.
    log: batches of an earlier attempt, which are reused, and where new ones are saved.
    """

    max_new_tokens: Required[int]
    batch_size: Required[int]
    temperature: float
    seed: int | None
    end_ids: Collection[int] | None
    progress: str | None
    log: GenerationLog | None


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[chat.Text],
    **settings: Unpack[GenerationSettings],
) -> list[Generation]:
    """One response to each prompt, as text."""
    end_ids = _end_ids(model, tokenizer, settings)
    return decode(tokenizer, generate_ids(model, tokenizer, prompts, **settings), end_ids)


def decode(
    tokenizer: PreTrainedTokenizerBase, responses: Sequence[Sequence[int]], end_ids: Collection[int]
) -> list[Generation]:
    """The token ids of responses as text. A response is finished if its last token is one of `end_ids`."""
    generations = []
    for ids, finished in zip(responses, chat.finished_flags(responses, end_ids), strict=True):
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
    """Token ids of one response to each prompt, including the token that ends it.

    Prompts of similar length share a batch, padded on the left. The responses come in the order of `prompts`. Raises
    ValueError for a prompt of which the tokenizer does not know most.
    """
    chat.refuse_unknown_prompts(tokenizer, prompts)
    batch_size, max_new_tokens = settings["batch_size"], settings["max_new_tokens"]
    temperature, seed = settings.get("temperature", 0.0), settings.get("seed")
    progress, log = settings.get("progress"), settings.get("log")
    rendered = chat.prompts_ids(tokenizer, prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(rendered[i]))
    end_ids = _end_ids(model, tokenizer, settings)
    fields = decoding_fields(temperature, max_new_tokens, end_ids)
    decoding = GenerationConfig(**fields, pad_token_id=tokenizer.pad_token_id)
    if log is not None:
        request = json.dumps([rendered, fields, seed])
        log.begin(hashlib.sha256(request.encode()).hexdigest())
    responses: dict[int, list[int]] = {}
    starts = range(0, len(order), batch_size)
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        for start in starts if progress is None else tqdm(starts, desc=progress, leave=False):
            rows = order[start : start + batch_size]
            batch = None if log is None else log.replay(rows)
            if batch is None:
                batch = _generate_batch(model, [rendered[i] for i in rows], decoding)
                if log is not None:
                    log.add(rows, batch, random=bool(temperature))
            responses |= dict(zip(rows, batch, strict=True))
    return [responses[i] for i in range(len(prompts))]


def decoding_fields(temperature: float, max_new_tokens: int, end_ids: Collection[int]) -> dict[str, Any]:
    """The fields of GenerationConfig that decide on a response. None of them is the checkpoint's."""
    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    length = {"max_new_tokens": max_new_tokens, "eos_token_id": sorted(end_ids)}
    return NEUTRAL_DECODING | {"do_sample": bool(temperature)} | sampling | length


def _end_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: GenerationSettings
) -> Collection[int]:
    given = settings.get("end_ids")
    return chat.end_ids(tokenizer, model.generation_config) if given is None else given


def _generate_batch(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], decoding: GenerationConfig
) -> list[list[int]]:
    """Token ids of the responses, given the token ids of B prompts."""
    ends, length = set(decoding.eos_token_id), decoding.max_new_tokens
    if can_repeat_prompts(model):
        temperature = decoding.temperature if decoding.do_sample else 0.0
        return sample(model, prompts, ends, max_new_tokens=length, temperature=temperature)

    def respond(rows: list[int]) -> list[list[int]]:
        ids, mask = pad([prompts[i] for i in rows], model.device, left=True, value=decoding.pad_token_id)
        with without_own_fields(model):
            output = model.generate(input_ids=ids, attention_mask=mask, generation_config=decoding)
        responses = output[:, ids.shape[1] :].tolist()
        return [
            row[: next((t + 1 for t, token in enumerate(row) if token in ends), None)] for row in responses
        ]

    return respond_in_groups(respond, model, prompts, length)


@contextmanager
def without_own_fields(model: PreTrainedModel) -> Iterator[None]:
    """Set a model's generation config aside: transformers fills in from it whatever a request leaves open."""
    base = model.get_base_model() if is_peft_model(model) else model
    own, base.generation_config = base.generation_config, GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = own


def can_repeat_prompts(model: PreTrainedModel) -> bool:
    """Whether all that a model keeps of a prompt is keys and values, so that `sample` can repeat them.

    Models with recurrent layers, such as Mamba, keep more.
    """
    layers = DynamicCache(config=model.config).layers
    return keeps_keys_and_values(model) and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
    )


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    end_ids: Collection[int],
    *,
    max_new_tokens: int,
    temperature: float,
) -> list[list[int]]:
    """Token ids of one response to each of B prompts, including the token that ends it; greedy at temperature 0.

    The draws are torch.rand(max_new_tokens, B): token t of response b is the first whose cumulative probability exceeds
    draw [t, b]. So a response does not depend on when the others end.
    """
    draws = torch.rand(max_new_tokens, len(prompts), device=model.device) if temperature else None
    ends = torch.tensor(sorted(end_ids), device=model.device)

    def respond(rows: list[int]) -> list[list[int]]:
        drawn = None if draws is None else draws[:, rows]
        return _sample_group(model, [prompts[i] for i in rows], ends, max_new_tokens, temperature, drawn)

    return respond_in_groups(respond, model, prompts, max_new_tokens)


def _sample_group(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    ends: torch.Tensor,
    max_new_tokens: int,
    temperature: float,
    draws: torch.Tensor | None,
) -> list[list[int]]:
    """Responses to the prompts of one of `row_groups`."""
    position = {ids: i for i, ids in enumerate(dict.fromkeys(map(tuple, prompts)))}
    ids, mask = pad(list(position), model.device, left=True)  # distinct prompts (D, P)
    cache = DynamicCache()
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]  # (D, V)
    prompt_of = torch.tensor([position[tuple(prompt)] for prompt in prompts], device=ids.device)
    cache.batch_select_indices(prompt_of)
    mask, logits = mask[prompt_of], logits[prompt_of]
    short = short_length(model)
    rows = torch.arange(len(prompts), device=ids.device)  # responses that have not ended
    responses: list[list[int]] = [[] for _ in prompts]
    for step in range(max_new_tokens):
        if draws is None:
            tokens = logits.argmax(1)
        else:
            cumulative = (logits.float() / temperature).softmax(1).cumsum(1)
            drawn = draws[step, rows] * cumulative[:, -1]
            tokens = torch.searchsorted(cumulative, drawn[:, None], right=True)[:, 0]
            tokens.clamp_(max=logits.shape[1] - 1)
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            responses[row].append(token)
        going = torch.isin(tokens, ends, invert=True)
        if step + 1 == max_new_tokens or not going.any():
            break
        if not going.all():
            kept = going.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            rows, tokens, mask = rows[kept], tokens[kept], mask[kept]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        inputs = tokens[:, None]
        if mask.shape[1] - 1 == short:  # from here on the long factors, which the stored keys do not have
            cache = DynamicCache()
            inputs = torch.tensor([[*prompts[i], *responses[i]] for i in rows.tolist()], device=ids.device)
        logits = model(
            input_ids=inputs,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1)[:, -inputs.shape[1] :],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]  # (rows, V)
    return responses
