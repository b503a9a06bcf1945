"""Cross-Model Entropy with one value per token of the policy ("dense"), against the naive scores."""

import math
from typing import Any

import pytest
import torch
from cme_cases import (
    ENDED,
    NAN,
    PROMPTS,
    RESPONSES,
    Make,
    break_verifier,
    mean,
    naive_scores,
    near,
    over,
    sampled,
)
from naive import score
from verifiers import Tiny

from cme.rewards import CrossModelEntropy, EndogenousReward
from cme.scoring.policy import UntrainedPolicy


def spelled_by(policy: str) -> list[str]:
    """Responses that the policy's tokens can spell; Gemma's vocabulary here has letters, digits and little more."""
    if policy != "gemma":
        return RESPONSES
    return [
        "7 plus 4 is 11, so the answer is 11.",
        "fox, bear and some more words.",
        "owl and fox live in the forest.",
        "what animal is large?",
    ]


@pytest.mark.parametrize(("alignment", "most"), [("sum", 1), ("mean", 4), ("sum", 500)])
def test_a_policy_with_the_verifiers_tokens_gets_exactly_its_values(
    tiny: Tiny, dense: Make, family: str, alignment: str, most: int
) -> None:
    """Tokens behind the limit of the response's length have no value, and do not count in the reward."""
    verifier, responses = tiny(family), spelled_by(family)
    reward = dense(family, family, alignment=alignment, score_end_of_turn=True, max_response_tokens=most)
    ids = sampled(verifier, responses, ENDED)
    rewards = reward(PROMPTS, responses, ids)
    each = [score(verifier, p, r, end) for p, r, end in zip(PROMPTS, responses, ENDED, strict=True)]
    assert [one.ids for one in each] == ids
    for found, one in zip(reward.token_values, each, strict=True):
        assert found.dtype == torch.float32
        assert found.tolist() == near([*one.values[:most], *[NAN] * (len(one.values) - most)])
    assert rewards == near([mean(one.values[:most]) for one in each]), (
        "the logged reward is over the sequence"
    )


@pytest.mark.parametrize("variant", ["pmi", "predictive_entropy", "no end", "endorm"])
def test_variants_on_tokens(tiny: Tiny, dense: Make, tiny_folder: Any, variant: str) -> None:
    verifier = tiny("olmo")
    if variant == "endorm":
        settings: dict[str, Any] = {"granularity": "token", "score_end_of_turn": True}
        reward: CrossModelEntropy = EndogenousReward(str(tiny_folder("olmo")), **settings)
        reward.bind(UntrainedPolicy(verifier.tokenizer, verifier.model))
    else:
        chosen = {"pmi": {"pmi": True}, "no end": {"score_end_of_turn": False}}
        reward = dense(
            "olmo", "olmo", **{"score_end_of_turn": True} | chosen.get(variant, {"metric": variant})
        )
    reward(PROMPTS, RESPONSES, sampled(verifier, RESPONSES, ENDED))
    for found, prompt, response, end in zip(reward.token_values, PROMPTS, RESPONSES, ENDED, strict=True):
        one, alone = score(verifier, prompt, response, end), score(verifier, "", response, end)
        expected = {
            "pmi": [a - b for a, b in zip(one.values, alone.values, strict=True)],
            "predictive_entropy": [-h for h in one.entropies],
            "no end": [*one.values[: len(one.values) - end], *[NAN] * end],
            "endorm": [
                v + now - after
                for v, now, after in zip(
                    one.values, one.normalizers, [*one.normalizers[1:], 0.0], strict=True
                )
            ],
        }[variant]
        assert found.tolist() == near(expected, 1e-3 if variant == "endorm" else 1e-4)


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize(("policy", "judge"), [("qwen", "gemma"), ("gemma", "llama"), ("olmo", "gemma")])
def test_other_tokens_share_the_same_nats(
    tiny: Tiny, dense: Make, policy: str, judge: str, end: bool
) -> None:
    responses = spelled_by(policy)
    reward = dense(policy, judge, alignment="sum", score_end_of_turn=end)
    ids = sampled(tiny(policy), responses, [end] * 4)
    reward(PROMPTS, responses, ids)
    differ = False
    for found, own, prompt, response in zip(reward.token_values, ids, PROMPTS, responses, strict=True):
        one = score(tiny(judge), prompt, response, end)
        assert found.shape == (len(own),)
        assert float(found.sum()) == pytest.approx(sum(one.values), rel=1e-4)
        differ |= len(own) != len(one.ids)
        if end:
            assert float(found[-1]) == pytest.approx(one.values[-1], abs=1e-4)
    assert differ, "the two tokenizers must split these texts differently"


