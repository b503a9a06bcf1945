"""The scorer against a slow obvious one: a row at a time, no padding, full logits, float64."""

import math
import random
from collections.abc import Callable, Sequence

import pytest
import torch
from transformers import PreTrainedModel

from cme import chat
from cme.checkpoints import Checkpoint
from cme.scorer import Scorer, score_ids

Tiny = Callable[..., Checkpoint]


@torch.no_grad()
def slow(
    model: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]
) -> tuple[list[float], list[float]]:
    """Log-likelihood and entropy of every response token."""
    if not response:
        return [], []
    logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0].double()
    found, spreads = [], []
    for t, token in enumerate(response):
        log_p = torch.log_softmax(logits[len(prompt) + t - 1], -1)
        found.append(float(log_p[token]))
        spreads.append(float(-(log_p.exp() * log_p).sum()))
    return found, spreads


def cases(vocabulary: int) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and responses of very different lengths; some longer than Gemma's sliding window of 64."""
    rng = random.Random(0)
    lengths = [(1, 1), (3, 20), (90, 7), (5, 0), (12, 80), (12, 4), (40, 33), (2, 1)]
    draw = lambda n: [rng.randrange(6, vocabulary) for _ in range(n)]  # noqa: E731
    return [draw(p) for p, _ in lengths], [draw(r) for _, r in lengths]


@pytest.mark.parametrize("batch_tokens", [1, 150, 100_000])
def test_scores_equal_the_slow_loop(tiny: Tiny, family: str, batch_tokens: int) -> None:
    model = tiny(family).model
    prompts, responses = cases(model.config.vocab_size)
    scored = score_ids(model, prompts, responses, batch_tokens=batch_tokens, entropy=True)
    for one, prompt, response in zip(scored, prompts, responses, strict=True):
        log_likelihoods, entropies = slow(model, prompt, response)
        assert one.log_likelihoods.tolist() == pytest.approx(log_likelihoods, abs=1e-4)
        assert one.entropies.tolist() == pytest.approx(entropies, abs=1e-4)


def test_the_cases_tell_positions_apart(tiny: Tiny, family: str) -> None:
    """The comparison above has teeth only if these random models depend on the prompt."""
    model = tiny(family).model
    near, _ = slow(model, [9, 10, 11], [12, 13])
    far, _ = slow(model, [11, 10, 9, 11], [12, 13])
    assert max(abs(a - b) for a, b in zip(near, far, strict=True)) > 1e-2


def test_order_of_rows_does_not_matter(tiny: Tiny, family: str) -> None:
    model = tiny(family).model
    prompts, responses = cases(model.config.vocab_size)
    straight = score_ids(model, prompts, responses, batch_tokens=200)
    turned = score_ids(model, prompts[::-1], responses[::-1], batch_tokens=200)[::-1]
    for a, b in zip(straight, turned, strict=True):
        assert a.log_likelihoods.tolist() == pytest.approx(b.log_likelihoods.tolist(), abs=1e-5)


def test_batches_stay_within_their_bound(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("qwen").model
    prompts, responses = cases(model.config.vocab_size)
    shapes = []
    forward = model.forward

    def watched(*args: object, **kwargs: object) -> object:
        shapes.append(tuple(kwargs["input_ids"].shape))  # type: ignore[attr-defined]
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", watched)
    score_ids(model, prompts, responses, batch_tokens=150)
    assert sum(rows for rows, _ in shapes) == len(prompts)
    assert all(rows * columns <= 150 for rows, columns in shapes)
    assert len(shapes) < len(prompts)


def test_log_softmax_is_float32_under_bfloat16(tiny: Tiny) -> None:
    model = tiny("llama").model.to(torch.bfloat16)
    [one] = score_ids(model, [[7, 8, 9]], [[10, 11, 12]], batch_tokens=100)
    expected, _ = slow(model, [7, 8, 9], [10, 11, 12])
    assert one.log_likelihoods.dtype == torch.float32
    assert one.log_likelihoods.tolist() == pytest.approx(expected, abs=1e-4)


def test_empty_response_gets_empty_tensors(tiny: Tiny, family: str) -> None:
    [one] = score_ids(tiny(family).model, [[7, 8]], [[]], batch_tokens=100, entropy=True)
    assert one.log_likelihoods.shape == (0,)
    assert one.entropies.shape == (0,)


def test_no_rows_give_no_scores(tiny: Tiny) -> None:
    assert score_ids(tiny("qwen").model, [], [], batch_tokens=100) == []


def test_empty_prompt_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="a prompt has no tokens"):
        score_ids(tiny("qwen").model, [[7], []], [[8], [9]], batch_tokens=100)


