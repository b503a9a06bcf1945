"""Per-token log-likelihood and entropy of responses under a model: the hot operation of this project.

Each distinct prompt is computed once for all its responses (`cme.prompt_cache`), the head runs on response
rows alone and never holds whole logits (`cme.head`). On its first use this shared path is compared with
the model's own forward pass on one group; a model whose cache cannot be shared is scored densely, aloud.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from cme.head import Head
from cme.prompt_cache import PromptCache, padded

Ids = Sequence[int]

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Nats a token by which the shared path may differ, on average, from the model's own; 0.05 for lower precisions."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenScores:
    """Scores of one response's T tokens, (T,), nats; the entropies are empty unless asked for."""

    log_likelihoods: torch.Tensor
    entropies: torch.Tensor


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

    @torch.no_grad()
    def score(
        self, prompts: Sequence[Ids], responses: Sequence[Ids], *, entropy: bool = False
    ) -> list[TokenScores]:
        """Scores of N responses in nats, float32, on the CPU; equal prompts are recognised and computed once.

        An empty response gets empty tensors. Raises ValueError for an empty prompt, since the first response
        token would then have nothing to be predicted from.
        """
        if not all(prompts):
            raise ValueError("a prompt has no tokens; the first response token needs at least one before it")
        pairs = list(zip(prompts, responses, strict=True))
        nothing = torch.empty(0)
        found = {i: TokenScores(nothing, nothing) for i, (_, r) in enumerate(pairs) if not len(r)}
        with _evaluating(self.model):
            self._check_once(pairs)
            while len(found) < len(pairs):
                owed = {i: pair for i, pair in enumerate(pairs) if i not in found}
                try:
                    for batch in plan(owed, self.batch_tokens):
                        found |= self._score_batch(batch, pairs, entropy)
                except torch.OutOfMemoryError:
                    if self.batch_tokens <= min(len(p) + len(r) for p, r in owed.values()):
                        raise  # a pass of one row did not fit either
                    self._halve()
        return [found[i] for i in range(len(pairs))]

    def _halve(self) -> None:
        self.batch_tokens //= 2
        torch.cuda.empty_cache()
        _log.warning("out of memory: scoring goes on with batch_tokens=%d", self.batch_tokens)

    def _score_batch(
        self, batch: "Batch", pairs: Sequence[tuple[Ids, Ids]], entropy: bool
    ) -> dict[int, TokenScores]:
        found: dict[int, TokenScores] = {}
        if not self.share:
            for rows in batch.chunks:
                found |= zip(rows, self._dense([pairs[i] for i in rows], entropy), strict=True)
            return found
        head = Head(self.model)
        cache = PromptCache(self.model, batch.prompts)
        for rows in batch.chunks:
            responses = [pairs[i][1] for i in rows]
            hidden, targets = cache.hidden([batch.prompt_of[i] for i in rows], responses)
            values, spreads = (part.cpu() for part in head.score(hidden, targets, entropy))
            lengths = [len(r) for r in responses]
            spread_rows = torch.split(spreads, lengths) if entropy else [spreads] * len(rows)
            scored = map(TokenScores, torch.split(values, lengths), spread_rows)
            found |= zip(rows, scored, strict=True)
        return found

    def _dense(self, pairs: Sequence[tuple[Ids, Ids]], entropy: bool) -> list[TokenScores]:
        """The model's own forward pass over prompt and response, head on the response's columns."""
        prompt_ids, prompt_mask = padded([p for p, _ in pairs], self.model.device, left=True)
        ids, mask = padded([r for _, r in pairs], self.model.device, left=False)  # (B, R)
        whole = torch.cat([prompt_mask, mask], dim=1)  # (B, P+R)
        logits = self.model(
            input_ids=torch.cat([prompt_ids, ids], dim=1),
            attention_mask=whole,
            position_ids=(whole.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=ids.shape[1] + 1,
        ).logits[:, :-1]  # (B, R, V); column t predicts response token t
        scored = []
        for row, targets, (_, response) in zip(logits, ids, pairs, strict=True):
            log_p = row[: len(response)].float().log_softmax(-1)  # (T, V)
            values = log_p.gather(1, targets[: len(response), None])[:, 0]
            spread = -(log_p.exp() * log_p).nansum(-1) if entropy else values[:0]
            scored.append(TokenScores(values.cpu(), spread.cpu()))
        return scored

    def _check_once(self, pairs: Sequence[tuple[Ids, Ids]]) -> None:
        """Compare the shared path with the dense one on the longest response and one more to its prompt.

        Responses of one token do not count: they need no pass of their own.
        """
        if self._checked or not self.share or not pairs:
            return
        longest = max(pairs, key=lambda pair: len(pair[1]))
        if len(longest[1]) < 2:
            return
        self._checked = True
        others = [pair for pair in pairs if pair[0] == longest[0] and len(pair[1]) and pair is not longest]
        reason = self._difference([longest, *others[:1]])
        if reason:
            self.share = False
            name = type(self.model).__name__
            _log.warning("%s: prompts cannot be shared between responses (%s); scoring densely", name, reason)

    def _difference(self, group: Sequence[tuple[Ids, Ids]]) -> str | None:
        """Why the shared path is not the dense one, or None."""
        [batch] = plan(dict(enumerate(group)), 2**62)
        try:
            shared = self._score_batch(batch, group, False)
        except torch.OutOfMemoryError:
            raise
        except (
            AttributeError,
            IndexError,
            KeyError,
            NotImplementedError,
            TypeError,
            ValueError,
            RuntimeError,
        ) as error:
            return f"{type(error).__name__}: {error}"
        dense = self._dense(group, False)
        gap = torch.cat(
            [shared[i].log_likelihoods - one.log_likelihoods for i, one in enumerate(dense)]
        ).abs()
        limit = TOLERANCE.get(self.model.dtype, 0.05)
        # where the model itself gives values that are not finite, both paths do and callers say so
        finite = torch.cat([one.log_likelihoods for one in dense]).isfinite()
        apart = float(gap[finite].mean()) if finite.any() else 0.0
        return None if apart <= limit else f"differs by {apart:.2g} nats a token"


@dataclass(frozen=True)
class Batch:
    """Distinct prompts whose keys and values are held at once, and their responses, a forward pass a chunk."""

    prompts: Sequence[Ids]
    prompt_of: dict[int, int]
    chunks: list[list[int]]


def plan(pairs: dict[int, tuple[Ids, Ids]], batch_tokens: int) -> Iterator[Batch]:
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
