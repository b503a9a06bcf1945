"""Rows of different lengths in one batch: their padding, and how they leave each other's values as they are alone."""

from collections.abc import Callable, Sequence

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from cme.models.architecture import reads_positions, short_length


def pad(
    rows: Sequence[Sequence[int]], device: torch.device, *, left: bool, value: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, T) padded with `value` on the left or right, and their mask (B, T)."""
    side = "left" if left else "right"
    tokens = [torch.tensor(row, dtype=torch.long) for row in rows]
    ids = pad_sequence(tokens, batch_first=True, padding_value=value, padding_side=side)
    mask = pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True, padding_side=side)
    return ids.to(device), mask.to(device)


def row_groups(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> list[list[int]]:
    """Indices of the prompts that may share a batch, padded on the left, without changing each other's responses.

    Any may, with two exceptions. A model that is not told positions gets prompts of one length, which need no padding.
    With `longrope` (`short_length`), prompts whose responses reach the switch of factors share a batch with those that
    reach it at the same token, and the others with those on their side of it.
    """
    short, told = short_length(model), reads_positions(model)
    groups: dict[int | None, list[int]] = {}
    for i, prompt in enumerate(prompts):
        length, key = len(prompt), None
        if not told or (short is not None and length <= short < length + max_new_tokens - 1):
            key = length
        elif short is not None and length > short:
            key = -1
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def respond_in_groups(
    respond: Callable[[list[int]], list[list[int]]],
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    """Responses to B prompts. `respond` gets the indices of the prompts of one of `row_groups` at a time."""
    responses: dict[int, list[int]] = {}
    for rows in row_groups(model, prompts, max_new_tokens):
        responses |= dict(zip(rows, respond(rows), strict=True))
    return [responses[i] for i in range(len(prompts))]


def compute_alone(
    compute: Callable[[torch.Tensor, torch.Tensor, int], list[torch.Tensor]],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    columns: int,
    model: PreTrainedModel,
) -> list[torch.Tensor]:
    """Values (B, C, ...) of the last C columns of rows (B, T), each as `model` has them for the row alone.

    The rows are padded on the left. `compute` receives rows (N, W) with all padding behind them, where no token of a
    causal model sees it, and returns values (N, K, ...) of their last K columns. With `longrope`, it receives rows on
    one side of the switch of factors at a time.
    """
    short, width = short_length(model), input_ids.shape[1]
    left = attention_mask.argmax(1, keepdim=True)  # (B, 1)
    moved = (torch.arange(width, device=left.device) + left) % width
    ids, mask = input_ids.gather(1, moved), attention_mask.gather(1, moved)
    lengths = mask.sum(1)
    wanted = torch.arange(width - columns, width, device=left.device) - left  # (B, C)
    is_long = lengths > (width if short is None else short)
    order, parts = [], []
    for rows in (side.nonzero()[:, 0] for side in (~is_long, is_long) if side.any()):
        longest, first = int(lengths[rows].max()), int(wanted[rows].min())
        values = compute(ids[rows, :longest], mask[rows, :longest], longest - first)
        row = torch.arange(len(rows), device=rows.device)[:, None]
        column = (wanted[rows] - first).clamp(max=longest - first - 1)
        parts.append([value[row, column] for value in values])
        order.append(rows)
    back = torch.cat(order).argsort()
    return [torch.cat(part)[back] for part in zip(*parts, strict=True)]
