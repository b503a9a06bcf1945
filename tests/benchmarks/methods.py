"""Ways to compute the token log-likelihoods of groups of responses: the rows of the scorer's benchmark.

Every way returns a tensor for each response, group by group: the log-likelihoods (T,) of its tokens in nats, in float32
on the CPU. lm-eval returns only their sum, (1,).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from cme.models.padding import pad
from cme.scoring.lm_head import LMHead
from cme.scoring.prompt_cache import PromptCache
from cme.scoring.token_scorer import TokenScorer

Ids = list[int]
Values = list[torch.Tensor]
Scoring = Callable[[list[Ids], list[list[Ids]]], Values]
"""From prompts and, for each, the group of its responses, as token ids."""


@dataclass(frozen=True)
class Setting:
    """What a method is prepared for; `batch_tokens` limits a pass of ours."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    group: int
    batch_tokens: int


def score_alone(model: PreTrainedModel, prompt: Ids, responses: list[Ids]) -> Values:
    """One response at a time: log-softmax, in the model's precision, of the whole sequence's whole logits."""
    scored = []
    for response in responses:
        ids = torch.tensor([[*prompt, *response]], device=model.device)  # (1, P+T)
        log_p = model(input_ids=ids, use_cache=False).logits[:, :-1].log_softmax(-1)  # (1, P+T-1, V)
        values = log_p.gather(2, ids[:, 1:, None])[0, :, 0]
        scored.append(values[len(prompt) - 1 :].float().cpu())
    return scored


def score_batch_whole(model: PreTrainedModel, prompt: Ids, responses: list[Ids]) -> Values:
    """A group as one right-padded batch, logits of every column; log-softmax of response rows alone."""
    ids, mask = pad([[*prompt, *r] for r in responses], model.device, left=False)  # (B, P+R)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits  # (B, P+R, V)
    left = len(prompt) - 1
    return [_chosen(row[left : left + len(r)], r) for row, r in zip(logits, responses, strict=True)]


def score_batch_kept(model: PreTrainedModel, prompt: Ids, responses: list[Ids]) -> Values:
    """A group as one right-padded batch, the head on the last R+1 columns."""
    ids, mask = pad([[*prompt, *r] for r in responses], model.device, left=False)
    longest = ids.shape[1] - len(prompt)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=longest + 1).logits
    return [_chosen(row[: len(r)], r) for row, r in zip(logits, responses, strict=True)]


def score_packed(model: PreTrainedModel, prompt: Ids, responses: list[Ids]) -> Values:
    """A group as one row under a block-diagonal causal mask, the head on response positions alone."""
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
    return [_chosen(row, r) for row, r in zip(rows, responses, strict=True)]


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


def score_shared_whole(model: PreTrainedModel, prompt: Ids, responses: list[Ids]) -> Values:
    """Ours with the logits of all response rows at once, group by group."""
    hidden, targets = PromptCache(model, [prompt]).hidden([0] * len(responses), responses)
    log_p = model.get_output_embeddings()(hidden).float().log_softmax(-1)
    values = log_p.gather(1, targets[:, None])[:, 0].cpu()
    return list(values.split([len(r) for r in responses]))


def score_shared_kept(model: PreTrainedModel, prompt: Ids, responses: list[Ids]) -> Values:
    """Ours with transformers' own cache, which repeats the prompt's keys for each response and keeps the responses'."""
    ids, mask = pad(responses, model.device, left=False)
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
    return list(values.cpu().split([len(r) for r in responses]))


def _chosen(logits: torch.Tensor, targets: Ids) -> torch.Tensor:
    """Log-likelihoods (T,) of `targets` under logits (T, V), log-softmax in float32."""
    index = torch.tensor(targets, device=logits.device)[:, None]
    return logits.float().log_softmax(-1).gather(1, index)[:, 0].cpu()


def score_groups(
    score: Callable[[PreTrainedModel, Ids, list[Ids]], Values], model: PreTrainedModel
) -> Scoring:
    """A method that takes one group after the other."""
    return lambda prompts, groups: [
        values for group in zip(prompts, groups, strict=True) for values in score(model, *group)
    ]


def prepare_trl(setting: Setting) -> Scoring:
    """TRL's fused head as its GRPO trainer calls it, on batches like those of `score_batch_kept`."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(setting.model)
    forward = setting.model.forward
    del setting.model.forward  # the other rows get the model as it was

    def score(model: PreTrainedModel, prompt: Ids, responses: list[Ids]) -> Values:
        ids, mask = pad([[*prompt, *r] for r in responses], model.device, left=False)
        labels = ids.masked_fill(mask == 0, -100)
        labels[:, : len(prompt)] = -100
        output = forward(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
        values = output.log_probs[:, len(prompt) - ids.shape[1] :].float().cpu()
        return [row[: len(r)] for row, r in zip(values, responses, strict=True)]

    return score_groups(score, setting.model)


def prepare_lm_eval(setting: Setting) -> Scoring:
    """lm-eval's log-likelihoods, in batches of the group's size."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=setting.model, tokenizer=setting.tokenizer, batch_size=setting.group)

    def score(prompts: list[Ids], groups: list[list[Ids]]) -> Values:
        requests = [(("", ""), p, r) for p, group in zip(prompts, groups, strict=True) for r in group]
        sums = lm._loglikelihood_tokens(requests, disable_tqdm=True)
        return [torch.tensor([value]) for value, _ in sums]

    return score


def prepare_ours(setting: Setting, **options: Any) -> Scoring:
    """The library's scorer."""
    scorer = TokenScorer(setting.model, batch_tokens=setting.batch_tokens, **options)

    def score(prompts: list[Ids], groups: list[list[Ids]]) -> Values:
        repeated = [p for p, group in zip(prompts, groups, strict=True) for _ in group]
        return [s.log_likelihoods for s in scorer.score(repeated, list(chain.from_iterable(groups)))]

    return score


PAPER = "`paper`: one by one, whole logits"
UNSHARED: dict[str, Callable[[Setting], Scoring]] = {
    "batched, whole logits": lambda setting: score_groups(score_batch_whole, setting.model),
    "batched, `logits_to_keep`": lambda setting: score_groups(score_batch_kept, setting.model),
    "TRL fused LM head": prepare_trl,
    "lm-eval loglikelihood": prepare_lm_eval,
    "packed rows": lambda setting: score_groups(score_packed, setting.model),
}
"""Batched ways that compute a prompt anew for every response; ours is compared with the best of them."""
METHODS: dict[str, Callable[[Setting], Scoring]] = {
    PAPER: lambda setting: score_groups(score_alone, setting.model),
    **UNSHARED,
    "**ours**": prepare_ours,
    "ours, prompt not shared": lambda setting: prepare_ours(setting, share=False),
    "ours, whole logits": lambda setting: score_groups(score_shared_whole, setting.model),
    "ours, responses' keys kept": lambda setting: score_groups(score_shared_kept, setting.model),
}
"""All rows, by what prepares them; the last three are ours minus one ingredient each."""
