"""Every variant of Cross-Model Entropy against full logits in float64, a response and a token at a time."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cme.checkpoints import Checkpoint
from cme.models import chat
from cme.rewards import CrossModelEntropy
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
NAN = math.nan


@dataclass(frozen=True)
class Slow:
    """One response's tokens: ids, log-likelihoods and entropies (T,) in nats, character spans."""

    ids: list[int]
    values: list[float]
    entropies: list[float]
    spans: list[tuple[int, int]]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)


@torch.no_grad()
def slow(verifier: Checkpoint, prompt: str, response: str, end: bool = False) -> Slow:
    tokenizer = verifier.tokenizer
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    head = tokenizer(text, add_special_tokens=False)["input_ids"]
    encoded = tokenizer(response, add_special_tokens=False, return_offsets_mapping=True)
    ids = encoded["input_ids"] + [tokenizer.eos_token_id] * end
    spans = [tuple(span) for span in encoded["offset_mapping"]] + [(len(response), len(response))] * end
    logits = verifier.model(input_ids=torch.tensor([head + ids])).logits[0].double()
    rows = logits[len(head) - 1 : -1].log_softmax(-1)
    values = [float(row[token]) for row, token in zip(rows, ids, strict=True)]
    return Slow(ids, values, [-float((row.exp() * row).sum()) for row in rows], spans)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def means(verifier: Checkpoint) -> list[float]:
    return [slow(verifier, p, r).mean for p, r in zip(PROMPTS, RESPONSES, strict=True)]


def near(expected: Sequence[float], tolerance: float = 1e-4) -> Any:
    return pytest.approx(list(expected), abs=tolerance, rel=1e-4, nan_ok=True)


def called(
    reward: CrossModelEntropy, prompts: Any = PROMPTS, responses: Any = RESPONSES
) -> list[float | None]:
    return reward(prompts, responses, [[1]] * len(responses))


