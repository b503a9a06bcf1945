"""Token scores against the naive ones: one row at a time, no padding, whole logits, float64."""

import random
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
import torch
from naive import Scores, score_ids
from transformers import PreTrainedModel

from cme.checkpoints import Checkpoint
from cme.scoring.lm_head import LMHead
from cme.scoring.prompt_cache import PromptCache
from cme.scoring.token_scorer import LOW_PRECISION_LIMITS, TokenScorer

Tiny = Callable[..., Checkpoint]


def cases(vocabulary: int) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts with groups of responses of very different lengths; some longer than Gemma's sliding window of 64."""
    rng = random.Random(0)
    groups = [
        (1, [1]),
        (3, [20, 2]),
        (90, [7, 1, 0, 70]),
        (5, [0]),
        (12, [80, 4, 4]),
        (40, [33]),
        (2, [1, 1]),
    ]
    prompts, responses = [], []
    for length, group in groups:
        prompt = [rng.randrange(6, vocabulary) for _ in range(length)]
        prompts += [list(prompt) for _ in group]
        responses += [[rng.randrange(6, vocabulary) for _ in range(n)] for n in group]
    order = rng.sample(range(len(prompts)), len(prompts))  # groups need not stand together
    return [prompts[i] for i in order], [responses[i] for i in order]


def check(
    scorer: TokenScorer, prompts: list[list[int]], responses: list[list[int]], naive: list[Scores]
) -> None:
    """Every value of every token is the naive one."""
    scored = scorer.score(prompts, responses, entropy=True, certainty=True)
    for one, expected in zip(scored, naive, strict=True):
        assert one.log_likelihoods.tolist() == pytest.approx(expected.values, abs=1e-4)
        assert one.entropies.tolist() == pytest.approx(expected.entropies, abs=1e-4)
        assert one.certainties.tolist() == pytest.approx(expected.certainties, abs=1e-4)
        assert one.normalizers.tolist() == pytest.approx(expected.normalizers, abs=1e-4)


def test_scores_equal_the_naive_ones(tiny: Tiny, family: str) -> None:
    model = tiny(family).model
    prompts, responses = cases(model.config.vocab_size)
    naive = [score_ids(model, *row) for row in zip(prompts, responses, strict=True)]
    for share, batch_tokens in product((True, False), (1, 150, 100_000)):
        scorer = TokenScorer(model, batch_tokens=batch_tokens, share=share)
        check(scorer, prompts, responses, naive)
        assert scorer.share == share, "sharing was abandoned"


def test_the_cases_tell_positions_apart(tiny: Tiny, family: str) -> None:
    """The comparison above can only fail if these random models depend on the prompt."""
    model = tiny(family).model
    near = score_ids(model, [9, 10, 11], [12, 13]).values
    far = score_ids(model, [11, 10, 9, 11], [12, 13]).values
    assert max(abs(a - b) for a, b in zip(near, far, strict=True)) > 1e-2


@pytest.mark.parametrize("share", [True, False])
def test_passes_stay_within_their_bound(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, share: bool) -> None:
    model = tiny("qwen").model
    prompts, responses = cases(model.config.vocab_size)
    sizes = []
    decoder = model.get_decoder()
    forward = decoder.forward

    def watched(**kwargs: Any) -> object:
        sizes.append(tuple(kwargs["attention_mask"].shape))
        return forward(**kwargs)

    scorer = TokenScorer(model, batch_tokens=200, share=share)
    scorer._checked = True
    monkeypatch.setattr(decoder, "forward", watched)
    scorer.score(prompts, responses)
    assert all(rows * columns <= 200 for rows, columns in sizes)
    assert any(rows > 1 for rows, _ in sizes)


