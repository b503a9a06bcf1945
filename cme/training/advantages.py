"""Group-relative advantages, from one reward per completion or one value per token.

    A_i = (r_i - mean_group r) / (max(std_group r, floor) + 1e-4)

as in GRPO (arXiv 2402.03300), with TRL's constant and sample standard deviation. For values per token, mean and
deviation are over the group's completions at each position (the paper's dense variant), or over all tokens of the
group's completions.
"""

import torch

from cme.rewards.base import Normalize

EPSILON = 1e-4


def group_advantages(
    values: torch.Tensor, group: int, normalize: Normalize = "position", *, floor: float, scale: bool
) -> torch.Tensor:
    """Advantages (B, T) of values (B, T) in groups of consecutive rows; T is 1 for one reward per completion.

    NaN is a completion or token without a value. A value that is not finite gets 0, and so does one without another to
    compare with: at a position that only one completion of the group reaches, or in a group with a single value.
    """
    dims = (1,) if normalize == "position" else (1, 2)
    grouped = values.view(-1, group, values.shape[1])
    finite = grouped.isfinite()
    count = finite.sum(dims, keepdim=True)
    known = torch.where(finite, grouped, 0.0)
    mean = known.sum(dims, keepdim=True) / count.clamp(min=1)
    centred = torch.where(finite, known - mean, 0.0)
    if scale:
        variance = centred.square().sum(dims, keepdim=True) / (count - 1).clamp(min=1)
        centred = centred / (variance.sqrt().clamp(min=floor) + EPSILON)
    return torch.where(count > 1, centred, 0.0).view(values.shape)
