"""Responses of a model to prompts, in batches."""

from collections.abc import Sequence

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cme import chat
from cme.records import Generation


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[chat.Text],
    *,
    max_new_tokens: int,
    batch_size: int,
    temperature: float = 0.0,
    progress: str | None = None,
) -> list[Generation]:
    """One response to each prompt: greedy at temperature 0, else sampled from torch's global generator.

    Prompts of like length share a batch, left-padded; the responses come back in the order of `prompts`.
    """
    end = chat.end_of_turn_id(tokenizer)
    rendered = [chat.prompt_ids(tokenizer, p) for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(rendered[i]))
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    )
    found: dict[int, Generation] = {}
    starts = range(0, len(order), batch_size)
    for start in tqdm(starts, desc=progress, disable=progress is None, leave=False):
        rows = order[start : start + batch_size]
        width = max(len(rendered[i]) for i in rows)
        ids = torch.full((len(rows), width), tokenizer.pad_token_id, device=model.device)  # (B, P)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(rows):
            ids[row, width - len(rendered[i]) :] = torch.tensor(rendered[i])
            mask[row, width - len(rendered[i]) :] = 1
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id,
            **({"do_sample": False} | sampling),
        )
        for i, new in zip(rows, out[:, width:].tolist(), strict=True):
            finished = end in new
            own = new[: new.index(end)] if finished else new
            response = str(tokenizer.decode(own, skip_special_tokens=True))
            found[i] = Generation(response, finished, len(own) + finished)
    return [found[i] for i in range(len(prompts))]
