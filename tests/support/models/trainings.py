"""Trainings of a few steps on random-weight models, and the metrics that trackers must receive."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from plain_rewards import FunctionReward
from transformers import TrainerState
from verifiers import Tiny

from cme.checkpoints import Checkpoint
from cme.miniature import world
from cme.miniature.preferences import load_pairs
from cme.records import Generation
from cme.rewards import Reward
from cme.training.collapse import CollapseGuard
from cme.training.dpo_sft import SampledMonitoring, train_dpo, train_sft
from cme.training.grpo import train_grpo
from cme.training.history import TrainingResult
from cme.training.job import TrainingJob
from cme.training.monitors import Monitors
from cme.training.trackers import TrackedRun, Tracking

History = dict[str, list[float | None]]
PROMPTS = [
    replace(prompt, answer=str(i)) if i % 3 == 0 else prompt  # a third of them have a gold answer
    for i, prompt in enumerate(world.load_prompts("train", 12, 0))
]
PAIRS = load_pairs(PROMPTS, 0)
PATIENT = CollapseGuard(patience=100, patience_groups=1, max_unscored=1.0)
GRPO: dict[str, Any] = {
    "max_steps": 3,
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 6,
    "learning_rate": 1e-2,
    "beta": 0.0,
    "temperature": 1.0,
    "top_k": 0,
    "warmup_steps": 0,
    "loss_type": "dapo",
}
OFFLINE: dict[str, Any] = {
    "max_steps": 3,
    "per_device_train_batch_size": 12,
    "learning_rate": 1e-2,
    "warmup_steps": 0,
    "max_length": 256,
}
SHOWN = {"seed": 7, "reward.granularity": "token", "scale.heldout": None, "plan": True}


def run_grpo(
    policy: Checkpoint,
    start: Checkpoint,
    reward: Any,
    job: TrainingJob,
    *,
    monitors: Monitors | None = None,
    guard: CollapseGuard = PATIENT,
    **settings: Any,
) -> TrainingResult:
    """Train a policy on a reward, which may be a plain function."""
    monitors = monitors or Monitors(start, None, None)
    reward = reward if isinstance(reward, Reward) else FunctionReward(reward)
    return train_grpo(policy, PROMPTS, reward, monitors, GRPO | settings, guard, job)


def other_weights(checkpoint: Checkpoint) -> Checkpoint:
    """A verifier with the same tokenizer and other weights."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in checkpoint.model.parameters():
            weight.add_(0.3 * weight.std() * torch.randn(weight.shape, generator=generator))
    return checkpoint


def weights(checkpoint: Checkpoint) -> list[torch.Tensor]:
    return [p.detach().clone() for p in checkpoint.model.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def rows_of(batch: dict[str, Any], name: str) -> list[list[int]]:
    """The token ids of a batch's prompts or completions, without padding."""
    rows = zip(batch[f"{name}_ids"], batch[f"{name}_mask"], strict=True)
    return [ids[mask.bool()].tolist() for ids, mask in rows]


def run_in(folder: Path, project: str = "cme") -> TrackedRun:
    return TrackedRun("a-run", project, SHOWN, folder)


def fail_on_warning(text: str) -> None:
    raise AssertionError(text)


def grpo(tiny: Tiny, folder: Path, tracker: Tracking) -> History:
    def letters(completions: list[Any], **_: Any) -> list[float | None]:
        return [float(str(c).count("e")) / 7 for c in completions]

    monitors = Monitors(tiny("qwen"), None, world.grade, 2)
    job = TrainingJob(0, folder, callbacks=[tracker], quiet=True)
    return run_grpo(tiny("qwen"), tiny("qwen"), letters, job, monitors=monitors).history


def dpo(tiny: Tiny, folder: Path, tracker: Tracking) -> History:
    job = TrainingJob(0, folder, callbacks=[tracker], quiet=True)
    return train_dpo(tiny("qwen"), tiny("qwen"), PAIRS, sampled_monitoring(tiny), OFFLINE, job).history


def sft(tiny: Tiny, folder: Path, tracker: Tracking) -> History:
    responses = [Generation(p.chosen, True, None) for p in PAIRS]
    job = TrainingJob(0, folder, callbacks=[tracker], quiet=True)
    return train_sft(tiny("qwen"), PROMPTS, responses, sampled_monitoring(tiny), OFFLINE, job).history


def sampled_monitoring(tiny: Tiny, family: str = "qwen", every: int = 2, count: int = 4) -> SampledMonitoring:
    """Monitors with an oracle, on responses of six tokens."""
    return SampledMonitoring(Monitors(tiny(family), None, world.grade, every), PROMPTS, count, 6)


def expected(history: History) -> dict[str, dict[int, float]]:
    """A record's history as metrics by step."""
    steps = [int(s or 0) for s in history["step"]]
    measured = {
        f"train/{name}": {s: v for s, v in zip(steps, values, strict=True) if v is not None}
        for name, values in history.items()
        if name != "step"
    }
    return {name: values for name, values in measured.items() if values}


def state(step: int, value: float, since: int = 1) -> TrainerState:
    """A trainer's state at a step, with `value` as the loss of every step."""
    log = [{"step": s, "loss": value, "reward": value + s} for s in range(since, step + 1)]
    return TrainerState(global_step=step, log_history=log)