def test_predictive_entropy(tiny: Tiny, tiny_folder: Folder, family: str) -> None:
    verifier = tiny(family)
    found = called(CrossModelEntropy(str(tiny_folder(family)), metric="predictive_entropy"))
    each = [slow(verifier, p, r) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    assert found == near([-mean(one.entropies) for one in each])


def test_perplexity(tiny: Tiny, tiny_folder: Folder, family: str) -> None:
    found = called(CrossModelEntropy(str(tiny_folder(family)), metric="perplexity"))
    assert found == near([-math.exp(-v) for v in means(tiny(family))], 1e-2)


def test_pmi_takes_off_what_the_response_has_without_the_prompt(
    tiny: Tiny, tiny_folder: Folder, family: str
) -> None:
    verifier = tiny(family)
    found = called(CrossModelEntropy(str(tiny_folder(family)), pmi=True))
    expected = [
        slow(verifier, p, r).mean - slow(verifier, "", r).mean
        for p, r in zip(PROMPTS, RESPONSES, strict=True)
    ]
    assert found == near(expected)
    assert max(map(abs, expected)) > 1e-2, "these random models must depend on the prompt"


def test_pmi_with_the_end_of_turn(tiny: Tiny, tiny_folder: Folder) -> None:
    verifier = tiny("qwen")
    reward = CrossModelEntropy(str(tiny_folder("qwen")), pmi=True, score_end_of_turn=True)
    reward.bind(trainer(5))
    found = reward(PROMPTS[:2], RESPONSES[:2], [[3, 5], [3]])
    expected = [
        slow(verifier, p, r, end).mean - slow(verifier, "", r, end).mean
        for p, r, end in zip(PROMPTS[:2], RESPONSES[:2], (True, False), strict=True)
    ]
    assert found == near(expected)


def in_the_box(one: Slow, response: str, answer: str) -> list[int]:
    """Tokens that share a character with the content of the response's last box."""
    start = response.rindex("\\boxed{") + len("\\boxed{")
    assert response[start : start + len(answer)] == answer
    letters = set(range(start, start + len(answer)))
    return [t for t, (left, right) in enumerate(one.spans) if letters & set(range(left, right))]


@pytest.mark.parametrize("metric", ["log_likelihood", "perplexity", "predictive_entropy"])
@pytest.mark.parametrize("span", ["answer", "blended"])
def test_answers_in_boxes(tiny: Tiny, tiny_folder: Folder, family: str, span: Any, metric: Any) -> None:
    verifier = tiny(family)
    reward = CrossModelEntropy(
        str(tiny_folder(family)),
        metric=metric,
        span=span,
        answers="boxed",
        answer_weight=0.25,
        no_answer_penalty=1.5,
    )
    expected = []
    for prompt, response, answer in zip(PROMPTS, RESPONSES, ANSWERS, strict=True):
        one = slow(verifier, prompt, response)
        values = [-h for h in one.entropies] if metric == "predictive_entropy" else one.values

        def pool(chosen: list[float]) -> float:
            return -math.exp(-mean(chosen)) if metric == "perplexity" else mean(chosen)

        if answer is None:
            expected.append(pool(values) - 1.5)
            continue
        part = pool([values[t] for t in in_the_box(one, response, answer)])
        expected.append(part if span == "answer" else 0.75 * pool(values) + 0.25 * part)
    assert called(reward) == near(expected, 1e-2 if metric == "perplexity" else 1e-4)


def test_an_answer_behind_the_cut_is_missing(tiny: Tiny, tiny_folder: Folder) -> None:
    reward = CrossModelEntropy(
        str(tiny_folder("llama")),
        span="answer",
        answers="boxed",
        no_answer_penalty=2.0,
        max_response_tokens=3,
    )
    values = slow(tiny("llama"), PROMPTS[0], RESPONSES[0]).values[:3]
    assert called(reward, PROMPTS[:1], RESPONSES[:1]) == near([mean(values) - 2.0])


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_numbers_as_answers(tiny: Tiny, tiny_folder: Folder, family: str, weight: float) -> None:
    said = ["3 plus 4 is 7. the fox", "fox, bear.", "12 or 13", "1,200 it is"]
    places = [(12, 13), None, (6, 8), (0, 5)]
    reward = CrossModelEntropy(
        str(tiny_folder(family)),
        span="blended",
        answers="number",
        answer_weight=weight,
        no_answer_penalty=5.0,
    )
    expected = []
    for prompt, response, place in zip(PROMPTS, said, places, strict=True):
        one = slow(tiny(family), prompt, response)
        if place is None:
            expected.append(one.mean - 5)
            continue
        letters = set(range(*place))
        part = mean([v for v, s in zip(one.values, one.spans, strict=True) if letters & set(range(*s))])
        expected.append((1 - weight) * one.mean + weight * part)
    assert called(reward, PROMPTS, said) == near(expected)


def test_whole_responses_as_answers(tiny: Tiny, tiny_folder: Folder) -> None:
    reward = CrossModelEntropy(str(tiny_folder("gemma")), span="answer", answers="whole")
    assert called(reward) == near(means(tiny("gemma")))


@pytest.mark.parametrize(("ensemble", "combine"), [("mean", mean), ("min", min)])
def test_several_verifiers(tiny: Tiny, tiny_folder: Folder, ensemble: Any, combine: Any) -> None:
    names = ["llama", "gemma", "olmo"]
    of_each = [means(tiny(name)) for name in names]
    assert len({min(range(3), key=lambda i: row[i]) for row in zip(*of_each, strict=True)}) > 1
    reward = CrossModelEntropy([str(tiny_folder(name)) for name in names], ensemble=ensemble)
    assert called(reward) == near([combine(row) for row in zip(*of_each, strict=True)])


def test_one_broken_verifier_leaves_the_response_unscored(tiny_folder: Folder) -> None:
    for ensemble in ("mean", "min"):
        reward = CrossModelEntropy([str(tiny_folder("llama")), str(tiny_folder("qwen"))], ensemble=ensemble)  # type: ignore[arg-type]
        with torch.no_grad():
            next(reward.verifiers[1].engine.model.parameters()).fill_(NAN)  # type: ignore[attr-defined]
        assert called(reward) == [None] * 4


def test_bounds_apply_to_the_combined_reward(tiny: Tiny, tiny_folder: Folder) -> None:
    names = ["llama", "gemma"]
    verifiers = [str(tiny_folder(name)) for name in names]
    plain = [mean(row) for row in zip(*(means(tiny(name)) for name in names), strict=True)]
    low, high = sorted(plain)[1] - 1e-3, sorted(plain)[2] + 1e-3  # the outer two are cut
    clipped = [min(max(v, low), high) for v in plain]
    assert called(CrossModelEntropy(verifiers, clip=[low, high])) == near(clipped)
    assert plain != near(clipped)
    found = called(CrossModelEntropy(verifiers, sigmoid=[low, 0.5]))
    assert found == near([1 / (1 + math.exp(-(v - low) / 0.5)) for v in plain])
    found = called(CrossModelEntropy(verifiers, clip=[low, high], sigmoid=[low, 0.5]))
    assert found == near([1 / (1 + math.exp(-(v - low) / 0.5)) for v in clipped])


# values on the policy's tokens


SERVER = {"url": "http://127.0.0.1:1", "model": "m", "dialect": "vllm"}


def trainer(end: int, tokenizer: Any = None) -> Any:
    return UntrainedPolicy(tokenizer or SimpleNamespace(eos_token_id=end), None)  # type: ignore[arg-type]


def dense(tiny: Tiny, policy: str, verifiers: Any, **settings: Any) -> CrossModelEntropy:
    reward = CrossModelEntropy(verifiers, granularity="token", **settings)
    reward.bind(trainer(0, tiny(policy).tokenizer))
    return reward


def sampled(policy: Checkpoint, texts: Sequence[str], ended: Sequence[bool]) -> list[list[int]]:
    tokenizer = policy.tokenizer
    return [
        tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * end
        for text, end in zip(texts, ended, strict=True)
    ]


def said_by(policy: str) -> list[str]:
    """Responses that the policy's tokens spell; Gemma's vocabulary here has letters, digits and little more."""
    if policy != "gemma":
        return RESPONSES
    return [
        "7 plus 4 is 11, so the answer is 11.",
        "fox, bear and some more words.",
        "owl and fox live in the forest.",
        "what animal is large?",
    ]


ENDED = [True, False, True, True]


@pytest.mark.parametrize("alignment", ["mean", "sum"])
def test_a_policy_of_the_verifiers_tokens_gets_its_very_values(
    tiny: Tiny, tiny_folder: Folder, family: str, alignment: Any
) -> None:
    verifier, responses = tiny(family), said_by(family)
    reward = dense(tiny, family, str(tiny_folder(family)), alignment=alignment, score_end_of_turn=True)
    ids = sampled(verifier, responses, ENDED)
    rewards = reward(PROMPTS, responses, ids)
    each = [slow(verifier, p, r, end) for p, r, end in zip(PROMPTS, responses, ENDED, strict=True)]
    assert [one.ids for one in each] == ids
    for found, one in zip(reward.token_values, each, strict=True):
        assert found.dtype == torch.float32
        assert found.tolist() == near(one.values)
    assert rewards == near([one.mean for one in each]), "the reward that is logged is over the sequence"


@pytest.mark.parametrize("variant", ["pmi", "predictive_entropy"])
def test_variants_on_tokens(tiny: Tiny, tiny_folder: Folder, variant: str) -> None:
    verifier = tiny("olmo")
    chosen: Any = {"pmi": True} if variant == "pmi" else {"metric": variant}
    reward = dense(tiny, "olmo", str(tiny_folder("olmo")), score_end_of_turn=True, **chosen)
    reward(PROMPTS, RESPONSES, sampled(verifier, RESPONSES, ENDED))
    for found, prompt, response, end in zip(reward.token_values, PROMPTS, RESPONSES, ENDED, strict=True):
        one, alone = slow(verifier, prompt, response, end), slow(verifier, "", response, end)
        if variant == "pmi":
            expected = [a - b for a, b in zip(one.values, alone.values, strict=True)]
        else:
            expected = [-h for h in one.entropies]
        assert found.tolist() == near(expected)


def test_an_end_that_is_not_scored_has_no_value(tiny: Tiny, tiny_folder: Folder) -> None:
    verifier = tiny("qwen")
    reward = dense(tiny, "qwen", str(tiny_folder("qwen")))
    reward(PROMPTS, RESPONSES, sampled(verifier, RESPONSES, ENDED))
    for found, prompt, response, end in zip(reward.token_values, PROMPTS, RESPONSES, ENDED, strict=True):
        assert found.tolist() == near(slow(verifier, prompt, response).values + [NAN] * end)


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize(("policy", "judge"), [("qwen", "gemma"), ("gemma", "llama"), ("olmo", "gemma")])
def test_other_tokens_share_the_same_nats(
    tiny: Tiny, tiny_folder: Folder, policy: str, judge: str, end: bool
) -> None:
    verifier, responses = tiny(judge), said_by(policy)
    reward = dense(tiny, policy, str(tiny_folder(judge)), alignment="sum", score_end_of_turn=end)
    ids = sampled(tiny(policy), responses, [end] * 4)
    reward(PROMPTS, responses, ids)
    differ = False
    for found, own, prompt, response in zip(reward.token_values, ids, PROMPTS, responses, strict=True):
        one = slow(verifier, prompt, response, end)
        assert found.shape == (len(own),)
        assert float(found.sum()) == pytest.approx(sum(one.values), rel=1e-4)
        differ |= len(own) != len(one.ids)
        if end:
            assert float(found[-1]) == pytest.approx(one.values[-1], abs=1e-4)
    assert differ, "the two tokenizers must cut these texts differently"


def test_the_mean_of_the_tokens_that_overlap(tiny: Tiny, tiny_folder: Folder) -> None:
    """The paper's rule, with characters for positions: these texts are ASCII."""
    policy, verifier = tiny("qwen"), tiny("gemma")
    texts = [RESPONSES[0], RESPONSES[1]]
    reward = dense(tiny, "qwen", str(tiny_folder("gemma")), alignment="mean")
    reward(PROMPTS[:2], texts, sampled(policy, texts, [False, False]))
    for found, prompt, response in zip(reward.token_values, PROMPTS, texts, strict=False):
        one = slow(verifier, prompt, response)
        own = policy.tokenizer(response, add_special_tokens=False, return_offsets_mapping=True)
        expected = [
            mean([v for v, (a, b) in zip(one.values, one.spans, strict=True) if a < right and b > left])
            for left, right in own["offset_mapping"]
        ]
        assert found.tolist() == near(expected)


@pytest.mark.parametrize("most", [1, 4])
def test_tokens_behind_the_cut_have_no_value(tiny: Tiny, tiny_folder: Folder, family: str, most: int) -> None:
    verifier, responses = tiny(family), said_by(family)
    settings: Any = {"score_end_of_turn": True, "max_response_tokens": most}
    reward = dense(tiny, family, str(tiny_folder(family)), **settings)
    ids = sampled(verifier, responses, ENDED)
    rewards = reward(PROMPTS, responses, ids)
    for found, scalar, prompt, response, end in zip(
        reward.token_values, rewards, PROMPTS, responses, ENDED, strict=True
    ):
        kept = slow(verifier, prompt, response, end).values
        assert len(kept) > most
        assert found.tolist() == near(kept[:most] + [NAN] * (len(kept) - most))
        assert scalar == pytest.approx(mean(kept[:most]), abs=1e-4)


def test_a_cut_in_other_tokens(tiny: Tiny, tiny_folder: Folder) -> None:
    policy, verifier = tiny("gemma"), tiny("qwen")
    text = RESPONSES[1]
    reward = dense(tiny, "gemma", str(tiny_folder("qwen")), max_response_tokens=5, alignment="sum")
    reward(PROMPTS[1:2], [text], sampled(policy, [text], [False]))
    one = slow(verifier, PROMPTS[1], text)
    read = one.spans[4][1]
    own = policy.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    [found] = reward.token_values
    assert found.isnan().tolist() == [left >= read for left, _ in own]
    assert float(found.nansum()) == pytest.approx(sum(one.values[:5]), rel=1e-4)


def test_equal_texts_keep_their_own_tokens(tiny: Tiny, tiny_folder: Folder) -> None:
    """Two completions of one prompt with one text: in canonical tokens, and letter by letter; a third elsewhere."""
    policy = tiny("qwen")
    text = RESPONSES[1]
    [canonical] = sampled(policy, [text], [False])
    letters = [policy.tokenizer.convert_tokens_to_ids(c.replace(" ", "Ġ")) for c in text]
    assert policy.tokenizer.decode(letters) == text and len(letters) > len(canonical)
    end = policy.tokenizer.eos_token_id
    reward = dense(tiny, "qwen", str(tiny_folder("qwen")), alignment="sum", score_end_of_turn=True)
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[1], PROMPTS[1]]
    reward(prompts, [text] * 4, [canonical, canonical, letters, [*canonical, end]])
    found = reward.token_values
    here, there = slow(tiny("qwen"), PROMPTS[1], text), slow(tiny("qwen"), PROMPTS[0], text)
    assert found[0].tolist() == near(there.values)
    assert found[1].tolist() == near(here.values)
    spread = [v / (b - a) for v, (a, b) in zip(here.values, here.spans, strict=True) for _ in range(b - a)]
    assert found[2].tolist() == near(spread)
    assert found[3].tolist() == near(slow(tiny("qwen"), PROMPTS[1], text, end=True).values)