def scorer(checkpoint: Checkpoint, **changes: int | bool) -> Scorer:
    settings = {"score_end_of_turn": False, "max_prompt_tokens": 500, "max_response_tokens": 500}
    return Scorer(checkpoint, **(settings | changes))  # type: ignore[arg-type]


PROMPT, RESPONSE = "what color is the fox?", "the fox is red and lives in the forest."


def test_score_is_the_mean_in_the_verifiers_own_template(tiny: Tiny, family: str) -> None:
    verifier = tiny(family)
    rendered = verifier.tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], tokenize=False, add_generation_prompt=True
    )
    head = verifier.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    tail = verifier.tokenizer(RESPONSE, add_special_tokens=False)["input_ids"]
    expected, _ = slow(verifier.model, head, tail)
    [plain] = scorer(verifier).score([PROMPT], [RESPONSE], [True])
    [chatty] = scorer(verifier).score([[{"role": "user", "content": PROMPT}]], [RESPONSE], [True])
    assert plain.mean == pytest.approx(math.fsum(expected) / len(expected), abs=1e-4)
    assert (plain.tokens, plain.truncated, plain.reason) == (len(tail), False, None)
    assert chatty == plain


def test_end_of_turn_is_scored_only_behind_a_finished_response(tiny: Tiny, family: str) -> None:
    verifier = tiny(family)
    head, tail = chat.prompt_ids(verifier.tokenizer, PROMPT), chat.response_ids(verifier.tokenizer, RESPONSE)
    end = verifier.tokenizer.eos_token_id
    scores = scorer(verifier, score_end_of_turn=True).score([PROMPT] * 2, [RESPONSE] * 2, [True, False])
    with_end, _ = slow(verifier.model, head, [*tail, end])
    assert scores[0].tokens == len(tail) + 1
    assert scores[0].mean == pytest.approx(sum(with_end) / len(with_end), abs=1e-4)
    assert scores[1].tokens == len(tail)
    assert scores[1].mean == pytest.approx(sum(with_end[:-1]) / len(tail), abs=1e-4)


def test_prompts_are_cut_from_the_left_and_responses_from_the_right(tiny: Tiny, family: str) -> None:
    verifier = tiny(family)
    head, tail = chat.prompt_ids(verifier.tokenizer, PROMPT), chat.response_ids(verifier.tokenizer, RESPONSE)
    cut_head = scorer(verifier, max_prompt_tokens=5).score([PROMPT], [RESPONSE], [True])[0]
    cut_tail = scorer(verifier, max_response_tokens=3, score_end_of_turn=True).score(
        [PROMPT], [RESPONSE], [True]
    )[0]
    left, _ = slow(verifier.model, head[-5:], tail)
    right, _ = slow(verifier.model, head, tail[:3])
    assert cut_head.truncated and cut_tail.truncated
    assert cut_head.mean == pytest.approx(sum(left) / len(left), abs=1e-4)
    assert cut_tail.tokens == 3
    assert cut_tail.mean == pytest.approx(sum(right) / 3, abs=1e-4)


@pytest.mark.parametrize(("room", "truncated"), [(0, True), (1, False)])
def test_the_end_of_turn_counts_towards_the_limit(tiny: Tiny, room: int, truncated: bool) -> None:
    verifier = tiny("qwen")
    words = len(chat.response_ids(verifier.tokenizer, RESPONSE))
    [score] = scorer(verifier, score_end_of_turn=True, max_response_tokens=words + room).score(
        [PROMPT], [RESPONSE], [True]
    )
    assert (score.tokens, score.truncated) == (words + room, truncated)


def test_nothing_to_score_has_a_reason(tiny: Tiny) -> None:
    [score] = scorer(tiny("qwen")).score([PROMPT], [""], [True])
    assert (score.mean, score.tokens, score.reason) == (None, 0, "the response is empty")


def test_values_that_are_not_finite_are_no_score(tiny: Tiny) -> None:
    verifier = tiny("qwen")
    with torch.no_grad():
        next(verifier.model.parameters()).fill_(float("nan"))
    [score] = scorer(verifier).score([PROMPT], [RESPONSE], [True])
    assert score.mean is None
    assert score.reason is not None and "not finite" in score.reason
    assert score.tokens == len(chat.response_ids(verifier.tokenizer, RESPONSE))


def test_a_verifier_is_frozen(tiny: Tiny) -> None:
    verifier = tiny("qwen")
    assert any(p.requires_grad for p in verifier.model.parameters())
    scorer(verifier)
    assert not any(p.requires_grad for p in verifier.model.parameters())