def test_the_mean_of_the_tokens_that_overlap(tiny: Tiny, dense: Make) -> None:
    """The paper's rule, with characters for positions: these texts are ASCII."""
    policy, texts = tiny("qwen"), RESPONSES[:2]
    reward = dense("qwen", "gemma", alignment="mean")
    reward(PROMPTS[:2], texts, sampled(policy, texts, [False, False]))
    for found, one, response in zip(
        reward.token_values, naive_scores(tiny("gemma"), texts), texts, strict=True
    ):
        own = policy.tokenizer(response, add_special_tokens=False, return_offsets_mapping=True)
        assert found.tolist() == near([mean(over(one, one.values, *span)) for span in own["offset_mapping"]])


def test_equal_texts_keep_their_own_tokens(tiny: Tiny, dense: Make) -> None:
    """Two completions of one prompt with one text: in canonical tokens, and letter by letter; a third elsewhere."""
    policy, text = tiny("qwen"), RESPONSES[1]
    [canonical] = sampled(policy, [text], [False])
    letters = [policy.tokenizer.convert_tokens_to_ids(c.replace(" ", "Ġ")) for c in text]
    assert policy.tokenizer.decode(letters) == text and len(letters) > len(canonical)
    reward = dense("qwen", "qwen", alignment="sum", score_end_of_turn=True)
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[1], PROMPTS[1]]
    ids = [canonical, canonical, letters, [*canonical, policy.tokenizer.eos_token_id]]
    reward(prompts, [text] * 4, ids)
    here, elsewhere = score(policy, PROMPTS[1], text), score(policy, PROMPTS[0], text)
    spread = [v / (b - a) for v, (a, b) in zip(here.values, here.spans, strict=True) for _ in range(b - a)]
    expected = [elsewhere.values, here.values, spread, score(policy, PROMPTS[1], text, end=True).values]
    assert [found.tolist() for found in reward.token_values] == [near(values) for values in expected]


@pytest.mark.parametrize(("ensemble", "combine"), [("mean", mean), ("min", min)])
def test_verifiers_and_bounds_on_tokens(tiny: Tiny, dense: Make, ensemble: str, combine: Any) -> None:
    names, text = ["llama", "qwen"], RESPONSES[1]  # the policy's own, and another
    ids = sampled(tiny("llama"), [text], [True])
    of_each = []
    for name in names:
        alone = dense("llama", name, score_end_of_turn=True)
        alone(PROMPTS[1:2], [text], ids)
        of_each.append(alone.token_values[0].tolist())
    expected = [min(max(combine(pair), -9.0), -2.0) for pair in zip(*of_each, strict=True)]
    bounds = {"clip": [-9.0, -2.0], "sigmoid": [-4.0, 2.0]}
    reward = dense("llama", names, ensemble=ensemble, score_end_of_turn=True, **bounds)
    reward(PROMPTS[1:2], [text], ids)
    assert reward.token_values[0].tolist() == near([1 / (1 + math.exp(-(v + 4) / 2)) for v in expected])


def test_tokens_that_do_not_spell_the_text_get_no_values(tiny: Tiny, dense: Make) -> None:
    reward = dense("qwen", "llama")
    [own, other] = sampled(tiny("qwen"), RESPONSES[:2], [False, False])
    logged: dict[str, float] = {}
    rewards = reward(PROMPTS[:2], RESPONSES[:2], [own, own], log_metric=logged.__setitem__)
    assert not reward.token_values[0].isnan().any()
    assert reward.token_values[1].isnan().all() and reward.token_values[1].shape == (len(own),)
    assert logged["unaligned"] == 0.5
    assert all(r is not None for r in rewards) and own != other


def test_empty_and_broken_responses_have_no_values(tiny: Tiny, dense: Make) -> None:
    reward = dense("qwen", "llama")
    [own] = sampled(tiny("qwen"), RESPONSES[:1], [False])
    end = tiny("qwen").tokenizer.eos_token_id
    assert reward(PROMPTS[:2], ["", RESPONSES[0]], [[end], own])[0] is None
    assert [v.isnan().all().item() for v in reward.token_values] == [True, False]
    break_verifier(reward)
    assert reward(PROMPTS[:1], RESPONSES[:1], [own]) == [None]
    assert reward.token_values[0].isnan().all()


def test_an_infinite_value_without_the_prompt_leaves_the_response_without_values(
    tiny: Tiny, dense: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward, texts = dense("qwen", "qwen", pmi=True), ["fox, bear.", "the fox."]
    [verifier] = reward.verifiers
    whole = verifier.score

    def broken(prompts: Any, *args: Any, **kwargs: Any) -> Any:
        scores = whole(prompts, *args, **kwargs)
        if prompts[0] == "":
            scores[0].log_likelihoods[1] = -torch.inf
        return scores

    monkeypatch.setattr(verifier, "score", broken)
    found = reward(["name two animals."] * 2, texts, sampled(tiny("qwen"), texts, [False, False]))
    assert found[0] is None and reward.token_values[0].isnan().all()
    assert found[1] is not None and reward.token_values[1].isfinite().all()
