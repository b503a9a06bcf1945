"""Group-relative advantages, from one reward per completion or one value per token.

    A_i = (r_i - mean_group r) / (max(std_group r, floor) + 1e-4)

as in GRPO (arXiv 2402.03300), with TRL's constant and sample standard deviation. For values per token, mean and
deviation are over the group's completions at each position (the paper's dense variant), or over all tokens of the
group's completions.
"""

from typing import Literal

import torch

Normalize = Literal["position", "sequence"]
EPSILON = 1e-4


def sequence_advantages(rewards: torch.Tensor, group: int, *, floor: float, scale: bool) -> torch.Tensor:
    """Advantages (B,) of rewards (B,) in groups of consecutive rows; NaN (unscored) is left out and gets 0."""
    return _standardize(rewards.view(-1, group, 1), (1,), floor, scale).view(-1)


def token_advantages(
    values: torch.Tensor, group: int, normalize: Normalize, *, floor: float, scale: bool
) -> torch.Tensor:
    """Advantages (B, T) of values per token (B, T), NaN for a token without a value; values that are not finite get 0.

    A token without another value to compare with gets 0: at a position that only one completion of the group reaches,
    or in a group with a single value.
    """
    dims = (1,) if normalize == "position" else (1, 2)
    return _standardize(values.view(-1, group, values.shape[1]), dims, floor, scale).view(values.shape)


def _standardize(values: torch.Tensor, dims: tuple[int, ...], floor: float, scale: bool) -> torch.Tensor:
    finite = values.isfinite()
    count = finite.sum(dims, keepdim=True)
    known = torch.where(finite, values, 0.0)
    mean = known.sum(dims, keepdim=True) / count.clamp(min=1)
    centred = torch.where(finite, known - mean, 0.0)
    if scale:
        variance = centred.square().sum(dims, keepdim=True) / (count - 1).clamp(min=1)
        centred = centred / (variance.sqrt().clamp(min=floor) + EPSILON)
    return torch.where(count > 1, centred, 0.0)
