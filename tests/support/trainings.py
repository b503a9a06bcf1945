"""Trainings of three steps on random-weight models, and the metrics that trackers must receive."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from plain_rewards import FunctionReward
from transformers import TrainerState

from cme.checkpoints import Checkpoint
from cme.miniature import world
from cme.miniature.preferences import load_pairs
from cme.records import Generation
from cme.training.collapse import CollapseGuard
from cme.training.dpo_sft import SampledMonitoring, train_dpo, train_sft
from cme.training.grpo import train_grpo
from cme.training.job import TrainingJob
from cme.training.monitors import Monitors
from cme.training.trackers import TrackedRun
from cme.training.tracking import Tracking

Tiny = Callable[..., Checkpoint]
History = dict[str, list[float | None]]
PROMPTS = world.load_prompts("train", 12, 0)
SETTINGS = {"max_steps": 3, "learning_rate": 1e-2, "warmup_steps": 0}
SHOWN = {"seed": 7, "reward.granularity": "token", "scale.heldout": None, "plan": True}


def run_in(folder: Path, project: str = "cme") -> TrackedRun:
    return TrackedRun("a-run", project, SHOWN, folder)


def grpo(tiny: Tiny, folder: Path, tracker: Tracking) -> History:
    def letters(completions: list[Any], **_: Any) -> list[float | None]:
        return [float(str(c).count("e")) / 7 for c in completions]

    own = {"num_generations": 4, "max_completion_length": 6, "per_device_train_batch_size": 8, "beta": 0.0}
    monitors, guard = Monitors(tiny("qwen"), None, world.quality, 2), CollapseGuard(100, 1.0)
    return train_grpo(
        tiny("qwen"), PROMPTS, FunctionReward(letters), monitors, SETTINGS | own, guard,
        TrainingJob(0, folder, callbacks=[tracker], quiet=True),
    ).history  # fmt: skip


def dpo(tiny: Tiny, folder: Path, tracker: Tracking) -> History:
    own = {"per_device_train_batch_size": 12, "max_length": 256}
    watch = SampledMonitoring(Monitors(tiny("qwen"), None, world.quality, 2), PROMPTS, 4, 6)
    return train_dpo(
        tiny("qwen"), tiny("qwen"), load_pairs(PROMPTS, 0), watch, SETTINGS | own,
        TrainingJob(0, folder, callbacks=[tracker], quiet=True),
    ).history  # fmt: skip


def sft(tiny: Tiny, folder: Path, tracker: Tracking) -> History:
    own = {"per_device_train_batch_size": 12, "max_length": 256}
    watch = SampledMonitoring(Monitors(tiny("qwen"), None, world.quality, 2), PROMPTS, 4, 6)
    said = [Generation(p.chosen, True, None) for p in load_pairs(PROMPTS, 0)]
    return train_sft(
        tiny("qwen"), PROMPTS, said, watch, SETTINGS | own,
        TrainingJob(0, folder, callbacks=[tracker], quiet=True),
    ).history  # fmt: skip


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