@pytest.mark.parametrize(("ensemble", "combine"), [("mean", mean), ("min", min)])
def test_verifiers_and_bounds_on_tokens(tiny: Tiny, tiny_folder: Folder, ensemble: Any, combine: Any) -> None:
    names = ["llama", "qwen"]  # the policy's own, and another
    text = "fox, bear and some more words."
    ids = sampled(tiny("llama"), [text], [True])
    of_each = []
    for name in names:
        alone = dense(tiny, "llama", str(tiny_folder(name)), score_end_of_turn=True)
        alone(PROMPTS[1:2], [text], ids)
        of_each.append(alone.token_values[0].tolist())
    expected = [min(max(combine(pair), -9.0), -2.0) for pair in zip(*of_each, strict=True)]
    reward = dense(
        tiny,
        "llama",
        [str(tiny_folder(name)) for name in names],
        ensemble=ensemble,
        clip=[-9.0, -2.0],
        sigmoid=[-4.0, 2.0],
        score_end_of_turn=True,
    )
    reward(PROMPTS[1:2], [text], ids)
    assert reward.token_values[0].tolist() == near([1 / (1 + math.exp(-(v + 4) / 2)) for v in expected])


def test_tokens_that_do_not_spell_the_text_get_nothing(tiny: Tiny, tiny_folder: Folder) -> None:
    reward = dense(tiny, "qwen", str(tiny_folder("llama")))
    [own, other] = sampled(tiny("qwen"), RESPONSES[:2], [False, False])
    logged: dict[str, float] = {}
    rewards = reward(PROMPTS[:2], RESPONSES[:2], [own, own], log_metric=logged.__setitem__)
    assert not reward.token_values[0].isnan().any()
    assert reward.token_values[1].isnan().all() and reward.token_values[1].shape == (len(own),)
    assert logged["unaligned"] == 0.5
    assert all(r is not None for r in rewards) and own != other


