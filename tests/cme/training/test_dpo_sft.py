"""DPO and SFT against log-likelihoods that are computed here, one sequence at a time."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from naive import score
from trainings import OFFLINE, PAIRS, PROMPTS, Tiny, sampled_monitoring

from cme import TrainingFailed
from cme.checkpoints import Checkpoint, load
from cme.records import Generation, Preference
from cme.training.dpo_sft import SampledMonitoring, train_dpo, train_sft
from cme.training.history import TrainingResult
from cme.training.job import TrainingJob, checkpoint_folder
from cme.training.monitors import Monitors

RESPONSES = [Generation(p.chosen, i % 3 > 0, None) for i, p in enumerate(PAIRS)]  # every third was cut off
SETTINGS = OFFLINE | {"lr_scheduler_type": "constant"}
BETA = 0.1


def log_likelihood(checkpoint: Checkpoint, prompt: str, response: str, finished: bool = True) -> float:
    """Sum over a response's tokens, including the end of turn of a finished response."""
    return score(checkpoint, prompt, response, finished).total


def margin(policy: Checkpoint, start: Checkpoint, pair: Preference) -> float:
    """The policy's log-ratio of chosen to rejected response minus that of the untrained model, in nats."""
    chosen, rejected = (
        log_likelihood(policy, pair.prompt.text, r) - log_likelihood(start, pair.prompt.text, r)
        for r in (pair.chosen, pair.rejected)
    )
    return chosen - rejected


def dpo(
    tiny: Tiny,
    folder: Path,
    monitoring: SampledMonitoring | None = None,
    family: str = "qwen",
    **changes: Any,
) -> TrainingResult:
    policy = changes.pop("policy", None) or tiny(family)
    pairs, save_every = changes.pop("pairs", PAIRS), changes.pop("save_every", None)
    return train_dpo(
        policy,
        tiny(family),
        pairs,
        monitoring or sampled_monitoring(tiny, family, changes.pop("every", 1)),
        SETTINGS | {"beta": BETA, "loss_type": "sigmoid"} | changes,
        TrainingJob(0, folder, save_every, quiet=True),
    )


def sft(tiny: Tiny, folder: Path, responses: list[Generation] = RESPONSES, **changes: Any) -> TrainingResult:
    policy = changes.pop("policy", None) or tiny("llama")
    return train_sft(
        policy,
        PROMPTS,
        responses,
        sampled_monitoring(tiny, "llama", changes.pop("every", 1)),
        SETTINGS | changes,
        TrainingJob(0, folder, quiet=True),
    )


@pytest.mark.parametrize("family", ["qwen", "gemma"])
def test_the_dpo_loss_follows_from_the_log_ratios(tiny: Tiny, tmp_path: Path, family: str) -> None:
    history = dpo(tiny, tmp_path, family=family, save_every=1, learning_rate=1e-3).history
    start = tiny(family)
    assert history["loss"][0] == pytest.approx(math.log(2), abs=1e-4), "the policy is its reference at first"
    for step in (1, 2):
        policy = load(str(checkpoint_folder(tmp_path, step)))
        losses = [math.log1p(math.exp(-BETA * margin(policy, start, p))) for p in PAIRS]
        assert history["loss"][step] == pytest.approx(sum(losses) / len(losses), rel=1e-3)


def test_dpo_puts_the_chosen_above_the_rejected(tiny: Tiny, tmp_path: Path) -> None:
    policy = tiny("qwen")
    dpo(tiny, tmp_path, policy=policy, max_steps=10, every=99)
    start, margins = tiny("qwen"), [margin(policy, tiny("qwen"), p) for p in PAIRS]
    assert sum(m > 0 for m in margins) >= 10 and sum(margins) / len(margins) > 1
    swapped = [Preference(p.prompt, p.rejected, p.chosen) for p in PAIRS]
    other = tiny("qwen")
    dpo(tiny, tmp_path / "swapped", policy=other, pairs=swapped, max_steps=10, every=99)
    assert sum(margin(other, start, p) for p in PAIRS) / len(PAIRS) < -1


def test_the_sft_loss_is_the_mean_negative_log_likelihood(tiny: Tiny, tmp_path: Path) -> None:
    history = sft(tiny, tmp_path).history
    start = tiny("llama")
    rows = zip(PROMPTS, RESPONSES, strict=True)
    scores = [score(start, p.text, g.response, bool(g.finished)) for p, g in rows]
    expected = -sum(s.total for s in scores) / sum(len(s.ids) for s in scores)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_sft_raises_the_likelihood_of_its_targets(tiny: Tiny, tmp_path: Path) -> None:
    policy, start = tiny("llama"), tiny("llama")
    sft(tiny, tmp_path, policy=policy, max_steps=10, every=99)
    for prompt, target in zip(PROMPTS, RESPONSES, strict=True):
        after, before = (log_likelihood(c, prompt.text, target.response) for c in (policy, start))
        assert after > before + 1


