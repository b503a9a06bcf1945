"""Models that write what a test wants, and policies that are nothing but their end tokens."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import PreTrainedModel

HUB_FIELDS = {
    "do_sample": True,
    "temperature": 0.7,
    "top_k": 20,
    "top_p": 0.8,
    "repetition_penalty": 1.5,
    "no_repeat_ngram_size": 2,
    "min_new_tokens": 9,
    "max_new_tokens": 2048,
    "suppress_tokens": [40],
    "eos_token_id": [1, 2],
}
"""Fields that a generation_config.json on the hub may have; the ids are end tokens of Qwen's miniature."""


def published_copy(folder: Path, target: Path) -> str:
    """A copy of a checkpoint with a generation_config.json as on the hub."""
    shutil.copytree(folder, target)
    (target / "generation_config.json").write_text(json.dumps(HUB_FIELDS))
    return str(target)


@contextmanager
def forced(model: PreTrainedModel, logits: Sequence[torch.Tensor]) -> Iterator[None]:
    """While the block lasts, the model's logits at its n-th step are those given, at every position."""
    steps = iter(logits)

    def force(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        return next(steps).to(output).expand_as(output)

    handle = model.get_output_embeddings().register_forward_hook(force)
    try:
        yield
    finally:
        handle.remove()


def logits_of(script: Sequence[int], model: PreTrainedModel) -> list[torch.Tensor]:
    """Logits (V,) for each token of a script, which make it all but certain."""
    rows = torch.full((len(script), model.get_output_embeddings().weight.shape[0]), -10.0)
    rows[torch.arange(len(script)), torch.tensor(script)] = 10.0
    return list(rows)


def policy_ending_at(*end_ids: int) -> Any:
    """What a reward reads of a trainer whose policy ends its completions at the given tokens."""
    return SimpleNamespace(
        processing_class=SimpleNamespace(eos_token_id=end_ids[0], chat_template=None),
        model=SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=list(end_ids))),
    )
