"""The language-model head on chosen rows: log-likelihood and entropy without ever holding whole logits.

Rows are taken a chunk at a time and the vocabulary a tile at a time. The log-sum-exp is carried from tile to
tile in float32, so what is held at once does not grow with batch, length or vocabulary.
"""

import torch
from torch.nn import functional
from transformers import PreTrainedModel

TILES = {"cpu": (512, 4096), "cuda": (1024, 16384)}
"""Rows and vocabulary of one tile: 8 MiB of float32 stay in a CPU's cache, 64 MiB keep a GPU busy. With its
exponentials and a copy in the model's own dtype a tile takes at most 160 MiB."""

_LOWEST = torch.finfo(torch.float32).min


class Head:
    """The output embedding of a model with its logit scale and soft-capping, as its configuration names them.

    `logit_scale` multiplies (Cohere), `logits_scaling` divides (Granite), `final_logit_softcapping` c makes
    c tanh(z / c) (Gemma 2 and later).
    """

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config.get_text_config()
        output = model.get_output_embeddings()
        self.weight: torch.Tensor = output.weight  # (V, d)
        self.bias: torch.Tensor | None = getattr(output, "bias", None)
        self.scale = float(getattr(config, "logit_scale", None) or 1.0)
        self.scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        self.cap: float | None = getattr(config, "final_logit_softcapping", None)

    def score(
        self, hidden: torch.Tensor, targets: torch.Tensor, entropy: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-likelihoods (N,) of `targets` (N,) and entropies (N,) given hidden states (N, d), nats, float32.

        Without `entropy` the second is empty. Logits that are not finite give values that are not finite.
        """
        rows, tile = TILES.get(hidden.device.type, TILES["cuda"])
        parts = [
            self._rows(h, t, tile, entropy)
            for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
        ]
        if not parts:
            return hidden.new_empty(0, dtype=torch.float32), hidden.new_empty(0, dtype=torch.float32)
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _rows(
        self, hidden: torch.Tensor, targets: torch.Tensor, tile: int, entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = len(targets)
        top = hidden.new_full((rows,), _LOWEST, dtype=torch.float32)  # the largest logit so far
        total = torch.zeros_like(top)  # sum of exp(z - top)
        weighted = torch.zeros_like(top)  # sum of exp(z - top) z
        chosen = torch.zeros_like(top)
        for left in range(0, len(self.weight), tile):
            logits = self._logits(hidden, left, left + tile)  # (N, tile)
            inside = (targets >= left) & (targets < left + tile)
            index = (targets - left).clamp(0, logits.shape[1] - 1)
            chosen = torch.where(inside, logits.gather(1, index[:, None])[:, 0], chosen)
            higher = torch.maximum(top, logits.amax(1))
            shrink = (top - higher).exp()
            if entropy:
                share = (logits - higher[:, None]).exp_()
                # a masked token's logit is -inf and its share 0: their product must be 0, not NaN
                weighted = weighted * shrink + logits.clamp_(min=_LOWEST).mul_(share).sum(1)
            else:
                share = logits.sub_(higher[:, None]).exp_()
            total = total * shrink + share.sum(1)
            top = higher
            del logits, share  # before the next tile is made
        normalizer = top + total.log()
        return chosen - normalizer, (normalizer - weighted / total) if entropy else top[:0]

    def _logits(self, hidden: torch.Tensor, left: int, right: int) -> torch.Tensor:
        """One tile of logits in float32, (N, right - left or what is left of the vocabulary)."""
        bias = None if self.bias is None else self.bias[left:right]
        logits = functional.linear(hidden, self.weight[left:right], bias).float()
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.cap is not None:
            logits.div_(self.cap).tanh_().mul_(self.cap)
        return logits