def test_a_cut_response_does_not_teach_to_end(tiny: Tiny, tmp_path: Path) -> None:
    ends = {}
    for finished in (True, False):
        policy = tiny("llama")
        responses = [Generation(p.chosen, finished, None) for p in PAIRS]
        sft(tiny, tmp_path / str(finished), responses, policy=policy, max_steps=10, every=99)
        ends[finished] = score(policy, PROMPTS[0].text, PAIRS[0].chosen, end=True).values[-1]
    assert ends[True] > ends[False] + 1


@pytest.mark.parametrize("train", [partial(dpo, family="llama"), sft], ids=["dpo", "sft"])
def test_text_that_spells_a_control_token_is_text(
    tiny: Tiny, tmp_path: Path, train: Callable[..., TrainingResult]
) -> None:
    """In prompts and responses: training is as with a tokenizer that does not know the control token."""
    policy = tiny("llama")
    spelled = [text[1:6] for p in PAIRS for text in (p.prompt.text, p.chosen)]
    policy.tokenizer.add_special_tokens({"extra_special_tokens": spelled})
    found = train(tiny, tmp_path / "known", policy=policy).history["loss"]
    expected = train(tiny, tmp_path / "unknown", policy=tiny("llama")).history["loss"]
    assert found == expected


def test_history_and_saved_policy(tiny: Tiny, tmp_path: Path) -> None:
    policy, start = tiny("qwen"), tiny("qwen")
    result = dpo(tiny, tmp_path, policy=policy)
    history = result.history
    assert result.stopped is None and history["step"] == [1, 2, 3]
    expected = {"step", "quality", "length", "clipped", "repetition", "kl", "loss", "grad_norm"}
    assert set(history) == expected and {len(c) for c in history.values()} == {3}
    assert history["kl"][0] == pytest.approx(0, abs=1e-4) and history["kl"][2] != 0
    assert all(q is not None and 0 <= q <= 1 for q in history["quality"])
    assert all(n is not None and 0 < n <= 6 for n in history["length"])
    saved = load(str(tmp_path))
    for a, b, c in zip(
        saved.model.parameters(), policy.model.parameters(), start.model.parameters(), strict=True
    ):
        assert torch.equal(a, b)
        assert a.ndim < 2 or not torch.equal(a, c)


def test_monitoring_does_not_change_the_training(tiny: Tiny, tmp_path: Path) -> None:
    often = dpo(tiny, tmp_path / "a", sampled_monitoring(tiny, every=1, count=6)).history
    seldom = dpo(tiny, tmp_path / "b", sampled_monitoring(tiny, every=99, count=2)).history
    assert often["loss"] == seldom["loss"] and often["grad_norm"] == seldom["grad_norm"]
    assert seldom["kl"][1] is None and seldom["kl"][2] is not None, "the last step is measured in any case"


@pytest.mark.parametrize("trainer", [dpo, sft])
def test_a_loss_that_is_not_finite_ends_training(
    tiny: Tiny, tmp_path: Path, trainer: Callable[..., TrainingResult]
) -> None:
    policy = tiny({dpo: "qwen", sft: "llama"}[trainer])
    with torch.no_grad():
        next(policy.model.parameters()).fill_(math.nan)
    quiet = SampledMonitoring(Monitors(policy, None, None, 99), PROMPTS, 1, 1)
    kwargs: dict[str, Any] = {"policy": policy}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "cme.training.dpo_sft.SampledMonitoring._measure", lambda *_: {}
        )  # nothing can be sampled from it
        if trainer is dpo:
            kwargs["monitoring"] = quiet
        with pytest.raises(TrainingFailed, match=r"the loss is nan at step 1: lower trainer.learning_rate"):
            trainer(tiny, tmp_path, **kwargs)


@pytest.mark.parametrize("trainer", [dpo, sft])
def test_no_room_for_a_response_is_refused(
    tiny: Tiny, tmp_path: Path, trainer: Callable[..., TrainingResult]
) -> None:
    with pytest.raises(ValueError, match="max_length=3"):
        trainer(tiny, tmp_path, max_length=3)