def test_empty_and_broken_responses_have_no_values(tiny: Tiny, tiny_folder: Folder) -> None:
    end = tiny("qwen").tokenizer.eos_token_id
    reward = dense(tiny, "qwen", str(tiny_folder("llama")), empty_response=-7.0)
    [own] = sampled(tiny("qwen"), RESPONSES[:1], [False])
    assert reward(PROMPTS[:2], ["", RESPONSES[0]], [[end], own])[0] == -7.0
    assert [v.isnan().all().item() for v in reward.token_values] == [True, False]
    with torch.no_grad():
        next(reward.verifiers[0].engine.model.parameters()).fill_(NAN)  # type: ignore[attr-defined]
    assert reward(PROMPTS[:1], RESPONSES[:1], [own]) == [None]
    assert reward.token_values[0].isnan().all()


def test_tokens_need_the_policy(tiny_folder: Folder) -> None:
    reward = CrossModelEntropy(str(tiny_folder("qwen")), granularity="token")
    with pytest.raises(RuntimeError, match=re.escape("granularity=token: call bind(trainer)")):
        called(reward)


@pytest.mark.parametrize("settings", [{"granularity": "token"}, {"std_floor": 0.1}])
def test_a_trainer_that_would_ignore_the_settings_is_refused(
    tiny: Tiny, tiny_folder: Folder, settings: dict[str, Any]
) -> None:
    reward = CrossModelEntropy(str(tiny_folder("qwen")), **settings)
    with pytest.raises(RuntimeError, match=next(iter(settings))):
        called(reward)
    with pytest.raises(TypeError, match="TRL's own"):
        reward.bind(SimpleNamespace(processing_class=tiny("qwen").tokenizer))  # type: ignore[arg-type]


