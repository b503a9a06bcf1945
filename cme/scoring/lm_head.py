"""The language-model head: log-likelihood, entropy and certainty of selected rows, without materialising all logits.

Rows are processed in chunks and the vocabulary in tiles. The log-sum-exp accumulates over tiles in float32, so memory
does not grow with the batch, the length or the vocabulary.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from cme.models.architecture import config_field

TILES = {"cpu": (512, 4096), "cuda": (1024, 16384)}
"""Rows and vocabulary of one tile: 8 MiB of float32 fit a CPU's cache, 64 MiB keep a GPU busy. With its exponentials
and a copy in the model's dtype a tile takes at most 160 MiB."""

_LOWEST = torch.finfo(torch.float32).min


class HeadScores(NamedTuple):
    """Values of N rows, (N,) each, in nats, float32; empty where not requested.

    With logits z over the V rows of the output embedding and p = softmax(z): log p of the target, the entropy H(p), the
    certainty KL(uniform || p) = logsumexp(z) - mean(z) - log V, which is infinite where a token is masked, and the
    normalizer logsumexp(z).
    """

    log_likelihoods: torch.Tensor
    entropies: torch.Tensor
    certainties: torch.Tensor
    normalizers: torch.Tensor


class Head(ABC):
    """Scores rows from tiles of their logits.

    Attributes:
        vocabulary: V, the number of logits of a row.
    """

    vocabulary: int

    def score(
        self, states: torch.Tensor, targets: torch.Tensor, *, entropy: bool = False, certainty: bool = False
    ) -> HeadScores:
        """Scores of `targets` (N,) from N rows of states. Logits that are not finite give values that are not."""
        rows, tile = TILES.get(states.device.type, TILES["cuda"])
        parts = [
            self._rows(s, t, tile, entropy, certainty)
            for s, t in zip(torch.split(states, rows), torch.split(targets, rows), strict=True)
        ]
        if not parts:
            return HeadScores(*[states.new_empty(0, dtype=torch.float32)] * 4)
        return HeadScores(*map(torch.cat, zip(*parts, strict=True)))

    def _rows(
        self, states: torch.Tensor, targets: torch.Tensor, tile: int, entropy: bool, certainty: bool
    ) -> HeadScores:
        rows = len(targets)
        top = states.new_full((rows,), _LOWEST, dtype=torch.float32)  # the largest logit so far
        total = torch.zeros_like(top)  # sum of exp(z - top)
        weighted = torch.zeros_like(top)  # sum of exp(z - top) z
        summed = torch.zeros_like(top)  # sum of z
        chosen = torch.zeros_like(top)
        for left in range(0, self.vocabulary, tile):
            logits = self._logits(states, left, left + tile)  # (N, tile)
            inside = (targets >= left) & (targets < left + tile)
            index = (targets - left).clamp(0, logits.shape[1] - 1)
            chosen = torch.where(inside, logits.gather(1, index[:, None])[:, 0], chosen)
            higher = torch.maximum(top, logits.amax(1))
            shrink = (top - higher).exp()
            if certainty:
                summed += logits.sum(1)
            if entropy:
                share = (logits - higher[:, None]).exp_()
                # a masked token has logit -inf and share 0: their product must be 0, not NaN
                weighted = weighted * shrink + logits.clamp_(min=_LOWEST).mul_(share).sum(1)
            else:
                share = logits.sub_(higher[:, None]).exp_()
            total = total * shrink + share.sum(1)
            top = higher
            del logits, share  # before the next tile is allocated
        normalizer = top + total.log()
        return HeadScores(
            chosen - normalizer,
            normalizer - weighted / total if entropy else top[:0],
            normalizer - summed / self.vocabulary - math.log(self.vocabulary) if certainty else top[:0],
            normalizer,
        )

    @abstractmethod
    def _logits(self, states: torch.Tensor, left: int, right: int) -> torch.Tensor:
        """One tile of logits in float32, (N, columns), which may be overwritten; the last tile may be narrower."""


class LMHead(Head):
    """A model's output embedding on its last hidden states (N, d), with the scale and the soft cap of its logits.

    Of the model's configuration, `logit_scale` multiplies the logits z (Cohere), `logits_scaling` divides them
    (Granite), and `final_logit_softcapping` c replaces them by c tanh(z / c) (Gemma 2 and later). With `exact`, the
    logits are computed in float32 whatever the model's dtype.
    """

    def __init__(self, model: PreTrainedModel, exact: bool = False) -> None:
        output = model.get_output_embeddings()
        self.weight: torch.Tensor = output.weight  # (V, d)
        self.vocabulary = len(self.weight)
        self.bias: torch.Tensor | None = output.bias  # (V,)
        self.scale = float(config_field(model, "logit_scale") or 1.0)
        self.scale /= float(config_field(model, "logits_scaling") or 1.0)
        self.cap: float | None = config_field(model, "final_logit_softcapping")
        self.exact = exact

    def _logits(self, states: torch.Tensor, left: int, right: int) -> torch.Tensor:
        weight = self.weight[left:right]
        bias = None if self.bias is None else self.bias[left:right]
        if self.exact:
            states, weight, bias = states.float(), weight.float(), None if bias is None else bias.float()
        logits = functional.linear(states, weight, bias).float()
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.cap is not None:
            logits.div_(self.cap).tanh_().mul_(self.cap)
        return logits


class FullLogits(Head):
    """Rows of a model's own logits (N, V) in place of hidden states, for a model that `LMHead` does not describe."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def _logits(self, states: torch.Tensor, left: int, right: int) -> torch.Tensor:
        return states[:, left:right].to(torch.float32, copy=True)
