"""What every run measures: repetition, KL from the untrained model, quality and the held-out likelihood."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from naive import score_ids
from verifiers import Tiny, make_verifier

from cme.checkpoints import Checkpoint
from cme.models import chat
from cme.records import Grade
from cme.training.monitors import Monitors, repetition

PROMPTS = ["what is 3 plus 4?", "name two animals."]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("fox fox", 0.0),  # one bigram
        ("fox fox fox", 0.5),  # two bigrams, the second repeats
        ("the fox, the FOX.", 1 / 3),  # the fox | fox the | the fox
    ],
)
def test_repetition(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


def bound(
    monitors: Monitors, policy: Checkpoint, step: int = 0, steps: int = 100, group: int = 1
) -> Monitors:
    trainer: Any = SimpleNamespace(
        processing_class=policy.tokenizer,
        model=policy.model,
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
        state=SimpleNamespace(global_step=step, max_steps=steps),
    )
    monitors.bind(trainer, group)
    return monitors


def measure(monitors: Monitors, policy: Checkpoint, texts: list[str]) -> dict[str, float]:
    end = policy.tokenizer.eos_token_id
    ids = [[*chat.response_ids(policy.tokenizer, t), end][: 5 if i else None] for i, t in enumerate(texts)]
    logged: dict[str, float] = {}
    assert monitors(PROMPTS, texts, ids, log_metric=logged.__setitem__) == [None] * len(texts)
    return logged


def summed(checkpoint: Checkpoint, prompt: str, response: list[int]) -> float:
    return score_ids(checkpoint.model, chat.prompt_ids(checkpoint.tokenizer, prompt), response).total


def test_kl_is_the_mean_summed_log_ratio(tiny: Tiny, family: str) -> None:
    start, policy = tiny(family), tiny(family)
    texts = ["fox, bear, wolf and frog.", "the fox and the fox and the fox."]
    monitors = bound(Monitors(start, None, None), policy)
    assert measure(monitors, policy, texts)["kl_from_start"] == pytest.approx(0, abs=1e-4)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.1)
    end = policy.tokenizer.eos_token_id
    ids = [[*chat.response_ids(policy.tokenizer, t), end] for t in texts]
    ids[1] = ids[1][:5]
    expected = [summed(policy, p, r) - summed(start, p, r) for p, r in zip(PROMPTS, ids, strict=True)]
    found = measure(monitors, policy, texts)
    assert abs(sum(expected) / 2) > 1e-2
    assert found["kl_from_start"] == pytest.approx(sum(expected) / 2, abs=1e-3)
    assert found["repetition"] == pytest.approx((0 + repetition(texts[1])) / 2)


def test_oracle_and_heldout_verifier(tiny: Tiny) -> None:
    policy = tiny("qwen")
    heldout = make_verifier(tiny("olmo"))
    calls = []

    def oracle(prompt: str, response: str, finished: bool) -> Grade:
        calls.append((prompt, response, finished))
        return Grade(len(calls) / 4, "none", {})

    texts = ["fox, bear, wolf.", "the fox and the fox and the fox."]
    monitors = bound(Monitors(tiny("qwen"), heldout, oracle), policy)
    found = measure(monitors, policy, texts)
    assert calls == [(PROMPTS[0], texts[0], True), (PROMPTS[1], texts[1], False)]
    assert found["quality"] == pytest.approx((0.25 + 0.5) / 2)
    means = [s.mean for s in heldout.score(PROMPTS, texts, [True, False])]
    assert found["heldout"] == pytest.approx(sum(m for m in means if m is not None) / 2)
    assert set(measure(bound(Monitors(tiny("qwen"), None, None), policy), policy, texts)) == {
        "repetition",
        "kl_from_start",
    }


@pytest.mark.parametrize(("step", "measured"), [(4, False), (5, True), (9, True)])
def test_forward_passes_are_measured_every_few_steps_and_at_the_last(
    tiny: Tiny, step: int, measured: bool
) -> None:
    policy = tiny("qwen")
    monitors = bound(
        Monitors(tiny("qwen"), None, lambda *_: Grade(1.0, "none", {}), every=5), policy, step, steps=10
    )
    found = measure(monitors, policy, ["fox.", "bear."])
    assert ("kl_from_start" in found) == measured
    assert {"quality", "repetition"} <= set(found)


def test_answers_are_measured_on_a_mathematics_track(tiny: Tiny) -> None:
    policy = tiny("qwen")
    monitors = bound(Monitors(tiny("qwen"), None, None, every=5, answers="number"), policy, step=1, group=4)
    logged: dict[str, float] = {}

    def watch(texts: list[str], gold: list[str | None]) -> dict[str, float]:
        logged.clear()
        monitors(["p"] * len(texts), texts, [[1]] * len(texts), log_metric=logged.__setitem__, answer=gold)
        return {
            name: logged[name] for name in ("accuracy", "majority_share", "label_accuracy") if name in logged
        }

    groups = [
        *("7", "7.0", "8", "fox"),  # 2 of 4 are right and so is the majority of 2
        *("3", "5", "5", "4"),  # 1 is right, the majority of 2 is not
        *("1", "1", "1", "1"),  # without a gold answer: no accuracy, a majority of 4
        *("fox", "", "owl", "hen"),  # no votes: none right, no majority
    ]
    gold = [*["7"] * 4, *["3"] * 4, *[None] * 4, *["2"] * 4]
    assert watch(groups, gold) == pytest.approx(
        {"accuracy": 3 / 12, "majority_share": (2 / 4 + 2 / 4 + 4 / 4) / 3, "label_accuracy": 1 / 2}
    )
    assert watch(groups[:6], gold[:6]) == pytest.approx({"accuracy": 3 / 6})  # groups of another process
    assert watch(["fox"] * 4, [None] * 4) == {}
    monitors.answers = "whole"
    assert watch(groups, gold) == {}


def test_a_completion_beyond_the_context_is_left_out_of_the_kl(tiny: Tiny) -> None:
    monitors = bound(Monitors(tiny("qwen"), None, None), tiny("llama"))
    context = tiny("qwen").model.config.max_position_embeddings
    short, long = [9, 10, 11], [9] * context
    [alone] = monitors._kl(PROMPTS[:1], [short])
    assert monitors._kl(PROMPTS, [short, long]) == [pytest.approx(alone)]


def test_responses_that_heldout_cannot_score_are_left_out(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, heldout = tiny("qwen"), make_verifier(tiny("olmo"))
    score = heldout.score  # without ends of turn an empty response has no score
    monkeypatch.setattr(heldout, "score", lambda p, r, ended: score(p, r, [False] * len(ended)))
    monitors = bound(Monitors(tiny("qwen"), heldout, None), policy)
    [alone] = heldout.score(PROMPTS[:1], ["fox."], [True])
    assert measure(monitors, policy, ["fox.", ""])["heldout"] == pytest.approx(alone.mean)
    assert "heldout" not in measure(monitors, policy, ["", ""])