def test_an_infinite_value_without_the_prompt_leaves_the_row_without_values(
    tiny: Tiny, tiny_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = dense(tiny, "qwen", str(tiny_folder("qwen")), pmi=True)
    [scorer] = reward.verifiers
    whole = scorer.score

    def broken(prompts: Any, *args: Any, **kwargs: Any) -> Any:
        scores = whole(prompts, *args, **kwargs)
        if prompts[0] == "":
            scores[0].log_likelihoods[1] = -torch.inf
        return scores

    monkeypatch.setattr(scorer, "score", broken)
    ids = [chat.response_ids(tiny("qwen").tokenizer, text) for text in ("fox, bear.", "the fox.")]
    found = reward(["name two animals."] * 2, ["fox, bear.", "the fox."], ids)
    assert found[0] is None and reward.token_values[0].isnan().all()
    assert found[1] is not None and reward.token_values[1].isfinite().all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metric": "perplexty"}, "metric=perplexty; it must be one of log_likelihood"),
        ({"granularity": "tokens"}, "granularity=tokens; it must be one of sequence, token"),
        ({"ensemble": "max"}, "ensemble=max; it must be one of mean, min"),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens=0; it must be at least 1"),
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
        ({"server": {"url": "x"}}, "server={'url': 'x'}; it needs url, model and dialect"),
        ({"clip": [1.0]}, "clip=[1.0];"),
        ({"clip": []}, "clip=[];"),
        ({"sigmoid": [0.0, 0.0]}, "sigmoid=[0.0, 0.0];"),
        ({"sigmoid": [0.0, -1.0]}, "sigmoid=[0.0, -1.0];"),
        ({"sigmoid": [0.0, 1.0, 2.0]}, "sigmoid=[0.0, 1.0, 2.0];"),
        ({"granularity": "token", "span": "answer", "answers": "boxed"}, "granularity=token with span=answer"),
        ({"granularity": "token", "metric": "perplexity"}, "granularity=token with span=response and metric=perp"),
        ({"server": SERVER, "metric": "predictive_entropy"}, "metric=predictive_entropy with a server"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(said)):
        CrossModelEntropy.check(verifier="no/such-model", **settings)
    with pytest.raises(ValueError, match="^" + re.escape(said)):
        CrossModelEntropy("no/such-model", **settings)  # before anything loads


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
def test_settings_that_can_be(settings: dict[str, Any]) -> None:
    CrossModelEntropy.check(verifier="no/such-model", **settings)


@pytest.mark.parametrize(
    ("verifier", "settings", "said"),
    [
        ([], {}, "verifier=[];"),
        ("", {}, "verifier=;"),
        ([None], {}, "verifier=[None];"),
        (["a", "b"], {"server": SERVER}, "server with 2 verifiers"),
    ],
)
def test_verifiers_that_cannot_be(verifier: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        CrossModelEntropy(verifier, **settings)


@pytest.mark.parametrize("unlikely_as", [-100.0, -1000.0])
def test_a_perplexity_beyond_floats_is_no_reward(
    tiny_folder: Folder, monkeypatch: pytest.MonkeyPatch, unlikely_as: float
) -> None:
    reward = CrossModelEntropy(str(tiny_folder("qwen")), metric="perplexity")
    [scorer] = reward.verifiers
    whole = scorer.score

    def unlikely(*args: Any, **kwargs: Any) -> Any:
        scores = whole(*args, **kwargs)
        scores[0].log_likelihoods.fill_(unlikely_as)
        scores[1].log_likelihoods.fill_(-80.0)
        return scores

    monkeypatch.setattr(scorer, "score", unlikely)
    found = reward(["name two animals."] * 2, ["fox, bear.", "the fox."], [[1], [1]])
    assert found[0] is None
    assert found[1] == pytest.approx(-math.exp(80.0))
