"""Per-token log-likelihood, entropy and certainty of responses under a model: the hot operation of this project.

Each distinct prompt is computed once for all its responses (`cme.scoring.prompt_cache`), the head runs on response
rows alone and never holds whole logits (`cme.scoring.lm_head`). On first use the head is compared with the model's own
and the shared path with a dense one; a model whose cache cannot be shared is scored densely, aloud.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from cme.scoring.lm_head import LMHead
from cme.scoring.prompt_cache import PromptCache, pad

Ids = Sequence[int]

LIMITS = {torch.float32: (1e-3, 1e-2), torch.float64: (1e-6, 1e-5)}
"""Nats by which values that should agree may differ, on average and at most; else (0.05, 1), for lower precisions
and rounded weights."""

EMPTY = torch.empty(0)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenScores:
    """Scores of one response's T tokens, (T,), nats; entropies and certainties are empty unless asked for.

    `reason` says why a response could not be scored, its values being NaN; None where it could. A certainty is
    KL(uniform || p), as `cme.scoring.lm_head` has it.
    """

    log_likelihoods: torch.Tensor
    entropies: torch.Tensor
    reason: str | None = None
    certainties: torch.Tensor = EMPTY


class TokenScorer:
    """Scores responses' token ids given their prompts' under one model.

    Args:
        model: a causal language model.
        batch_tokens: bound on rows x columns of a forward pass. It halves when the device runs out of memory.
        share: compute each distinct prompt once; False scores densely, prompt and response in one row.
    """

    def __init__(self, model: PreTrainedModel, *, batch_tokens: int = 4096, share: bool = True) -> None:
        self.model = model
        self.batch_tokens = batch_tokens
        self.share = share
        self._checked = False
        self._halved = False

    @torch.no_grad()
    def score(
        self,
        prompts: Sequence[Ids],
        responses: Sequence[Ids],
        *,
        entropy: bool = False,
        certainty: bool = False,
    ) -> list[TokenScores]:
        """Scores of N responses in nats, float32, on the CPU; equal prompts are recognised and computed once.

        An empty response gets empty tensors; one that is longer, with its prompt, than the positions the model
        was made for gets a reason. Raises ValueError for an empty prompt, since the first response token would
        then have nothing to be predicted from.
        """
        if not all(prompts):
            raise ValueError("a prompt has no tokens; the first response token needs at least one before it")
        pairs = list(zip(prompts, responses, strict=True))
        found = {i: TokenScores(EMPTY, EMPTY) for i, (_, r) in enumerate(pairs) if not len(r)}
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None:
            found |= {
                i: _too_long(len(r), context, entropy, certainty)
                for i, (p, r) in enumerate(pairs)
                if len(p) + len(r) > context
            }
        with _evaluating(self.model):
            while len(found) < len(pairs):
                owed = {i: pair for i, pair in enumerate(pairs) if i not in found}
                try:
                    self._check_once(list(owed.values()))
                    for batch in plan_batches(owed, self.batch_tokens):
                        share = self.share and self._checked
                        found |= self._score_batch(batch, pairs, share, entropy, certainty)
                except RuntimeError as error:
                    if not _out_of_memory(error):
                        raise
                    if self.batch_tokens <= min(len(p) + len(r) for p, r in owed.values()):
                        raise  # a pass of one row did not fit either
                    self._halve()
        return [found[i] for i in range(len(pairs))]

    def _halve(self) -> None:
        self.batch_tokens //= 2
        torch.cuda.empty_cache()
        if not self._halved:
            _log.warning("out of memory: scoring goes on with passes of %d tokens or less", self.batch_tokens)
        self._halved = True

    def _score_batch(
        self,
        batch: "Batch",
        pairs: Sequence[tuple[Ids, Ids]],
        share: bool,
        entropy: bool = False,
        certainty: bool = False,
    ) -> dict[int, TokenScores]:
        found: dict[int, TokenScores] = {}
        head = LMHead(self.model)
        cache = PromptCache(self.model, batch.prompts) if share else None
        for rows in batch.chunks:
            responses = [pairs[i][1] for i in rows]
            if cache is None:
                hidden, targets = self._dense([pairs[i] for i in rows])
            else:
                hidden, targets = cache.hidden([batch.prompt_of[i] for i in rows], responses)
            scores = head.score(hidden, targets, entropy=entropy, certainty=certainty)
            values, spreads, certainties = (_by_row(part.cpu(), responses) for part in scores)
            found |= {
                i: TokenScores(values[n], spreads[n], certainties=certainties[n]) for n, i in enumerate(rows)
            }
        return found

    def _dense(self, pairs: Sequence[tuple[Ids, Ids]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (M, d) that predict the responses' M tokens, and those tokens (M,), row by row.

        Prompt and response in one row, padded on the right: what is behind a token cannot change it in any
        causal model, whatever it makes of masks and positions.
        """
        ids, mask = pad([[*p, *r] for p, r in pairs], self.model.device, left=False)  # (B, P+R)
        hidden = self.model.get_decoder()(
            input_ids=ids, attention_mask=mask, use_cache=False
        ).last_hidden_state
        starts = torch.tensor([[len(p)] for p, _ in pairs], device=ids.device)
        place = torch.arange(ids.shape[1], device=ids.device)
        wanted = (place >= starts) & mask.bool()  # (B, P+R)
        return hidden[:, :-1][wanted[:, 1:]], ids[wanted]

    def _check_once(self, pairs: Sequence[tuple[Ids, Ids]]) -> None:
        """On first use, compare the head with the model's own and the shared path with the dense one.

        On the longest response, one more to its prompt and one to a prompt of another length, where there are
        such. Responses of one token do not count, since they need no pass of their own; until a longer one comes,
        scoring is dense. Raises ValueError for a model whose logits are not its head on its hidden states.
        """
        longest = max(pairs, key=lambda pair: len(pair[1]), default=([], []))
        if self._checked or len(longest[1]) < 2:
            return
        others = [pair for pair in pairs if len(pair[1]) and pair is not longest]
        siblings = [pair for pair in others if pair[0] == longest[0]][:1]
        strangers = [pair for pair in others if len(pair[0]) != len(longest[0])][:1]
        self._check_head(longest)
        if self.share:
            reason = self._difference([longest, *siblings, *strangers])
            if reason:
                self.share = False
                name = type(self.model).__name__
                _log.warning(
                    "%s: prompts cannot be shared between responses (%s); scoring densely", name, reason
                )
        self._checked = True

    def _check_head(self, pair: tuple[Ids, Ids]) -> None:
        """Compare the head with the model's own logits at the last 32 tokens of a response."""
        hidden, targets = (part[-32:] for part in self._dense([pair]))
        ours = LMHead(self.model).score(hidden, targets).log_likelihoods
        ids = torch.tensor([[*pair[0], *pair[1]]], device=self.model.device)
        # in mixed-precision training accelerate wraps `forward`; the hidden states above are not cast either
        forward = self.model.__dict__.get("_original_forward", self.model.forward)
        logits = forward(input_ids=ids, use_cache=False, logits_to_keep=len(targets) + 1).logits[0, :-1]
        own = logits.float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
        reason = self._apart(ours, own)
        if reason:
            name = type(self.model).__name__
            raise ValueError(
                f"{name} cannot be scored: its logits are not its head on its hidden states ({reason})"
            )

    def _difference(self, pairs: Sequence[tuple[Ids, Ids]]) -> str | None:
        """Why the shared path is not the dense one, or None."""
        shared: dict[int, TokenScores] = {}
        try:
            for batch in plan_batches(dict(enumerate(pairs)), self.batch_tokens):
                shared |= self._score_batch(batch, pairs, share=True)
        except Exception as error:
            if _out_of_memory(error):
                raise
            return f"{type(error).__name__}: {error}"
        hidden, targets = self._dense(pairs)
        dense = LMHead(self.model).score(hidden, targets).log_likelihoods
        together = torch.cat([shared[i].log_likelihoods for i in range(len(pairs))])
        return self._apart(together, dense.cpu())

    def _apart(self, a: torch.Tensor, b: torch.Tensor) -> str | None:
        rounded = getattr(self.model, "is_quantized", False)
        return _apart(a, b, torch.int8 if rounded else self.model.dtype)


