"""On-policy distillation against whole logits that are computed here, one response at a time."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import PROMPTS, other_weights
from verifiers import Folder, Tiny

from cme import TrainingFailed
from cme.checkpoints import Checkpoint, load
from cme.miniature import world
from cme.models import chat
from cme.models.generation import generate
from cme.training.distillation import check_tokenizers, train_distillation
from cme.training.history import TrainingResult
from cme.training.job import TrainingJob, checkpoint_folder
from cme.training.monitors import Monitors

SETTINGS: dict[str, Any] = {
    "max_steps": 3,
    "per_device_train_batch_size": 6,
    "max_completion_length": 12,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "temperature": 1.0,
    "beta": 1.0,
}
Make = Callable[[], Checkpoint]
Sampled = list[tuple[list[int], list[int]]]


class Recorder(Monitors):
    """Monitors that keep the ids of the prompts and completions of each step."""

    steps: list[Sampled]

    def __call__(self, prompts: Any, completions: Any, completion_ids: Any, *args: Any, **more: Any) -> Any:
        ids = chat.prompts_ids(self.start.tokenizer, prompts)
        self.steps.append(list(zip(ids, completion_ids, strict=True)))
        return super().__call__(prompts, completions, completion_ids, *args, **more)


def distil(
    start: Make, verifier: Checkpoint, folder: Path, **changes: Any
) -> tuple[TrainingResult, list[Sampled]]:
    monitors = Recorder(start(), None, world.grade)
    monitors.steps = []
    job = TrainingJob(0, folder, save_every=1, quiet=True)
    return train_distillation(start(), verifier, PROMPTS, monitors, SETTINGS | changes, job), monitors.steps


@torch.no_grad()
def log_probs(
    checkpoint: Checkpoint, prompt: list[int], response: list[int], temperature: float
) -> torch.Tensor:
    """Log-probabilities (T, V) of every token at each of a response's T positions."""
    logits = checkpoint.model(torch.tensor([prompt + response])).logits[0].float()
    return (logits[len(prompt) - 1 : -1] / temperature).log_softmax(-1)


def divergence(p: torch.Tensor, q: torch.Tensor, beta: float) -> torch.Tensor:
    """Divergences (T,) in nats: KL(p || q) for beta 1, KL(q || p) for 0, else the generalized Jensen-Shannon."""

    def kl(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a.exp() * (a - b)).sum(-1)

    if beta in (0.0, 1.0):
        return kl(p, q) if beta else kl(q, p)
    mixture = (beta * q.exp() + (1 - beta) * p.exp()).log()
    return beta * kl(q, mixture) + (1 - beta) * kl(p, mixture)


def check_losses(start: Make, verifier: Checkpoint, folder: Path, **changes: Any) -> list[Sampled]:
    """Compare the loss of each step with the mean divergence over the tokens of the samples of its policy."""
    settings = SETTINGS | changes
    result, steps = distil(start, verifier, folder, **changes)
    policies = [start(), *(load(str(checkpoint_folder(folder, step))) for step in range(1, len(steps)))]
    for loss, policy, sampled in zip(result.history["loss"], policies, steps, strict=True):
        both = [[log_probs(c, *row, settings["temperature"]) for c in (policy, verifier)] for row in sampled]
        expected = torch.cat([divergence(p, q, settings["beta"]) for p, q in both]).mean()
        assert loss == pytest.approx(float(expected), rel=1e-3) and loss > 0.01
    return steps


@pytest.mark.parametrize(
    ("family", "beta", "temperature", "steps"),
    [
        *(("qwen", *case, 3) for case in ((1.0, 1.0), (0.0, 1.0), (0.5, 1.0), (1.0, 0.7))),
        *(pytest.param(family, 1.0, 1.0, 1, marks=pytest.mark.slow) for family in ("llama", "gemma", "olmo")),
    ],
)
def test_the_loss_is_the_mean_divergence_on_the_policys_own_tokens(
    tiny: Tiny, tmp_path: Path, family: str, beta: float, temperature: float, steps: int
) -> None:
    start = partial(tiny, family)
    settings = {"beta": beta, "temperature": temperature, "max_steps": steps}
    check_losses(start, other_weights(start()), tmp_path, **settings)


