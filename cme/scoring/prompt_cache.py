"""Keys and values of prompts that several responses share.

A first pass over the distinct prompts stores them. Passes over responses attend to them and store nothing. Prompts are
padded on the left and responses on the right, so no row has a gap between the two, and a layer with a sliding window
sees the same distances as without padding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicLayer, PreTrainedModel

from cme.models.padding import pad


class _Layer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values of B prompts, (B, heads, P, head size)."""

    rows: torch.Tensor | None = None
    """The prompt of each response of the current pass, (N,); None during the pass over the prompts."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values (B, heads, P, size) of the prompts on the first pass, and return them.

        Later, return the prompts' joined with those of N responses (N, heads, R, size): (N, heads, P + R, size).
        """
        if self.rows is None:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        single = len(self.keys) == 1  # expanding a single prompt copies nothing
        keys, values = (
            stored.expand(len(key_states), -1, -1, -1) if single else stored[self.rows]
            for stored in (self.keys, self.values)
        )
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


class PromptCache:
    """Computes distinct prompts once, then the hidden states of responses to them.

    Args:
        model: a causal language model whose layers attend to the keys and values of a cache.
        prompts: token ids of each distinct prompt, none empty.

    Raises ValueError for a model that puts no keys and values into its cache.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> None:
        self.decoder = model.get_decoder()
        self.device = model.device
        self.cache = Cache(layer_class_to_replicate=_Layer)
        ids, self.mask = pad(prompts, self.device, left=True)  # (B, P)
        self.lengths = self.mask.sum(1)
        self.last = (
            self.decoder(
                input_ids=ids,
                attention_mask=self.mask,
                position_ids=(self.mask.cumsum(1) - 1).clamp(min=0),
                past_key_values=self.cache,
                use_cache=True,
            )
            .last_hidden_state[:, -1]
            .clone()
        )  # (B, d)
        if len(self.cache.layers) == 0:
            raise ValueError("the model puts no keys and values into its cache")

    def hidden(
        self, rows: Sequence[int], responses: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (M, d) that predict the responses' M tokens, and those tokens (M,), row by row.

        `rows` (N,) is the prompt of each of the N responses. The prompt's last hidden state predicts the first token of
        a response. The last token of a response predicts nothing and is not computed.
        """
        ids, mask = pad(responses, self.device, left=False)  # (N, R)
        index = torch.tensor(rows, device=self.device)
        first = self.last[index][:, None]  # (N, 1, d)
        real = mask.bool()
        if ids.shape[1] < 2:
            return first[:, : ids.shape[1]][real], ids[real]
        for layer in self.cache.layers:
            layer.rows = index
        length = ids.shape[1] - 1
        states = self.decoder(
            input_ids=ids[:, :-1],
            attention_mask=torch.cat([self.mask[index], mask[:, :-1]], dim=1),
            position_ids=self.lengths[index][:, None] + torch.arange(length, device=self.device),
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state  # (N, R-1, d)
        return torch.cat([first, states], dim=1)[real], ids[real]
