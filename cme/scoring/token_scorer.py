"""Log-likelihood, entropy and certainty of each response token under a model: the most expensive operation here.

A row's values do not depend on the other rows of its forward pass, up to rounding. Each distinct prompt is computed
once (`cme.scoring.prompt_cache`), and the head never holds the logits of the whole vocabulary (`cme.scoring.lm_head`).
On first use both are compared with the model's own values; a model that differs is scored densely, with a warning.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from cme import Unavailable
from cme.models.architecture import context_length, has_rounded_weights, short_length
from cme.models.padding import pad
from cme.scoring.batches import Batch, Ids, plan_batches
from cme.scoring.lm_head import FullLogits, LMHead
from cme.scoring.prompt_cache import PromptCache

LIMITS = {torch.float32: (1e-3, 1e-2), torch.float64: (1e-6, 1e-5)}
"""Nats by which values that should agree may differ, on average and at most."""
LOW_PRECISION_LIMITS = (0.05, 1.0)
"""The same for other precisions and for rounded weights; the rounding of the logits themselves may add to them."""

EMPTY = torch.empty(0)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenScores:
    """Scores of one response's T tokens, (T,) each, in nats; entropies and certainties are empty unless requested.

    `reason` says why a response could not be scored, in which case its values are NaN; None where it could. A certainty
    is KL(uniform || p) and a normalizer the logsumexp of the logits, as in `cme.scoring.lm_head`. Servers report no
    normalizers; there they are empty.
    """

    log_likelihoods: torch.Tensor
    entropies: torch.Tensor
    reason: str | None = None
    certainties: torch.Tensor = EMPTY
    normalizers: torch.Tensor = EMPTY


@dataclass(eq=False, repr=False)
class TokenScorer:
    """Scores the token ids of responses, given those of their prompts, under one model.

    Args:
        model: a causal language model.
        batch_tokens: bound on rows x columns of a forward pass. It halves when the device runs out of memory.
        share: compute each distinct prompt once; False scores prompt and response together in one row (densely).
        exact_head: compute the logits in float32 whatever the model's dtype. bfloat16 rounds a logit of 20 to a
            multiple of 0.125, which is too coarse to compare two likelihoods that are nearly equal.
    """

    model: PreTrainedModel
    _: KW_ONLY
    batch_tokens: int = 4096
    share: bool = True
    exact_head: bool = False

    def __post_init__(self) -> None:
        self._checked = self._full_logits = self._halved = False

    @torch.no_grad()
    def score(
        self,
        prompts: Sequence[Ids],
        responses: Sequence[Ids],
        *,
        entropy: bool = False,
        certainty: bool = False,
    ) -> list[TokenScores]:
        """Scores of N responses in nats, float32, on the CPU. Equal prompts are recognised and computed once.

        An empty response gets empty tensors. A response that is longer, with its prompt, than the model's context gets
        a reason. Raises ValueError for an empty prompt: the first response token needs a token before it.
        """
        if not all(prompts):
            raise ValueError("a prompt has no tokens; the first response token needs at least one before it")
        pairs = list(zip(prompts, responses, strict=True))
        context = context_length(self.model)
        scores: dict[int, TokenScores] = {}
        for i, (prompt, response) in enumerate(pairs):
            if context is not None and len(prompt) + len(response) > context:
                values = torch.full((len(response),), float("nan"))
                reason = f"prompt and response are longer than the model's context of {context} tokens"
                scores[i] = TokenScores(
                    values, values if entropy else EMPTY, reason, values if certainty else EMPTY, values
                )
            elif not len(response):
                scores[i] = TokenScores(EMPTY, EMPTY)
        training = self.model.training
        self.model.eval()  # no dropout, and no gradient checkpointing, which would drop the cache
        try:
            while len(scores) < len(pairs):
                pending = {i: pair for i, pair in enumerate(pairs) if i not in scores}
                try:
                    self._check_once(list(pending.values()))
                    share = self.share and self._checked
                    for batch, can_share in self._batches(pending):
                        scores |= self._score_batch(batch, pairs, share and can_share, entropy, certainty)
                except RuntimeError as error:
                    shortest = min(len(p) + len(r) for p, r in pending.values())
                    if not _out_of_memory(error) or self.batch_tokens <= shortest:
                        raise  # with memory for no row, smaller passes would not help
                    self._halve_passes()
        finally:
            self.model.train(training)
        return [scores[i] for i in range(len(pairs))]

    def _halve_passes(self) -> None:
        """Halve the bound on forward passes; warn the first time."""
        self.batch_tokens //= 2
        torch.cuda.empty_cache()
        if not self._halved:
            _log.warning(
                "out of memory: scoring continues with at most %d tokens per forward pass", self.batch_tokens
            )
        self._halved = True

    def _batches(self, pairs: dict[int, tuple[Ids, Ids]]) -> Iterator[tuple[Batch, bool]]:
        """Batches, and whether their prompts can be shared: not if a longer row would compute its prompt otherwise."""
        context, short = context_length(self.model), short_length(self.model)
        is_long = {i: short is not None and len(p) + len(r) > short for i, (p, r) in pairs.items()}
        for long, columns in ((False, short or context), (True, context)):
            of_kind = {i: pair for i, pair in pairs.items() if is_long[i] == long}
            for batch in plan_batches(of_kind, self.batch_tokens, columns):
                yield batch, not long

    def _score_batch(
        self,
        batch: Batch,
        pairs: Sequence[tuple[Ids, Ids]],
        share: bool,
        entropy: bool = False,
        certainty: bool = False,
    ) -> dict[int, TokenScores]:
        scores: dict[int, TokenScores] = {}
        cache = PromptCache(self.model, batch.prompts) if share else None
        for rows in batch.chunks:
            responses = [pairs[i][1] for i in rows]
            if cache is None:
                states, targets = self._dense([pairs[i] for i in rows])
            else:
                states, targets = cache.hidden([batch.prompt_of[i] for i in rows], responses)
            head = FullLogits(states.shape[1]) if self._full_logits else LMHead(self.model, self.exact_head)
            flat = head.score(states, targets, entropy=entropy, certainty=certainty)
            lengths = [len(response) for response in responses]
            by_row = [
                torch.split(part.cpu(), lengths) if len(part) else [part.cpu()] * len(rows) for part in flat
            ]
            for i, log_likelihoods, entropies, *others in zip(rows, *by_row, strict=True):
                scores[i] = TokenScores(log_likelihoods, entropies, None, *others)
        return scores

    def _dense(self, pairs: Sequence[tuple[Ids, Ids]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (M, d) that predict the responses' M tokens, and those tokens (M,), row by row.

        The model's own logits (M, V) in place of hidden states if its head differs. Prompt and response share a row,
        padded on the right: in a causal model no token depends on what follows it, so the padding is harmless whatever
        the model does with masks and positions.
        """
        ids, mask = pad([[*p, *r] for p, r in pairs], self.model.device, left=False)  # (B, P+R)
        if self._full_logits:
            states = self._own_logits(ids, attention_mask=mask)
        else:
            decoder = self.model.get_decoder()
            states = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        starts = torch.tensor([[len(p)] for p, _ in pairs], device=ids.device)
        position = torch.arange(ids.shape[1], device=ids.device)
        in_response = (position >= starts) & mask.bool()  # (B, P+R)
        return states[:, :-1][in_response[:, 1:]], ids[in_response]

    def _check_once(self, pairs: Sequence[tuple[Ids, Ids]]) -> None:
        """On first use, compare the head with the model's own logits and the shared path with the dense one.

        The comparison uses the longest response, the first half of it, and the second half of its prompt. Responses
        of one token need no forward pass of their own and cannot be compared; until a longer one comes, scoring is
        dense.
        """
        # the half of a prompt of one token is no other prompt
        longest = max(pairs, key=lambda pair: (len(pair[0]) > 1, len(pair[1])), default=([], []))
        if self._checked or len(longest[1]) < 2:
            return
        rounding = self._check_head(longest)
        if self.share:
            prompt, response = longest
            if (short := short_length(self.model)) is not None and len(prompt) + len(response) > short:
                prompt, response = prompt[-(short // 2) :], response[: short // 2]
            prompt = prompt[-max(1, self.batch_tokens // 2) :]  # so that both prompts are in one batch
            halves = prompt[len(prompt) // 2 :], response[: len(response) // 2 + 1]
            compared = [(prompt, response), (prompt, halves[1]), (halves[0], response)]
            difference = self._difference(compared, rounding)
            if difference:
                self.share = False
                _log.warning(
                    "%s: prompts cannot be shared between responses (%s); scoring densely",
                    type(self.model).__name__,
                    difference,
                )
        self._checked = True

    def _check_head(self, pair: tuple[Ids, Ids]) -> float:
        """Compare the head with the model's own logits at the last 32 tokens of a response; return their rounding.

        The model computes its logits z in its own precision, where an operation rounds them by up to eps |z| / 2: 0.1
        nats for |z| = 30 in bfloat16. So a difference of eps |z| on average, and of 4 eps |z| at most, is no
        difference; |z| is that of the largest logit of a row. Raises Unavailable for a model that is not causal.
        """
        row = torch.tensor([*pair[0], *pair[1]], device=self.model.device)
        targets = row[-min(32, len(pair[1])) :]
        logits = self._own_logits(row[None], logits_to_keep=len(targets) + 1)[0, :-1]
        rounding = torch.finfo(self.model.dtype).eps * float(logits.amax(1).abs().median())
        self._check_causal(row, rounding)
        if self.model.get_decoder() is self.model:
            difference: str | None = "it has no decoder apart from its head"
        else:
            ours = LMHead(self.model).score(self._dense([pair])[0][-32:], targets).log_likelihoods
            theirs = FullLogits(logits.shape[1]).score(logits, targets).log_likelihoods
            difference = self._beyond_limits(ours, theirs, rounding)
        if difference:
            self._full_logits, self.share = True, False
            _log.warning(
                "%s: its logits are not its head applied to its hidden states (%s); scoring densely with its own full "
                "logits, which takes more time and memory",
                type(self.model).__name__,
                difference,
            )
        return rounding

    def _check_causal(self, row: torch.Tensor, rounding: float) -> None:
        """Raise Unavailable where the logits of the first tokens of a row depend on a later one, as in an encoder."""
        row = row[: min(9, short_length(self.model) or len(row))]
        before, after = (self._own_logits(ids[None])[0, : len(row) - 1] for ids in (row[:-1], row))
        ours, theirs = (FullLogits(z.shape[1]).score(z, row[1:]).log_likelihoods for z in (before, after))
        if self._beyond_limits(ours, theirs, rounding):
            raise Unavailable(
                f"{type(self.model).__name__} is no causal language model: its probability of a token depends on the "
                "tokens that follow; use a checkpoint that generates text from left to right"
            )

    def _own_logits(self, ids: torch.Tensor, **settings: Any) -> torch.Tensor:
        """The model's own logits (B, T, V) of rows (B, T)."""
        # in mixed-precision training accelerate wraps `forward`, which hidden states do not pass through
        forward = self.model.__dict__.get("_original_forward", self.model.forward)
        logits: torch.Tensor = forward(input_ids=ids, use_cache=False, **settings).logits
        return logits

    def _difference(self, pairs: Sequence[tuple[Ids, Ids]], rounding: float) -> str | None:
        """How the shared path differs from the dense one; None where they agree."""
        shared: dict[int, TokenScores] = {}
        try:
            for batch, can_share in self._batches(dict(enumerate(pairs))):
                shared |= self._score_batch(batch, pairs, can_share)
        except Exception as error:
            if _out_of_memory(error):
                raise
            return f"{type(error).__name__}: {error}"
        alone = [LMHead(self.model).score(*self._dense([pair])).log_likelihoods.cpu() for pair in pairs]
        return self._beyond_limits(
            torch.cat([shared[i].log_likelihoods for i in range(len(pairs))]), torch.cat(alone), rounding
        )

    def _beyond_limits(self, a: torch.Tensor, b: torch.Tensor, rounding: float) -> str | None:
        """How far two tensors that should agree differ; None within the limits, and within `rounding` of logits.

        Values that are not finite are left out: both paths return them, and callers report them.
        """
        gap = (a - b).abs()
        gap = gap[gap.isfinite()]
        limits = LOW_PRECISION_LIMITS
        if not has_rounded_weights(self.model):
            limits = LIMITS.get(self.model.dtype, LOW_PRECISION_LIMITS)
        mean, most = max(limits[0], rounding), max(limits[1], 4 * rounding)
        if not len(gap) or (gap.mean() <= mean and gap.max() <= most):
            return None
        return f"differs by {float(gap.mean()):.2g} nats per token on average, {float(gap.max()):.2g} at most"


def _out_of_memory(error: Exception) -> bool:
    # on a CPU torch raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