def _by_row(values: torch.Tensor, responses: Sequence[Ids]) -> Sequence[torch.Tensor]:
    """Values of all responses' tokens, response by response; nothing for each where they were not asked for."""
    return torch.split(values, [len(r) for r in responses]) if len(values) else [values] * len(responses)


def _too_long(tokens: int, context: int, entropy: bool, certainty: bool) -> TokenScores:
    values = torch.full((tokens,), float("nan"))
    reason = f"prompt and response are longer than the {context} tokens that the model was made for"
    return TokenScores(values, values if entropy else EMPTY, reason, values if certainty else EMPTY)


def _apart(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> str | None:
    """How far values that should agree are apart, None within the limits.

    Values that are not finite are left out: both paths give them, and callers say so.
    """
    gap = (a - b).abs()
    gap = gap[gap.isfinite()]
    mean, most = LIMITS.get(dtype, (0.05, 1.0))
    if not len(gap) or (gap.mean() <= mean and gap.max() <= most):
        return None
    return f"differs by {float(gap.mean()):.2g} nats a token, at most {float(gap.max()):.2g}"


def _out_of_memory(error: Exception) -> bool:
    # on a CPU torch raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True)
class Batch:
    """Distinct prompts whose keys and values are held at once, and their responses, a forward pass a chunk."""

    prompts: Sequence[Ids]
    prompt_of: dict[int, int]
    chunks: list[list[int]]


def plan_batches(pairs: dict[int, tuple[Ids, Ids]], batch_tokens: int) -> Iterator[Batch]:
    """Batches of rows with like lengths, each pass within `batch_tokens` rows x columns where one row is.

    `pairs` are prompt and response by index. Prompts are sorted by length and gathered up to the bound; their
    responses are sorted by length and cut into chunks, whatever group they are of.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, (prompt, _) in pairs.items():
        groups.setdefault(tuple(prompt), []).append(i)
    held: list[tuple[int, ...]] = []
    for longest in [*sorted(groups, key=len), None]:
        if held and (longest is None or len(longest) * (len(held) + 1) > batch_tokens):
            prompt_of = {i: n for n, prompt in enumerate(held) for i in groups[prompt]}
            chunks = _chunks(pairs, list(prompt_of), len(held[-1]), batch_tokens)
            yield Batch(held, prompt_of, chunks)
            held = []
        if longest is not None:
            held.append(longest)


def _chunks(
    pairs: dict[int, tuple[Ids, Ids]], rows: list[int], before: int, batch_tokens: int
) -> list[list[int]]:
    """Rows by ascending response length, cut where rows x (prompt + response) columns would pass the bound."""
    chunks: list[list[int]] = [[]]
    for i in sorted(rows, key=lambda i: len(pairs[i][1])):
        if chunks[-1] and (before + len(pairs[i][1])) * (len(chunks[-1]) + 1) > batch_tokens:
            chunks.append([])
        chunks[-1].append(i)
    return chunks


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Eval mode for the time being: no dropout, and no gradient checkpointing, which would drop the cache."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
