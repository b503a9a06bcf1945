"""Cross-Model Entropy and each of its variants against whole logits in float64, one response and token at a time."""

import inspect
import math
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from cme_cases import (
    ANSWERS,
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
    rewards_of,
)
from naive import score
from scripted import policy_ending_at
from verifiers import Tiny

from cme.rewards import CrossModelEntropy, ReverseKL
from cme.rewards.cross_model.reverse_kl import ReverseKLSettings
from cme.rewards.cross_model.settings import CrossModelEntropySettings

END = 777
SERVER = {"url": "http://127.0.0.1:1", "model": "m", "dialect": "vllm"}


def test_the_reward_is_the_mean_log_likelihood(tiny: Tiny, make: Make, family: str) -> None:
    def messages(role: str, texts: Sequence[str]) -> list[Any]:
        return [[{"role": role, "content": t}] for t in texts]

    reward = make(family)
    found = rewards_of(reward)
    assert found == near([one.mean for one in naive_scores(tiny(family))])
    assert reward(messages("user", PROMPTS), messages("assistant", RESPONSES), [[1]] * 4) == found


def test_the_end_of_turn_is_scored_where_the_policy_ended_its_turn(tiny: Tiny, make: Make) -> None:
    for settings in ({}, {"pmi": True}):
        reward = make("gemma", score_end_of_turn=True, **settings)
        with pytest.raises(RuntimeError, match="bind"):
            rewards_of(reward)
        reward.bind(policy_ending_at(END, END + 1))
        found = reward(PROMPTS[:2], RESPONSES[:2], [[1, END], [END, 3]])
        assert reward(PROMPTS[:2], RESPONSES[:2], [[1, END + 1], [END + 1, 3]]) == found
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


def test_pointwise_mutual_information(tiny: Tiny, make: Make, family: str) -> None:
    each, alone = naive_scores(tiny(family)), naive_scores(tiny(family), prompt="")
    expected = [one.mean - without.mean for one, without in zip(each, alone, strict=True)]
    assert max(map(abs, expected)) > 1e-2, "these random models must depend on the prompt"
    assert rewards_of(make(family, pmi=True)) == near(expected)


METRICS = ("log_likelihood", "perplexity", "predictive_entropy")


@pytest.mark.parametrize(
    ("family", "span", "metric"),
    [  # the tokens of an answer depend on the family, the metrics of these tokens do not
        *((family, "blended", "log_likelihood") for family in ("qwen", "llama", "olmo")),
        *(("gemma", span, metric) for span in ("response", "answer", "blended") for metric in METRICS),
    ],
)
def test_answers_in_boxes(tiny: Tiny, make: Make, family: str, span: str, metric: str) -> None:
    weight = {"answer_weight": 0.25} if span == "blended" else {}
    reward = make(family, metric=metric, span=span, answers="boxed", no_answer_penalty=1.5, **weight)

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
        of_answer = {"response": 0.0, "answer": 1.0, "blended": 0.25}[span]
        expected.append((1 - of_answer) * pool(values) + of_answer * part)
    assert rewards_of(reward) == near(expected, 1e-2 if metric == "perplexity" else 1e-4)


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


@pytest.mark.parametrize("settings", [{"granularity": "token"}, {"std_floor": 0.1}])
def test_a_trainer_that_would_ignore_the_settings_is_refused(make: Make, settings: dict[str, Any]) -> None:
    reward = make("qwen", **settings)
    with pytest.raises(RuntimeError, match=rf"{next(iter(settings))}=.*bind"):
        rewards_of(reward)
    with pytest.raises(TypeError, match=next(iter(settings))):
        reward.bind(SimpleNamespace(processing_class=None, model=None))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "perplexty"}, "metric=perplexty; it must be one of log_likelihood"),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens=0;"),
        ({"pmi": True, "metric": "perplexity"}, "metric=perplexity with pmi=true"),
        ({"span": "answer"}, "span=answer with answers=none"),
        ({"answer_weight": 1.01}, "answer_weight=1.01;"),
        ({"answer_weight": NAN}, "answer_weight=nan;"),
        ({"no_answer_penalty": -1.0}, "no_answer_penalty=-1.0;"),
        ({"no_answer_penalty": 5.0}, "no_answer_penalty=5.0 with answers=none"),
        ({"answer_weight": 0.25, "span": "answer", "answers": "boxed"}, "answer_weight=0.25 has no effect here"),
        ({"ensemble": "min"}, "ensemble=min has no effect here; it needs several verifiers"),
        ({"alignment": "sum"}, "alignment=sum has no effect here; it needs granularity=token"),
        ({"normalize": "sequence"}, "normalize=sequence has no effect here; it needs granularity=token"),
        ({"empty_response": -9.0, "granularity": "token"}, "empty_response=-9.0 has no effect"),
        ({"no_answer_penalty": 5.0, "granularity": "token", "answers": "boxed"}, "no_answer_penalty=5.0 has no"),
        ({"server": SERVER, "device": "cuda:1"}, "device=cuda:1 has no effect here"),
        ({"std_floor": -0.1}, "std_floor=-0.1;"),
        ({"clip": [1.0, 0.0]}, "clip=[1.0, 0.0];"),
        ({"clip": 5.0}, "clip=5.0;"),
        ({"clip": ["a", "b"]}, "clip=['a', 'b'];"),
        ({"sigmoid": [0.0, 0.0]}, "sigmoid=[0.0, 0.0];"),
        ({"sigmoid": [0.0, 1.0, 2.0]}, "sigmoid=[0.0, 1.0, 2.0];"),
        ({"granularity": "token", "span": "answer", "answers": "boxed"}, "granularity=token with span=answer"),
        ({"granularity": "token", "metric": "perplexity"}, "granularity=token with span=response and metric=perp"),
        ({"server": {"url": "x"}}, "server={'url': 'x'};"),
        ({"server": SERVER, "metric": "predictive_entropy"}, "metric=predictive_entropy with a server"),
        ({"server": SERVER, "verifier": ["a", "b"]}, "server with 2 verifiers"),
        ({"verifier": []}, "verifier=[];"),
        ({"server": SERVER, "quantization": "8bit"}, "quantization=8bit"),
        ({"quantization": "8bit", "verifier": "random:miniature:qwen-1/verifier"}, "quantization=8bit of random"),
        ({"verifier": [None]}, "verifier=[None];"),
    ],
)  # fmt: skip
def test_settings_that_are_refused_before_anything_loads(settings: dict[str, Any], message: str) -> None:
    given = {"verifier": "no/such-model"} | settings
    for build in (CrossModelEntropy.check, CrossModelEntropy):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            build(**given)  # type: ignore[operator]


def test_the_signature_is_that_of_the_settings_unless_a_subclass_has_its_own() -> None:
    class Inherited(CrossModelEntropy):
        pass

    class Own(CrossModelEntropy):
        def __init__(self, verifier: str, bonus: float) -> None:
            super().__init__(verifier)
            self.bonus = bonus

    for reward, settings in ((Inherited, CrossModelEntropySettings), (ReverseKL, ReverseKLSettings)):
        assert inspect.signature(reward) == inspect.signature(settings).replace(
            return_annotation=inspect._empty
        )
    assert list(inspect.signature(Own).parameters) == ["verifier", "bonus"]
    assert (
        CrossModelEntropy.NEUTRAL
        == {"batch_tokens", "device"}
        <= set(inspect.signature(ReverseKL).parameters)
    )
