"""Ways to compute the token log-likelihoods of groups of responses, the rows of the benchmark.

Every way takes prompts and, for each prompt, the group of its responses, all as token ids, and returns a
float32 tensor for each response, group by group: the log-likelihoods (T,) of its tokens in nats, on the CPU.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import MethodType
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from cme.scoring.lm_head import LMHead
from cme.scoring.prompt_cache import PromptCache

Ids = list[int]
Scoring = Callable[[list[Ids], list[list[Ids]]], list[torch.Tensor]]


@dataclass(frozen=True)
class Setting:
    """What a method is prepared for: a model, its tokenizer, the group size and the bound of a pass of ours."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    group: int
    batch_tokens: int


@dataclass(frozen=True)
class Method:
    """One row of the benchmark.

    Args:
        name: as the table shows it.
        prepare: everything that is done once and not timed; raises ImportError where a library is missing.
        logits: how many rows of the vocabulary's width are held at once, from the longest prompt, the longest
            response and the group size; what is too large for the machine is not tried.
        sums: whether the method returns one sum per response, (1,), instead of its tokens' log-likelihoods.
    """

    name: str
    prepare: Callable[[Setting], Scoring]
    logits: Callable[[int, int, int], int]
    sums: bool = False


def paper(model: PreTrainedModel, prompts: list[Ids], groups: list[list[Ids]]) -> list[torch.Tensor]:
    """One response at a time: log-softmax, in the model's precision, of the whole sequence's whole logits."""
    scored = []
    for prompt, response in _pairs(prompts, groups):
        ids = torch.tensor([[*prompt, *response]], device=model.device)  # (1, P+T)
        log_p = model(input_ids=ids, use_cache=False).logits[:, :-1].log_softmax(-1)  # (1, P+T-1, V)
        values = log_p.gather(2, ids[:, 1:, None])[0, :, 0]
        scored.append(values[len(prompt) - 1 :].float().cpu())
    return scored


def batched_whole(model: PreTrainedModel, prompts: list[Ids], groups: list[list[Ids]]) -> list[torch.Tensor]:
    """A group as one right-padded batch, logits of every column; log-softmax of response rows alone."""
    scored = []
    for prompt, responses in zip(prompts, groups, strict=True):
        ids, mask = _padded([[*prompt, *r] for r in responses], model.device)  # (B, P+R)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits  # (B, P+R, V)
        left = len(prompt) - 1
        scored += [_chosen(row[left : left + len(r)], r) for row, r in zip(logits, responses, strict=True)]
    return scored


def batched_kept(model: PreTrainedModel, prompts: list[Ids], groups: list[list[Ids]]) -> list[torch.Tensor]:
    """A group as one batch, prompts padded left and responses right, the head on the last R+1 columns."""
    scored = []
    for prompt, responses in zip(prompts, groups, strict=True):
        ids, mask, after = _aligned(prompt, responses, model.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
            logits_to_keep=after + 1,
        ).logits[:, :-1]  # (B, R, V)
        scored += [_chosen(row[: len(r)], r) for row, r in zip(logits, responses, strict=True)]
    return scored


def trl_fused(forward: Callable[..., Any], device: torch.device) -> Scoring:
    """TRL's fused head as its GRPO trainer calls it; `forward` is what `add_fused_lm_head` made."""

    def score(prompts: list[Ids], groups: list[list[Ids]]) -> list[torch.Tensor]:
        scored = []
        for prompt, responses in zip(prompts, groups, strict=True):
            ids, mask, after = _aligned(prompt, responses, device)
            labels = ids.masked_fill(mask == 0, -100)
            labels[:, :-after] = -100
            values = forward(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True).log_probs
            values = values[:, -after:].float().cpu()
            scored += [row[: len(r)] for row, r in zip(values, responses, strict=True)]
        return scored

    return score


def packed(model: PreTrainedModel, prompts: list[Ids], groups: list[list[Ids]]) -> list[torch.Tensor]:
    """A group as one row under a block-diagonal causal mask, the head on response positions alone."""
    scored = []
    for prompt, responses in zip(prompts, groups, strict=True):
        sequences = [[*prompt, *r] for r in responses]
        lengths = torch.tensor([len(s) for s in sequences], device=model.device)
        ends = lengths.cumsum(0).tolist()
        positions = torch.cat([torch.arange(len(s), device=model.device) for s in sequences])
        predicting = [torch.arange(end - len(r) - 1, end - 1) for end, r in zip(ends, responses, strict=True)]
        logits = model(
            input_ids=torch.tensor([list(chain.from_iterable(sequences))], device=model.device),
            attention_mask=_block_mask(model, lengths),
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=torch.cat(predicting).to(model.device),
        ).logits[0]  # (sum of T, V)
        rows = logits.split([len(r) for r in responses])
        scored += [_chosen(row, r) for row, r in zip(rows, responses, strict=True)]
    return scored


