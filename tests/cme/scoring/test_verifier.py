"""The scorer: a verifier's own template and tokens, cuts, ends of turn, and what has no score."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from cme.checkpoints import Checkpoint
from cme.models import chat
from cme.rewards import alignment
from cme.scoring.token_scorer import TokenScorer
from cme.scoring.verifier import Verifier

Tiny = Callable[..., Checkpoint]


@torch.no_grad()
def slow(model: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> list[float]:
    """Log-likelihood of every response token."""
    log_p = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0].double().log_softmax(-1)
    return [float(log_p[len(prompt) + t - 1, token]) for t, token in enumerate(response)]


def scorer(checkpoint: Checkpoint, **changes: int) -> Verifier:
    settings = {"max_prompt_tokens": 500, "max_response_tokens": 500}
    return Verifier(checkpoint.tokenizer, TokenScorer(checkpoint.model), **(settings | changes))


PROMPT, RESPONSE = "what color is the fox?", "the fox is red and lives in the forest."


def test_score_is_the_mean_in_the_verifiers_own_template(tiny: Tiny, family: str) -> None:
    verifier = tiny(family)
    rendered = verifier.tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], tokenize=False, add_generation_prompt=True
    )
    head = verifier.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    tail = verifier.tokenizer(RESPONSE, add_special_tokens=False)["input_ids"]
    expected = slow(verifier.model, head, tail)
    [plain] = scorer(verifier).score([PROMPT], [RESPONSE], [False])
    [chatty] = scorer(verifier).score([[{"role": "user", "content": PROMPT}]], [RESPONSE], [False])
    assert plain.mean == pytest.approx(math.fsum(expected) / len(expected), abs=1e-4)
    assert (plain.tokens, plain.truncated, plain.reason) == (len(tail), False, None)
    assert torch.equal(chatty.log_likelihoods, plain.log_likelihoods)


def test_end_of_turn_is_scored_only_behind_a_finished_response(tiny: Tiny, family: str) -> None:
    verifier = tiny(family)
    head, tail = chat.prompt_ids(verifier.tokenizer, PROMPT), chat.response_ids(verifier.tokenizer, RESPONSE)
    end = verifier.tokenizer.eos_token_id
    scores = scorer(verifier).score([PROMPT] * 2, [RESPONSE] * 2, [True, False])
    with_end = slow(verifier.model, head, [*tail, end])
    assert scores[0].tokens == len(tail) + 1
    assert scores[0].mean == pytest.approx(sum(with_end) / len(with_end), abs=1e-4)
    assert scores[1].tokens == len(tail)
    assert scores[1].mean == pytest.approx(sum(with_end[:-1]) / len(tail), abs=1e-4)


def test_prompts_are_cut_from_the_left_and_responses_from_the_right(tiny: Tiny, family: str) -> None:
    verifier = tiny(family)
    head, tail = chat.prompt_ids(verifier.tokenizer, PROMPT), chat.response_ids(verifier.tokenizer, RESPONSE)
    cut_head = scorer(verifier, max_prompt_tokens=5).score([PROMPT], [RESPONSE], [False])[0]
    cut_tail = scorer(verifier, max_response_tokens=3).score([PROMPT], [RESPONSE], [True])[0]
    left = slow(verifier.model, head[-5:], tail)
    right = slow(verifier.model, head, tail[:3])
    assert (cut_head.prompt_truncated, cut_head.response_truncated) == (True, False)
    assert (cut_tail.prompt_truncated, cut_tail.response_truncated) == (False, True)
    assert cut_head.mean == pytest.approx(sum(left) / len(left), abs=1e-4)
    assert cut_tail.tokens == 3
    assert cut_tail.mean == pytest.approx(sum(right) / 3, abs=1e-4)


@pytest.mark.parametrize(("room", "truncated"), [(0, True), (1, False)])
def test_the_end_of_turn_counts_towards_the_limit(tiny: Tiny, room: int, truncated: bool) -> None:
    verifier = tiny("qwen")
    words = len(chat.response_ids(verifier.tokenizer, RESPONSE))
    [score] = scorer(verifier, max_response_tokens=words + room).score([PROMPT], [RESPONSE], [True])
    assert (score.tokens, score.truncated) == (words + room, truncated)


def test_a_response_that_spells_out_a_control_token_is_scored_as_text(tiny: Tiny, family: str) -> None:
    verifier = tiny(family)
    typed = f"seven {verifier.tokenizer.eos_token} eight"
    [score] = scorer(verifier).score([PROMPT], [typed], [False])
    pieces = [verifier.tokenizer.backend_tokenizer.model.token_to_id(typed[a:b]) for a, b in score.offsets]
    assert verifier.tokenizer.eos_token_id not in pieces
    assert score.tokens > len(chat.response_ids(verifier.tokenizer, typed))  # there the control token is one
    _, ends = alignment.text_ends(verifier.tokenizer, typed)
    assert len(ends) == score.tokens


def test_what_is_longer_than_the_context_is_unscored_and_the_rest_is_not(tiny: Tiny) -> None:
    verifier = tiny("llama")
    context = verifier.model.config.max_position_embeddings
    long = " ".join(["seven"] * context)
    alone = scorer(verifier).score([PROMPT], [RESPONSE], [False])[0]
    short, beyond = scorer(verifier, max_response_tokens=4 * context).score(
        [PROMPT, PROMPT], [RESPONSE, long], [False, False]
    )
    assert short.mean == pytest.approx(alone.mean, abs=1e-5)
    assert beyond.mean is None and beyond.reason is not None and str(context) in beyond.reason
    assert beyond.tokens == len(chat.response_ids(verifier.tokenizer, long))


def test_nothing_to_score_has_a_reason(tiny: Tiny) -> None:
    [score] = scorer(tiny("qwen")).score([PROMPT], [""], [False])
    assert (score.mean, score.tokens, score.reason) == (None, 0, "the response is empty")


def test_values_that_are_not_finite_are_no_score(tiny: Tiny) -> None:
    verifier = tiny("qwen")
    with torch.no_grad():
        next(verifier.model.parameters()).fill_(float("nan"))
    [score] = scorer(verifier).score([PROMPT], [RESPONSE], [False])
    assert score.mean is None
    assert score.reason is not None and "not finite" in score.reason
    assert score.tokens == len(chat.response_ids(verifier.tokenizer, RESPONSE))


@pytest.mark.parametrize(("change", "complaint"), [("slow", "slow one"), ("plain", "no chat template")])
def test_a_tokenizer_that_cannot_serve_is_refused_by_name(tiny: Tiny, change: str, complaint: str) -> None:
    verifier = tiny("qwen")
    tokenizer: Any = verifier.tokenizer
    if change == "slow":
        tokenizer = type("Slow", (), {"is_fast": False, "name_or_path": tokenizer.name_or_path})()
    else:
        tokenizer.chat_template = None
    with pytest.raises(ValueError, match=f"{verifier.tokenizer.name_or_path}.*{complaint}"):
        scorer(Checkpoint("", verifier.model, tokenizer))


def test_offsets_are_those_of_the_scored_tokens(tiny: Tiny, family: str) -> None:
    verifier = tiny(family)
    [whole] = scorer(verifier).score([PROMPT], [RESPONSE], [True])
    [cut] = scorer(verifier, max_response_tokens=4).score([PROMPT], [RESPONSE], [True])
    assert len(whole.offsets) == whole.tokens and whole.ended and not cut.ended
    assert whole.offsets[-1] == (len(RESPONSE), len(RESPONSE))
    assert cut.offsets == whole.offsets[:4]
    covered = "".join(RESPONSE[a:b] for a, b in whole.offsets[:-1])
    assert covered.replace(" ", "") == RESPONSE.replace(" ", "")


def test_entropies_come_on_request(tiny: Tiny) -> None:
    verifier = tiny("gemma")
    [without] = scorer(verifier).score([PROMPT], [RESPONSE], [False])
    [with_them] = scorer(verifier).score([PROMPT], [RESPONSE], [False], entropy=True)
    assert len(without.entropies) == 0 and len(with_them.entropies) == with_them.tokens
    assert (with_them.entropies > 0).all()


@pytest.mark.parametrize("limit", ["max_prompt_tokens", "max_response_tokens"])
def test_a_limit_of_nothing_is_refused(tiny: Tiny, limit: str) -> None:
    with pytest.raises(ValueError, match=f"{limit}=0"):
        scorer(tiny("qwen"), **{limit: 0})