def test_each_distinct_prompt_is_computed_once(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama").model
    read = []
    whole = PromptCache.__init__

    def watched(self: PromptCache, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> None:
        read.extend(map(tuple, prompts))
        whole(self, model, prompts)

    monkeypatch.setattr(PromptCache, "__init__", watched)
    scorer = TokenScorer(model, batch_tokens=100)
    scorer._checked = True
    prompts, responses = cases(model.config.vocab_size)
    scorer.score(prompts, responses)
    assert sorted(read) == sorted({tuple(p) for p, r in zip(prompts, responses, strict=True) if r})


def test_responses_leave_nothing_in_the_cache(tiny: Tiny) -> None:
    cache = PromptCache(tiny("gemma").model, [[7, 8, 9], [10, 11]])
    before = [layer.keys.clone() for layer in cache.cache.layers]
    cache.hidden([0, 1, 1], [[12, 13, 14], [15, 16], [17]])
    assert all(torch.equal(a, b.keys) for a, b in zip(before, cache.cache.layers, strict=True))
    assert cache.cache.get_seq_length() == 3


def test_log_softmax_is_float32_under_bfloat16(tiny: Tiny) -> None:
    model = tiny("llama").model.to(torch.bfloat16)
    [one] = TokenScorer(model, share=False).score([[7, 8, 9]], [[10, 11, 12]])
    expected = score_ids(model, [7, 8, 9], [10, 11, 12]).values
    assert one.log_likelihoods.dtype == torch.float32
    assert one.log_likelihoods.tolist() == pytest.approx(expected, abs=1e-4)


def test_bfloat16_shares_prompts_too(tiny: Tiny, family: str) -> None:
    model = tiny(family).model.to(torch.bfloat16)
    prompts, responses = cases(model.config.vocab_size)
    shared, dense = TokenScorer(model), TokenScorer(model, share=False)
    pairs = zip(shared.score(prompts, responses), dense.score(prompts, responses), strict=True)
    gaps = torch.cat([(a.log_likelihoods - b.log_likelihoods).abs() for a, b in pairs])
    assert gaps.mean() < 0.05


def test_values_that_are_not_requested_are_empty(tiny: Tiny) -> None:
    scorer = TokenScorer(tiny("qwen").model)
    assert scorer.score([], []) == []
    for response, entropy, certainty in (([9, 10], True, False), ([9, 10], False, True), ([], True, True)):
        [one] = scorer.score([[7, 8]], [response], entropy=entropy, certainty=certainty)
        lengths = [len(part) for part in (one.log_likelihoods, one.entropies, one.certainties)]
        assert lengths == [len(response), len(response) * entropy, len(response) * certainty]


def test_empty_prompt_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="a prompt has no tokens"):
        TokenScorer(tiny("qwen").model).score([[7], []], [[8], [9]])


@pytest.mark.parametrize("how", ["wrong keys", "an error"])
def test_a_model_that_cannot_share_is_scored_densely_with_a_warning(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    model = tiny("olmo").model

    def broken(self: object, keys: torch.Tensor, values: torch.Tensor, *args: Any) -> Any:
        if how == "an error":
            raise AttributeError("this cache has states of another kind")
        self.rows = None  # type: ignore[attr-defined]
        self.lazy_initialization(keys, values)  # type: ignore[attr-defined]
        self.keys, self.values = keys, values  # type: ignore[attr-defined]
        return torch.zeros_like(keys), torch.zeros_like(values)

    monkeypatch.setattr("cme.scoring.prompt_cache._Layer.update", broken)
    prompts, responses = cases(model.config.vocab_size)
    scorer = TokenScorer(model)
    scored = scorer.score(prompts, responses)
    assert not scorer.share
    [record] = caplog.records
    assert "Olmo2ForCausalLM" in record.message and "densely" in record.message
    for one, prompt, response in zip(scored, prompts, responses, strict=True):
        expected = score_ids(model, prompt, response).values
        assert one.log_likelihoods.tolist() == pytest.approx(expected, abs=1e-4)


def test_the_check_waits_for_a_response_that_needs_a_pass(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = TokenScorer(tiny("llama").model)
    compared = []
    monkeypatch.setattr(scorer, "_difference", lambda pairs, rounding: compared.append(pairs))
    [one, other] = scorer.score([[7, 8], [9]], [[10], [11]])
    assert compared == []
    for found, prompt, response in ((one, [7, 8], [10]), (other, [9], [11])):
        expected = score_ids(scorer.model, prompt, response).values
        assert found.log_likelihoods.tolist() == pytest.approx(expected, abs=1e-4)
    scorer.score([[7, 8], [9], [7, 8]], [[10], [11, 12], [13, 14, 15]])
    assert compared == [[([7, 8], [13, 14, 15]), ([7, 8], [13, 14]), ([8], [13, 14, 15])]]
    scorer.score([[7, 8]], [[10, 11]])
    assert len(compared) == 1


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("x"), RuntimeError("DefaultCPUAllocator: can't allocate memory: y")]
)
def test_running_out_of_memory_halves_the_passes_and_loses_nothing(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: RuntimeError
) -> None:
    model = tiny("qwen").model
    prompts, responses = cases(model.config.vocab_size)
    calm = TokenScorer(model).score(prompts, responses)
    hidden = PromptCache.hidden

    def small(self: PromptCache, rows: Sequence[int], given: Sequence[Sequence[int]]) -> Any:
        if len(rows) * max(map(len, given)) > 150:
            raise error
        return hidden(self, rows, given)

    scorer = TokenScorer(model, batch_tokens=1600)
    monkeypatch.setattr(PromptCache, "hidden", small)
    scored = scorer.score(prompts, responses)
    assert scorer.batch_tokens < 800 and scorer.share
    [record] = caplog.records
    assert record.message.startswith("out of memory")
    for a, b in zip(scored, calm, strict=True):
        assert a.log_likelihoods.tolist() == pytest.approx(b.log_likelihoods.tolist(), abs=1e-5)


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("one row does not fit"), RuntimeError("shapes differ")]
)
def test_errors_that_smaller_passes_do_not_cure_are_raised(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, checked: bool, error: RuntimeError
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(PromptCache, "hidden", broken)
    scorer = TokenScorer(tiny("qwen").model)
    scorer._checked = checked
    if not checked and not isinstance(error, torch.OutOfMemoryError):
        scorer.score([[7, 8]], [[9, 10]])  # found by the comparison: scored densely
        assert not scorer.share
        return
    with pytest.raises(type(error), match=str(error)):
        scorer.score([[7, 8]], [[9, 10]])


def test_one_wrong_token_in_a_long_response_is_noticed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = PromptCache.hidden

    def spoiled(self: PromptCache, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        states, targets = hidden(self, *args)
        states[0] *= 1.2
        return states, targets

    monkeypatch.setattr(PromptCache, "hidden", spoiled)
    scorer = TokenScorer(tiny("llama").model)
    scorer.score([[7, 8, 9]], [[10, 11, 12] * 60])
    assert not scorer.share


def test_a_model_whose_logits_are_more_than_its_head_is_scored_with_its_own_logits_and_a_warning(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny("qwen").model
    forward = model.forward

    def scaled(**kwargs: Any) -> Any:
        output = forward(**kwargs)
        output.logits = output.logits * 0.5
        return output

    monkeypatch.setattr(model, "forward", scaled)
    prompts, responses = cases(model.config.vocab_size)
    naive = [score_ids(model, *row) for row in zip(prompts, responses, strict=True)]
    check(TokenScorer(model, batch_tokens=200), prompts, responses, naive)
    [record] = caplog.records
    assert record.message.startswith("Qwen2ForCausalLM: its logits are not its head")


@pytest.mark.parametrize("cap", [50.0, None])
def test_the_rounding_of_large_logits_in_bfloat16_is_no_other_head(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cap: float | None
) -> None:
    """Logits near a soft-cap of 50 are rounded by up to 1/8 in the model itself; a head without the cap is noticed."""
    model = tiny("gemma").model.to(torch.bfloat16)
    model.config.final_logit_softcapping = 50.0
    with torch.no_grad():
        model.get_decoder().norm.weight.add_(1).mul_(100).sub_(1)  # Gemma's norm multiplies by 1 + weight
    rng = random.Random(1)
    prompt, response = ([rng.randrange(6, model.config.vocab_size) for _ in range(n)] for n in (9, 40))
    if cap is None:
        init = LMHead.__init__

        def without_cap(self: LMHead, model: PreTrainedModel) -> None:
            init(self, model)
            self.cap = None

        monkeypatch.setattr(LMHead, "__init__", without_cap)
    [one] = TokenScorer(model, share=False).score([prompt], [response])
    expected = torch.tensor(score_ids(model, prompt, response).values)
    gap = (one.log_likelihoods - expected).abs().mean()
    if cap is None:
        assert "its logits are not its head" in caplog.text and gap < 1e-4  # its own logits
    else:
        assert not caplog.records and LOW_PRECISION_LIMITS[0] < gap < 0.2


@pytest.mark.parametrize(("steps", "shares"), [(1, True), (30, False)])
def test_the_rounding_of_large_logits_in_bfloat16_is_no_reason_against_sharing(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, steps: int, shares: bool
) -> None:
    """Logits near 100 differ by more than the limit if each hidden state is off by one step of bfloat16.

    Which kernels round differently depends on the CPU, so the steps are made here.
    """
    model = tiny("qwen").model.to(torch.bfloat16)
    with torch.no_grad():
        model.get_decoder().norm.weight.mul_(100)
    rng, signs = random.Random(1), torch.Generator().manual_seed(0)
    prompts, responses = ([[rng.randrange(6, model.config.vocab_size) for _ in range(n)]] for n in (9, 40))
    hidden = PromptCache.hidden

    def off(self: PromptCache, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        states, ids = hidden(self, *args)
        sign = torch.randint(0, 2, states.shape, generator=signs) * 2 - 1
        return states * (1 + sign * steps * torch.finfo(states.dtype).eps).to(states.dtype), ids

    monkeypatch.setattr(PromptCache, "hidden", off)
    shared, dense = TokenScorer(model), TokenScorer(model, share=False)
    [[one], [other]] = (scorer.score(prompts, responses) for scorer in (shared, dense))
    assert shared.share == shares and ("cannot be shared" in caplog.text) != shares
    gap = (one.log_likelihoods - other.log_likelihoods).abs().mean()
    assert gap > LOW_PRECISION_LIMITS[0] if shares else gap == 0


def test_a_policy_in_training_is_scored_as_if_it_were_not(tiny: Tiny) -> None:
    model = tiny("qwen").model
    calm = TokenScorer(model).score([[7, 8, 9]] * 2, [[10, 11], [12]])
    model.train()
    model.gradient_checkpointing_enable()
    scorer = TokenScorer(model)
    scored = scorer.score([[7, 8, 9]] * 2, [[10, 11], [12]])
    assert model.training and scorer.share
    assert all(torch.equal(a.log_likelihoods, b.log_likelihoods) for a, b in zip(scored, calm, strict=True))
