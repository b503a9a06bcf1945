"""Per-token log-likelihood and entropy of responses under a model.

Prompts are left-padded and responses right-padded, so that in every batch all responses begin in the same
column and the head runs on response rows alone; the log-softmax is float32 whatever the model's dtype.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from cme import chat
from cme.checkpoints import Checkpoint

HEAD_VALUES = 2**25
"""Bound on the values of a float32 log-softmax held at once (128 MiB); the logits themselves are held whole."""


@dataclass(frozen=True)
class TokenScores:
    """Scores of one response's T tokens, (T,), nats; the entropies are empty unless asked for."""

    log_likelihoods: torch.Tensor
    entropies: torch.Tensor


@torch.no_grad()
def score_ids(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    batch_tokens: int,
    entropy: bool = False,
) -> list[TokenScores]:
    """Score each response's token ids given its prompt's, in nats, float32, on the CPU.

    `batch_tokens` bounds rows x columns of a batch. An empty response gets empty tensors. Raises ValueError
    for an empty prompt, since the first response token would then have nothing to be predicted from.
    """
    if not all(prompts):
        raise ValueError("a prompt has no tokens; the first response token needs at least one before it")
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(responses[i]))
    found: dict[int, TokenScores] = {}
    rows: list[int] = []
    for i in [*order, None]:
        widest = 0 if i is None else _columns(prompts, responses, [*rows, i])
        if rows and (i is None or widest * (len(rows) + 1) > batch_tokens):
            found |= zip(
                rows,
                _score_batch(model, [prompts[r] for r in rows], [responses[r] for r in rows], entropy),
                strict=True,
            )
            rows = []
        if i is not None:
            rows.append(i)
    return [found[i] for i in range(len(prompts))]


def _columns(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], rows: list[int]) -> int:
    return max(len(prompts[i]) for i in rows) + max(len(responses[i]) for i in rows)


def _score_batch(
    model: PreTrainedModel, prompts: list[Sequence[int]], responses: list[Sequence[int]], entropy: bool
) -> list[TokenScores]:
    before, after = max(map(len, prompts)), max(map(len, responses))
    ids = torch.zeros(len(prompts), before + after, dtype=torch.long, device=model.device)  # (B, P+R)
    mask = torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        left, right = before - len(prompt), before + len(response)
        ids[row, left:right] = torch.tensor([*prompt, *response], device=model.device)
        mask[row, left:right] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=after + 1
    ).logits[:, :-1]  # (B, R, V); column t predicts response token t
    rows = max(1, HEAD_VALUES // max(1, logits[0].numel()))
    values, spreads = [], []
    for chunk, targets in zip(torch.split(logits, rows), torch.split(ids[:, before:], rows), strict=True):
        log_p = torch.log_softmax(chunk.float(), dim=-1)
        values.append(log_p.gather(2, targets[..., None])[..., 0].cpu())
        spreads.append(-(log_p.exp() * log_p).sum(-1).cpu() if entropy else torch.empty(len(chunk), 0))
    all_values, all_spreads = torch.cat(values), torch.cat(spreads)  # (B, R)
    return [TokenScores(all_values[i, : len(r)], all_spreads[i, : len(r)]) for i, r in enumerate(responses)]


@dataclass(frozen=True)
class Score:
    """A verifier's score of one response: mean log-likelihood (nats a token) over `tokens` tokens.

    `mean` is None where there is nothing to score or the model returned non-finite values; `reason` says
    which. `truncated` says that prompt or response was cut to the scorer's limits.
    """

    mean: float | None
    tokens: int
    truncated: bool
    reason: str | None = None


class Scorer:
    """A frozen verifier that scores responses of any generator, in its own template and tokens.

    Args:
        checkpoint: the verifier.
        score_end_of_turn: whether a response that its generator ended itself is scored with the verifier's
            own end-of-turn token behind it.
        max_prompt_tokens: longer prompts lose their first tokens.
        max_response_tokens: longer responses lose their last tokens, the end-of-turn token with them.
        batch_tokens: bound on rows x columns of a forward pass.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        score_end_of_turn: bool,
        max_prompt_tokens: int,
        max_response_tokens: int,
        batch_tokens: int = 8192,
    ) -> None:
        self.checkpoint = checkpoint
        self.score_end_of_turn = score_end_of_turn
        self.max_prompt_tokens = max_prompt_tokens
        self.max_response_tokens = max_response_tokens
        self.batch_tokens = batch_tokens
        checkpoint.model.requires_grad_(False)

    def score(
        self, prompts: Sequence[chat.Text], responses: Sequence[str], finished: Sequence[bool]
    ) -> list[Score]:
        """Mean log-likelihood of each response given its prompt; `finished` as in `score_end_of_turn`."""
        tokenizer = self.checkpoint.tokenizer
        end = chat.end_of_turn_id(tokenizer)
        heads = [chat.prompt_ids(tokenizer, p) for p in prompts]
        tails = [
            chat.response_ids(tokenizer, r) + [end] * (self.score_end_of_turn and f)
            for r, f in zip(responses, finished, strict=True)
        ]
        scored = score_ids(
            self.checkpoint.model,
            [h[-self.max_prompt_tokens :] for h in heads],
            [t[: self.max_response_tokens] for t in tails],
            batch_tokens=self.batch_tokens,
        )
        return [
            self._summary(
                s.log_likelihoods, len(h) > self.max_prompt_tokens or len(t) > self.max_response_tokens
            )
            for s, h, t in zip(scored, heads, tails, strict=True)
        ]

    @staticmethod
    def _summary(log_likelihoods: torch.Tensor, truncated: bool) -> Score:
        if not len(log_likelihoods):
            return Score(None, 0, truncated, "the response is empty")
        mean = float(log_likelihoods.mean())
        if not torch.isfinite(log_likelihoods).all():
            return Score(
                None, len(log_likelihoods), truncated, "the verifier's log-likelihoods are not finite"
            )
        return Score(mean, len(log_likelihoods), truncated)
