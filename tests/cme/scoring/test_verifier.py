"""The verifier: its own template and tokens, truncation, ends of turn, and responses without a score."""

from typing import Any

import naive
import pytest
import tokenizers as tk
import torch
from tokenizers import models
from transformers import PreTrainedTokenizerFast
from verifiers import Tiny, make_verifier

from cme.checkpoints import Checkpoint
from cme.models import chat
from cme.scoring import alignment
from cme.scoring.verifier import Score

PROMPT, RESPONSE = "what color is the fox?", "the fox is red and lives in the forest."


def score_one(checkpoint: Checkpoint, response: str = RESPONSE, end: bool = False, **changes: Any) -> Score:
    entropy = changes.pop("entropy", False)
    [score] = make_verifier(checkpoint, **changes).score([PROMPT], [response], [end], entropy=entropy)
    return score


@pytest.mark.parametrize("end", [False, True])
def test_scores_are_in_the_verifiers_own_template_and_tokens(tiny: Tiny, family: str, end: bool) -> None:
    checkpoint = tiny(family)
    expected = naive.score(checkpoint, PROMPT, RESPONSE, end)
    plain = score_one(checkpoint, end=end, entropy=True)
    assert plain.mean == pytest.approx(expected.mean, abs=1e-4)
    assert plain.entropies.tolist() == pytest.approx(expected.entropies, abs=1e-4)
    assert (plain.tokens, plain.truncated, plain.reason, plain.ended) == (len(expected.ids), False, None, end)
    assert plain.offsets == expected.spans
    [chatty] = make_verifier(checkpoint).score([[{"role": "user", "content": PROMPT}]], [RESPONSE], [end])
    assert torch.equal(chatty.log_likelihoods, plain.log_likelihoods)
    assert len(chatty.entropies) == 0, "not requested"


def test_prompts_lose_their_start_and_responses_their_end(tiny: Tiny, family: str) -> None:
    checkpoint = tiny(family)
    head = chat.prompt_ids(checkpoint.tokenizer, PROMPT)
    tail = chat.response_ids(checkpoint.tokenizer, RESPONSE)
    short_prompt = score_one(checkpoint, max_prompt_tokens=5)
    short_response = score_one(checkpoint, end=True, max_response_tokens=3)
    assert (short_prompt.prompt_truncated, short_prompt.response_truncated) == (True, False)
    assert (short_response.prompt_truncated, short_response.response_truncated) == (False, True)
    expected = naive.score_ids(checkpoint.model, head[-5:], tail)
    assert short_prompt.mean == pytest.approx(expected.mean, abs=1e-4)
    expected = naive.score_ids(checkpoint.model, head, tail[:3])
    assert short_response.mean == pytest.approx(expected.mean, abs=1e-4)
    assert (short_response.tokens, short_response.ended, len(short_response.offsets)) == (3, False, 3)
    for room, truncated in ((0, True), (1, False)):  # the end of turn counts
        score = score_one(checkpoint, end=True, max_response_tokens=len(tail) + room)
        assert (score.tokens, score.truncated) == (len(tail) + room, truncated)


def test_a_response_that_spells_out_a_control_token_is_scored_as_text(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    typed = f"seven {tokenizer.eos_token} eight"
    score = score_one(tiny(family), typed)
    pieces = [tokenizer.backend_tokenizer.model.token_to_id(typed[a:b]) for a, b in score.offsets]
    assert tokenizer.eos_token_id not in pieces
    assert score.tokens > len(tokenizer(typed, add_special_tokens=False)["input_ids"]), (
        "there the control token is one token"
    )
    assert len(alignment.text_ends(tokenizer, typed)[1]) == score.tokens


def test_a_response_longer_than_the_context_is_unscored_and_the_others_are_not(tiny: Tiny) -> None:
    checkpoint = tiny("llama")
    context = checkpoint.model.config.max_position_embeddings
    long = " ".join(["seven"] * context)
    verifier = make_verifier(checkpoint, max_response_tokens=4 * context)
    short, beyond = verifier.score([PROMPT] * 2, [RESPONSE, long], [False] * 2)
    assert short.mean == pytest.approx(score_one(checkpoint).mean, abs=1e-5)
    assert beyond.mean is None and beyond.reason is not None and str(context) in beyond.reason
    assert beyond.tokens == len(chat.response_ids(checkpoint.tokenizer, long))


def test_empty_responses_and_broken_verifiers_give_a_reason(tiny: Tiny) -> None:
    checkpoint = tiny("qwen")
    empty = score_one(checkpoint, "")
    assert (empty.mean, empty.tokens, empty.reason) == (None, 0, "the response is empty")
    with torch.no_grad():
        next(checkpoint.model.parameters()).fill_(float("nan"))
    broken = score_one(checkpoint)
    assert broken.mean is None and broken.reason is not None and "not finite" in broken.reason
    assert broken.tokens == len(chat.response_ids(checkpoint.tokenizer, RESPONSE))


@pytest.mark.parametrize(("change", "complaint"), [("slow", "slow one"), ("plain", "no chat template")])
def test_a_tokenizer_that_cannot_be_used_is_refused_by_name(tiny: Tiny, change: str, complaint: str) -> None:
    checkpoint = tiny("qwen")
    tokenizer: Any = checkpoint.tokenizer
    name = tokenizer.name_or_path
    if change == "slow":
        tokenizer = type("Slow", (), {"is_fast": False, "name_or_path": name})()
    else:
        tokenizer.chat_template = None
    with pytest.raises(ValueError, match=f"{name}.*{complaint}"):
        make_verifier(Checkpoint("", checkpoint.model, tokenizer))


@pytest.mark.parametrize("end", [False, True])
def test_what_the_tokenizer_does_not_know_has_no_score(tiny: Tiny, end: bool) -> None:
    """A checkpoint whose tokenizer lost its vocabulary gave every response the same value."""
    checkpoint = tiny("gemma")
    core = tk.Tokenizer(models.BPE({"<unk>": 0}, [], unk_token="<unk>", fuse_unk=True))
    core.add_special_tokens(list(checkpoint.tokenizer.all_special_tokens))
    template = checkpoint.tokenizer.chat_template
    checkpoint.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", eos_token="<end_of_turn>", name_or_path="lost"
    )
    checkpoint.tokenizer.chat_template = template
    score = score_one(checkpoint, end=end)
    assert score.mean is None
    assert score.reason == "the tokenizer of lost does not know most of the prompt and the response"