def test_the_loss_of_responses_of_several_lengths(tmp_path: Path) -> None:
    verifier = load("miniature:qwen-1/verifier")
    steps = check_losses(partial(load, "miniature:qwen-1/sft"), verifier, tmp_path, max_completion_length=32)
    assert all(len({len(response) for _, response in sampled}) > 3 for sampled in steps)


def test_every_step_trains_on_samples_of_the_present_policy(tiny: Tiny, tmp_path: Path) -> None:
    start = partial(tiny, "qwen")
    result, steps = distil(start, other_weights(start()), tmp_path, learning_rate=3e-2, max_steps=6)
    assert len(steps) == 6 and all(len(sampled) == 6 for sampled in steps)
    lengths = [sum(len(response) for _, response in sampled) / 6 for sampled in steps]
    assert result.history["length"] == pytest.approx(lengths, rel=1e-4)
    assert result.history["kl"][0] == pytest.approx(0, abs=1e-4), "at first the policy is its start"
    assert abs(result.history["kl"][-1] or 0) > 0.1
    assert "quality" in result.history and "reward" not in result.history
    assert result.stopped is None and result.changed


@pytest.mark.parametrize(
    ("generator", "verifier", "reason"),
    [
        ("miniature:qwen-1/sft", "miniature:gemma-1/verifier", "different vocabularies"),
        ("miniature:olmo-1/pretrained", "miniature:olmo-1/verifier", "render a prompt differently"),
        ("miniature:qwen-1/pretrained", "miniature:qwen-1/verifier", "end with different tokens"),
    ],
)
def test_other_tokenizers_are_refused_by_name(generator: str, verifier: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        check_tokenizers(generator, verifier, PROMPTS)
    assert generator in str(refused.value) and verifier in str(refused.value)


def test_heads_of_other_sizes_are_refused(tiny: Tiny, tiny_folder: Folder, tmp_path: Path) -> None:
    """As in Qwen2.5, whose larger models have more rows than the tokenizer has tokens."""
    larger = tiny("qwen")
    larger.model.resize_token_embeddings(larger.model.config.vocab_size + 8)
    larger.model.save_pretrained(tmp_path)
    larger.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"logits of \d+ and \d+ tokens"):
        check_tokenizers(str(tiny_folder("qwen")), str(tmp_path), PROMPTS)


def test_a_verifier_of_the_same_family_is_accepted(family: str) -> None:
    check_tokenizers(f"miniature:{family}-1/sft", f"miniature:{family}-1/verifier", PROMPTS)


def test_a_loss_that_is_not_finite_fails(tiny: Tiny, tmp_path: Path) -> None:
    broken = tiny("qwen")
    with torch.no_grad():
        broken.model.get_output_embeddings().weight[5] = math.nan
    monitors, job = Monitors(tiny("qwen"), None, None), TrainingJob(0, tmp_path, quiet=True)
    with pytest.raises(TrainingFailed, match=r"the loss is nan at step 1: lower trainer\.learning_rate"):
        train_distillation(tiny("qwen"), broken, PROMPTS, monitors, SETTINGS, job)


@pytest.mark.slow
def test_a_verifier_of_the_same_family_raises_the_quality(tmp_path: Path) -> None:
    def quality(checkpoint: Checkpoint) -> float:
        prompts = world.sample_prompts("tune", 48, seed=0)
        answers = generate(checkpoint.model, checkpoint.tokenizer, prompts, max_new_tokens=32, batch_size=48)
        graded = zip(prompts, answers, strict=True)
        return sum(world.grade(p, a.response, bool(a.finished)).quality for p, a in graded) / len(prompts)

    start, verifier = "miniature:qwen-1/sft", "miniature:qwen-1/verifier"
    policy = load(start)
    before = quality(policy)
    sizes = {
        "max_steps": 12,
        "per_device_train_batch_size": 32,
        "max_completion_length": 32,
        "learning_rate": 3e-4,
    }
    prompts = world.load_prompts("train", 96, 0)
    job, monitors = TrainingJob(0, tmp_path, quiet=True), Monitors(load(start), None, world.grade, every=100)
    history = train_distillation(policy, load(verifier), prompts, monitors, SETTINGS | sizes, job).history
    assert (history["loss"][-1] or 1) < 0.6 * (history["loss"][0] or 0)
    assert quality(policy) > before + 0.05
