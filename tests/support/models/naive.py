"""Scores of responses computed the slow, obvious way: one row, no padding, no cache, whole logits in float64."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cme.checkpoints import Checkpoint


@dataclass(frozen=True)
class Scores:
    """Log-likelihood, entropy, certainty KL(uniform || p) and logsumexp of the logits of T tokens, nats.

    With the tokens' character spans where there is text.
    """

    values: list[float]
    entropies: list[float]
    certainties: list[float]
    ids: Sequence[int]
    spans: Sequence[tuple[int, int]] = ()
    normalizers: Sequence[float] = ()

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)

    @property
    def total(self) -> float:
        return math.fsum(self.values)


def standardize(known: Sequence[float], value: float, floor: float, scale: bool) -> float:
    """A value standardised by the values that are not NaN; 0 where there are fewer than two."""
    numbers = [v for v in known if not math.isnan(v)]
    if math.isnan(value) or len(numbers) < 2:
        return 0.0
    centred = value - statistics.fmean(numbers)
    return centred / (max(statistics.stdev(numbers), floor) + 1e-4) if scale else centred


@torch.no_grad()
def score_ids(
    model: Any, prompt: Sequence[int], response: Sequence[int], spans: Sequence[tuple[int, int]] = ()
) -> Scores:
    """Scores of a response's token ids, given its prompt's."""
    if not response:
        return Scores([], [], [], [])
    logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0].double()
    normalizers = logits[len(prompt) - 1 : -1].exp().sum(-1).log().tolist()
    rows = logits[len(prompt) - 1 : -1].log_softmax(-1)
    values = [float(row[token]) for row, token in zip(rows, response, strict=True)]
    entropies = [-float((row.exp() * row).sum()) for row in rows]
    certainties = [-float(row.mean()) - math.log(len(row)) for row in rows]
    return Scores(values, entropies, certainties, response, spans, normalizers)


def score(checkpoint: Checkpoint, prompt: str, response: str, end: bool = False) -> Scores:
    """Scores of a response in the model's own template and tokens; with `end`, of its end-of-turn token too."""
    tokenizer = checkpoint.tokenizer
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    head = tokenizer(text, add_special_tokens=False)["input_ids"]
    encoded = tokenizer(response, add_special_tokens=False, return_offsets_mapping=True)
    ids = encoded["input_ids"] + [tokenizer.eos_token_id] * end
    spans = [*map(tuple, encoded["offset_mapping"]), *[(len(response), len(response))] * end]
    return score_ids(checkpoint.model, head, ids, spans)
