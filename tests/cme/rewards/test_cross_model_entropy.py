"""Cross-Model Entropy and each of its variants against whole logits in float64, one response and token at a time."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from naive import Scores, score

from cme.checkpoints import Checkpoint
from cme.rewards import CrossModelEntropy
from cme.rewards.settings import CrossModelEntropySettings, VerifierSettings
from cme.scoring.policy import UntrainedPolicy

Tiny = Callable[..., Checkpoint]
Folder = Callable[..., Path]
PROMPTS = ["what is 3 plus 4?", "name two animals.", "name two animals.", "what is 3 plus 4?"]
RESPONSES = [
    "it is \\boxed{7}.",
    "fox, bear and some more words.",
    "owl — 狐.",
    "\\boxed{1} or \\boxed{12} then",
]
ANSWERS = ["7", None, None, "12"]
ENDED = [True, False, True, True]
NAN = math.nan
END = 777
SERVER = {"url": "http://127.0.0.1:1", "model": "m", "dialect": "vllm"}


@pytest.fixture
def make(tiny_folder: Folder) -> Callable[..., CrossModelEntropy]:
    """A reward whose verifier is of the named family, or of several."""

    def reward(verifier: str | list[str], **settings: Any) -> CrossModelEntropy:
        names = [verifier] if isinstance(verifier, str) else verifier
        places = [str(tiny_folder(name)) for name in names]
        return CrossModelEntropy(places[0] if isinstance(verifier, str) else places, **settings)

    return reward


Make = Callable[..., CrossModelEntropy]


@pytest.fixture
def dense(make: Make, tiny: Tiny) -> Callable[..., CrossModelEntropy]:
    """A reward with values per token, bound to an untrained policy of a family."""

    def reward(policy: str, verifier: str | list[str], **settings: Any) -> CrossModelEntropy:
        bound = make(verifier, granularity="token", **settings)
        bound.bind(UntrainedPolicy(tiny(policy).tokenizer, tiny(policy).model))
        return bound

    return reward


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def near(expected: Sequence[float], tolerance: float = 1e-4) -> Any:
    return pytest.approx(list(expected), abs=tolerance, rel=1e-4, nan_ok=True)


def rewards_of(reward: CrossModelEntropy, responses: Sequence[str] = RESPONSES) -> list[float | None]:
    return reward(PROMPTS[: len(responses)], responses, [[1]] * len(responses))


def naive_scores(
    verifier: Checkpoint, responses: Sequence[str] = RESPONSES, prompt: str | None = None
) -> list[Scores]:
    prompts = PROMPTS[: len(responses)]
    return [
        score(verifier, p if prompt is None else prompt, r) for p, r in zip(prompts, responses, strict=True)
    ]


def break_verifier(reward: CrossModelEntropy, index: int = 0) -> None:
    with torch.no_grad():
        next(reward.verifiers[index].engine.model.parameters()).fill_(NAN)  # type: ignore[attr-defined]


@pytest.mark.parametrize("chatty", [False, True])
def test_the_reward_is_the_mean_log_likelihood(tiny: Tiny, make: Make, family: str, chatty: bool) -> None:
    def messages(role: str, texts: Sequence[str]) -> list[Any]:
        return [[{"role": role, "content": t}] if chatty else t for t in texts]

    found = make(family)(messages("user", PROMPTS), messages("assistant", RESPONSES), [[1]] * 4)
    assert found == near([one.mean for one in naive_scores(tiny(family))])
    assert all(v is not None and v < 0 for v in found)


def test_the_end_of_turn_is_scored_where_the_policy_ended_its_turn(tiny: Tiny, make: Make) -> None:
    for settings in ({}, {"pmi": True}):
        reward = make("gemma", score_end_of_turn=True, **settings)
        with pytest.raises(RuntimeError, match="bind"):
            rewards_of(reward)
        reward.bind(SimpleNamespace(processing_class=SimpleNamespace(eos_token_id=END), model=None))
        found = reward(PROMPTS[:2], RESPONSES[:2], [[1, END], [END, 3]])
        whole = [
            score(tiny("gemma"), p, r, e).mean for p, r, e in zip(PROMPTS, RESPONSES, ENDED[:2], strict=False)
        ]
        alone = [score(tiny("gemma"), "", r, e).mean for r, e in zip(RESPONSES, ENDED[:2], strict=False)]
        assert found == near([w - a if settings else w for w, a in zip(whole, alone, strict=True)])


@pytest.mark.parametrize("value", [None, -12.5, 0.0])
def test_empty_responses_get_the_configured_reward(make: Make, value: float | None) -> None:
    found = rewards_of(make("qwen", empty_response=value), ["", RESPONSES[1]])
    assert found[0] == value
    assert found[1] is not None and found[1] < 0 and found[1] != value


def test_a_broken_verifier_leaves_responses_unscored_and_the_reason_is_logged_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    reward = make("qwen", empty_response=0.0)
    break_verifier(reward)
    assert rewards_of(reward) == rewards_of(reward) == [None] * 4
    [message] = [r.message for r in caplog.records if "has no reward" in r.message]
    assert "not finite" in message
    for ensemble in ("mean", "min"):
        several = make(["llama", "qwen"], ensemble=ensemble)
        break_verifier(several, 1)
        assert rewards_of(several) == [None] * 4


def test_the_share_of_truncated_prompts_and_responses_is_logged(make: Make) -> None:
    logged: dict[str, float] = {}
    reward = make("qwen", max_response_tokens=8)
    reward(PROMPTS[:2], ["7.", RESPONSES[1]], [[1], [1]], log_metric=logged.__setitem__)
    assert logged == {"prompt_truncated": 0, "response_truncated": 0.5}


@pytest.mark.parametrize("metric", ["predictive_entropy", "perplexity", "pmi"])
def test_metrics(tiny: Tiny, make: Make, family: str, metric: str) -> None:
    each, alone = naive_scores(tiny(family)), naive_scores(tiny(family), prompt="")
    if metric == "pmi":
        expected = [one.mean - without.mean for one, without in zip(each, alone, strict=True)]
        assert max(map(abs, expected)) > 1e-2, "these random models must depend on the prompt"
        assert rewards_of(make(family, pmi=True)) == near(expected)
    elif metric == "perplexity":
        assert rewards_of(make(family, metric=metric)) == near([-math.exp(-one.mean) for one in each], 1e-2)
    else:
        assert rewards_of(make(family, metric=metric)) == near([-mean(one.entropies) for one in each])


def over(one: Scores, values: Sequence[float], start: int, end: int) -> list[float]:
    """The values of the tokens that share a character with [start, end)."""
    return [
        v for v, (a, b) in zip(values, one.spans, strict=True) if set(range(a, b)) & set(range(start, end))
    ]


@pytest.mark.parametrize("metric", ["log_likelihood", "perplexity", "predictive_entropy"])
@pytest.mark.parametrize("span", ["answer", "blended"])
def test_answers_in_boxes(tiny: Tiny, make: Make, family: str, span: str, metric: str) -> None:
    reward = make(
        family, metric=metric, span=span, answers="boxed", answer_weight=0.25, no_answer_penalty=1.5
    )

    def pool(chosen: list[float]) -> float:
        return -math.exp(-mean(chosen)) if metric == "perplexity" else mean(chosen)

    expected = []
    for one, response, answer in zip(naive_scores(tiny(family)), RESPONSES, ANSWERS, strict=True):
        values = [-h for h in one.entropies] if metric == "predictive_entropy" else one.values
        if answer is None:
            expected.append(pool(values) - 1.5)
            continue
        start = response.rindex("\\boxed{") + len("\\boxed{")
        part = pool(over(one, values, start, start + len(answer)))
        expected.append(part if span == "answer" else 0.75 * pool(values) + 0.25 * part)
    assert rewards_of(reward) == near(expected, 1e-2 if metric == "perplexity" else 1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_numbers_as_answers(tiny: Tiny, make: Make, family: str, weight: float) -> None:
    responses = ["3 plus 4 is 7. the fox", "fox, bear.", "12 or 13", "1,200 it is"]
    places = [(12, 13), None, (6, 8), (0, 5)]
    reward = make(family, span="blended", answers="number", answer_weight=weight, no_answer_penalty=5.0)
    expected = []
    for one, place in zip(naive_scores(tiny(family), responses), places, strict=True):
        part = None if place is None else mean(over(one, one.values, *place))
        expected.append(one.mean - 5 if part is None else (1 - weight) * one.mean + weight * part)
    assert rewards_of(reward, responses) == near(expected)


def test_whole_responses_as_answers_and_an_answer_that_is_truncated(tiny: Tiny, make: Make) -> None:
    each = naive_scores(tiny("gemma"))
    assert rewards_of(make("gemma", span="answer", answers="whole")) == near([one.mean for one in each])
    cut = make("gemma", span="answer", answers="boxed", no_answer_penalty=2.0, max_response_tokens=3)
    assert rewards_of(cut, RESPONSES[:1]) == near([mean(each[0].values[:3]) - 2.0])


@pytest.mark.parametrize(("ensemble", "combine"), [("mean", mean), ("min", min)])
def test_several_verifiers(tiny: Tiny, make: Make, ensemble: str, combine: Any) -> None:
    names = ["llama", "gemma", "olmo"]
    rows = list(zip(*([one.mean for one in naive_scores(tiny(name))] for name in names), strict=True))
    assert len({min(range(3), key=lambda i, row=row: row[i]) for row in rows}) > 1  # type: ignore[misc]
    assert rewards_of(make(names, ensemble=ensemble)) == near([combine(row) for row in rows])


def test_bounds_apply_to_the_combined_reward(tiny: Tiny, make: Make) -> None:
    names = ["llama", "gemma"]
    each = zip(*([one.mean for one in naive_scores(tiny(name))] for name in names), strict=True)
    plain = [mean(row) for row in each]
    low, high = sorted(plain)[1] - 1e-3, sorted(plain)[2] + 1e-3  # the outer two are clipped
    clipped = [min(max(v, low), high) for v in plain]
    assert plain != near(clipped)
    base = make(names)
    assert rewards_of(base.variant(clip=[low, high])) == near(clipped)
    for values, clip in ((plain, None), (clipped, [low, high])):
        found = rewards_of(base.variant(clip=clip, sigmoid=[low, 0.5]))
        assert found == near([1 / (1 + math.exp(-(v - low) / 0.5)) for v in values])
    assert rewards_of(base) == near(plain), "a variant leaves its base as it was"


@pytest.mark.parametrize("log_likelihood", [-100.0, -1000.0])
def test_a_perplexity_beyond_floats_is_no_reward(
    make: Make, monkeypatch: pytest.MonkeyPatch, log_likelihood: float
) -> None:
    reward = make("qwen", metric="perplexity")
    [verifier] = reward.verifiers
    whole = verifier.score

    def unlikely(*args: Any, **kwargs: Any) -> Any:
        scores = whole(*args, **kwargs)
        scores[0].log_likelihoods.fill_(log_likelihood)
        scores[1].log_likelihoods.fill_(-80.0)
        return scores

    monkeypatch.setattr(verifier, "score", unlikely)
    assert rewards_of(reward, ["fox, bear.", "the fox."]) == [None, pytest.approx(-math.exp(80.0))]


# values on the policy's tokens


def sampled(policy: Checkpoint, texts: Sequence[str], ended: Sequence[bool]) -> list[list[int]]:
    tokenizer = policy.tokenizer
    return [
        tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * end
        for text, end in zip(texts, ended, strict=True)
    ]


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


@pytest.mark.parametrize("most", [1, 4, 500])
@pytest.mark.parametrize("alignment", ["mean", "sum"])
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


@pytest.mark.parametrize("variant", ["pmi", "predictive_entropy", "no end"])
def test_variants_on_tokens(tiny: Tiny, dense: Make, variant: str) -> None:
    verifier = tiny("olmo")
    chosen = {"pmi": {"pmi": True}, "no end": {"score_end_of_turn": False}}.get(variant, {"metric": variant})
    reward = dense("olmo", "olmo", **{"score_end_of_turn": True} | chosen)
    reward(PROMPTS, RESPONSES, sampled(verifier, RESPONSES, ENDED))
    for found, prompt, response, end in zip(reward.token_values, PROMPTS, RESPONSES, ENDED, strict=True):
        one, alone = score(verifier, prompt, response, end), score(verifier, "", response, end)
        expected = {
            "pmi": [a - b for a, b in zip(one.values, alone.values, strict=True)],
            "predictive_entropy": [-h for h in one.entropies],
            "no end": [*one.values[: len(one.values) - end], *[NAN] * end],
        }[variant]
        assert found.tolist() == near(expected)


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


def test_a_truncated_response_in_other_tokens(tiny: Tiny, dense: Make) -> None:
    policy, text = tiny("gemma"), RESPONSES[1]
    reward = dense("gemma", "qwen", max_response_tokens=5, alignment="sum")
    reward(PROMPTS[1:2], [text], sampled(policy, [text], [False]))
    one = score(tiny("qwen"), PROMPTS[1], text)
    own = policy.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    [found] = reward.token_values
    assert found.isnan().tolist() == [left >= one.spans[4][1] for left, _ in own]
    assert float(found.nansum()) == pytest.approx(sum(one.values[:5]), rel=1e-4)


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
    reward = dense("qwen", "llama", empty_response=-7.0)
    [own] = sampled(tiny("qwen"), RESPONSES[:1], [False])
    end = tiny("qwen").tokenizer.eos_token_id
    assert reward(PROMPTS[:2], ["", RESPONSES[0]], [[end], own])[0] == -7.0
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


@pytest.mark.parametrize("settings", [{"granularity": "token"}, {"std_floor": 0.1}])
def test_a_trainer_that_would_ignore_the_settings_is_refused(make: Make, settings: dict[str, Any]) -> None:
    reward = make("qwen", **settings)
    with pytest.raises(RuntimeError, match=rf"{next(iter(settings))}=.*bind"):
        rewards_of(reward)
    with pytest.raises(TypeError, match=next(iter(settings))):
        reward.bind(SimpleNamespace(processing_class=None, model=None))


# settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "perplexty"}, "metric=perplexty; it must be one of log_likelihood"),
        ({"granularity": "tokens"}, "granularity=tokens; it must be one of sequence, token"),
        ({"ensemble": "max"}, "ensemble=max; it must be one of mean, min"),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens=0;"),
        ({"pmi": True, "metric": "perplexity"}, "metric=perplexity with pmi=true"),
        ({"pmi": True, "metric": "predictive_entropy"}, "metric=predictive_entropy with pmi=true"),
        ({"span": "answer"}, "span=answer with answers=none"),
        ({"span": "blended", "answers": "none"}, "span=blended with answers=none"),
        ({"answer_weight": 1.01}, "answer_weight=1.01;"),
        ({"answer_weight": -0.5}, "answer_weight=-0.5;"),
        ({"answer_weight": NAN}, "answer_weight=nan;"),
        ({"no_answer_penalty": -1.0}, "no_answer_penalty=-1.0;"),
        ({"std_floor": -0.1}, "std_floor=-0.1;"),
        ({"clip": [1.0, 0.0]}, "clip=[1.0, 0.0];"),
        ({"clip": [2.0, 2.0]}, "clip=[2.0, 2.0];"),
        ({"clip": 5.0}, "clip=5.0;"),
        ({"clip": ["a", "b"]}, "clip=['a', 'b'];"),
        ({"clip": [1.0]}, "clip=[1.0];"),
        ({"clip": []}, "clip=[];"),
        ({"sigmoid": [0.0, 0.0]}, "sigmoid=[0.0, 0.0];"),
        ({"sigmoid": [0.0, -1.0]}, "sigmoid=[0.0, -1.0];"),
        ({"sigmoid": [0.0, 1.0, 2.0]}, "sigmoid=[0.0, 1.0, 2.0];"),
        ({"granularity": "token", "span": "answer", "answers": "boxed"}, "granularity=token with span=answer"),
        ({"granularity": "token", "metric": "perplexity"}, "granularity=token with span=response and metric=perp"),
        ({"server": {"url": "x"}}, "server={'url': 'x'};"),
        ({"server": SERVER, "metric": "predictive_entropy"}, "metric=predictive_entropy with a server"),
        ({"server": SERVER, "verifier": ["a", "b"]}, "server with 2 verifiers"),
        ({"verifier": []}, "verifier=[];"),
        ({"verifier": ""}, "verifier=;"),
        ({"verifier": [None]}, "verifier=[None];"),
    ],
)  # fmt: skip
def test_settings_that_are_refused_before_anything_loads(settings: dict[str, Any], message: str) -> None:
    given = {"verifier": "no/such-model"} | settings
    for build in (CrossModelEntropySettings, CrossModelEntropy.check, CrossModelEntropy):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            build(**given)  # type: ignore[operator]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pmi": True, "granularity": "token", "alignment": "sum"},
        {"span": "blended", "answers": "boxed", "answer_weight": 1.0, "metric": "perplexity"},
        {"granularity": "token", "metric": "predictive_entropy", "normalize": "sequence", "std_floor": 0.0},
        {"clip": [-5.0, 0.0], "sigmoid": [0.0, 1e-3], "std_floor": 0.1, "no_answer_penalty": 0.0},
        {"server": SERVER, "pmi": True},
    ],
)
def test_settings_that_are_accepted(settings: dict[str, Any]) -> None:
    CrossModelEntropy.check(verifier="no/such-model", **settings)


def test_neutral_settings_exist() -> None:
    names = set(VerifierSettings.__dataclass_fields__)
    assert CrossModelEntropy.NEUTRAL == {"batch_tokens", "device"} <= names