def _block_mask(model: PreTrainedModel, lengths: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
    """Who attends to whom in a packed row, (1, 1, L, L), as the model's layers want it."""
    config = model.config.get_text_config()
    block = torch.arange(len(lengths), device=model.device).repeat_interleave(lengths)
    index = torch.arange(len(block), device=model.device)
    causal = (block[:, None] == block) & (index[:, None] >= index)
    if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
        return causal[None, None]
    near = causal & (index[:, None] - index < config.sliding_window)
    return {"full_attention": causal[None, None], "sliding_attention": near[None, None]}


def shared_whole(model: PreTrainedModel, prompts: list[Ids], groups: list[list[Ids]]) -> list[torch.Tensor]:
    """Ours with the logits of all response rows at once, group by group."""
    scored = []
    for prompt, responses in zip(prompts, groups, strict=True):
        hidden, targets = PromptCache(model, [prompt]).hidden([0] * len(responses), responses)
        log_p = model.get_output_embeddings()(hidden).float().log_softmax(-1)
        values = log_p.gather(1, targets[:, None])[:, 0].cpu()
        scored += list(values.split([len(r) for r in responses]))
    return scored


def shared_kept(model: PreTrainedModel, prompts: list[Ids], groups: list[list[Ids]]) -> list[torch.Tensor]:
    """Ours with transformers' own cache, which repeats the prompt's keys for each response and keeps the responses'."""
    scored = []
    for prompt, responses in zip(prompts, groups, strict=True):
        ids, mask = _padded(responses, model.device)
        cache = DynamicCache()
        decoder = model.get_decoder()
        head = torch.tensor([prompt], device=model.device)
        last = decoder(input_ids=head, past_key_values=cache, use_cache=True).last_hidden_state[:, -1:]
        cache.batch_repeat_interleave(len(responses))
        whole = torch.cat([mask.new_ones(len(responses), len(prompt)), mask], dim=1)
        states = decoder(
            input_ids=ids[:, :-1], attention_mask=whole[:, :-1], past_key_values=cache, use_cache=True
        ).last_hidden_state
        hidden = torch.cat([last.expand(len(responses), -1, -1), states], dim=1)[mask.bool()]
        values = LMHead(model).score(hidden, ids[mask.bool()]).log_likelihoods
        scored += list(values.cpu().split([len(r) for r in responses]))
    return scored


def _pairs(prompts: list[Ids], groups: list[list[Ids]]) -> Iterable[tuple[Ids, Ids]]:
    for prompt, responses in zip(prompts, groups, strict=True):
        for response in responses:
            yield prompt, response


def _padded(rows: Sequence[Ids], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, T), zeros behind, and their mask."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, mask


def _aligned(
    prompt: Ids, responses: Sequence[Ids], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Prompt and responses (B, P+R) with all responses from one column on, their mask, and R.

    The group has one prompt, so there is nothing to pad it with on the left.
    """
    ids, mask = _padded([[*prompt, *r] for r in responses], device)
    return ids, mask, ids.shape[1] - len(prompt)


def _chosen(logits: torch.Tensor, targets: Ids) -> torch.Tensor:
    """Log-likelihoods (T,) of `targets` under logits (T, V), log-softmax in float32."""
    index = torch.tensor(targets, device=logits.device)[:, None]
    return logits.float().log_softmax(-1).gather(1, index)[:, 0].cpu()


def _prepare_trl(setting: Setting) -> Scoring:
    from trl.trainer.utils import add_fused_lm_head

    model = setting.model
    add_fused_lm_head(model)
    forward: MethodType = model.forward
    del model.forward  # the other rows get the model as it was
    return trl_fused(forward, model.device)


def _prepare_lm_eval(setting: Setting) -> Scoring:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=setting.model, tokenizer=setting.tokenizer, batch_size=setting.group)

    def score(prompts: list[Ids], groups: list[list[Ids]]) -> list[torch.Tensor]:
        requests = [(("", ""), p, r) for p, r in _pairs(prompts, groups)]
        sums = lm._loglikelihood_tokens(requests, disable_tqdm=True)
        return [torch.tensor([value]) for value, _ in sums]

    return score


def _prepare_ours(setting: Setting, **options: Any) -> Scoring:
    from cme.scoring.token_scorer import TokenScorer

    scorer = TokenScorer(setting.model, batch_tokens=setting.batch_tokens, **options)

    def score(prompts: list[Ids], groups: list[list[Ids]]) -> list[torch.Tensor]:
        pairs = list(_pairs(prompts, groups))
        return [s.log_likelihoods for s in scorer.score([p for p, _ in pairs], [r for _, r in pairs])]

    return score


def _bound(function: Callable[..., list[torch.Tensor]]) -> Callable[[Setting], Scoring]:
    return lambda setting: partial(function, setting.model)


PAPER = Method("`paper`: one by one, whole logits", _bound(paper), lambda p, r, g: 2 * (p + r))

UNSHARED = [
    Method("batched, whole logits", _bound(batched_whole), lambda p, r, g: g * (p + r) + 2 * r),
    Method("batched, `logits_to_keep`", _bound(batched_kept), lambda p, r, g: g * (r + 1) + 2 * r),
    Method("TRL fused LM head", _prepare_trl, lambda p, r, g: 0),
    Method("lm-eval loglikelihood", _prepare_lm_eval, lambda p, r, g: 2 * g * (p + r - 1), sums=True),
    Method("packed rows", _bound(packed), lambda p, r, g: g * r + 2 * r),
]
"""Batched ways that compute a prompt anew for every response; ours is compared with the best of them."""

OURS = Method("**ours**", _prepare_ours, lambda p, r, g: 0)

METHODS: list[Method] = [
    PAPER,
    *UNSHARED,
    OURS,
    Method("ours, prompt not shared", partial(_prepare_ours, share=False), lambda p, r, g: g * (r + 1)),
    Method("ours, whole logits", _bound(shared_whole), lambda p, r, g: 2 * g * r),
    Method("ours, responses' keys kept", _bound(shared_kept), lambda p, r, g: 0),
]
"""All rows; the last three are ours minus one ingredient each."""
