"""A training that was interrupted ends as the one that was not: weights and history, bit for bit."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from cme import Interrupted, signals
from cme.checkpoints import Checkpoint, load
from cme.miniature import world
from cme.miniature.preferences import load_pairs
from cme.monitors import Monitors
from cme.offline import Watch, train_dpo, train_sft
from cme.records import Generation
from cme.resume import MARKER, Checkpointing
from cme.rewards import CrossModelEntropy, RandomReward
from cme.training import Guard, Trained, train

Tiny = Callable[..., Checkpoint]
Folder = Callable[..., Path]
PROMPTS = world.load_prompts("train", 12, 0)
PAIRS = load_pairs(PROMPTS, 0)
GRPO = {
    "max_steps": 9,  # two prompts a step: an epoch and a half
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 6,
    "learning_rate": 1e-2,
    "beta": 0.0,
    "temperature": 1.0,
    "top_k": 0,
    "warmup_steps": 2,
    "lr_scheduler_type": "linear",
    "loss_type": "dapo",
}
OFFLINE = {
    "max_steps": 9,
    "per_device_train_batch_size": 2,  # six steps an epoch
    "learning_rate": 1e-2,
    "warmup_steps": 2,
    "lr_scheduler_type": "linear",
    "max_length": 256,
}


class Killed(Exception):
    """What stands for SIGKILL: nothing is saved on the way out."""


class Ending(TrainerCallback):  # type: ignore[misc]
    """Ends a training after a step, by a signal or with nothing saved."""

    def __init__(self, step: int, by: int | None) -> None:
        self.step, self.by = step, by

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == self.step:
            if self.by is None:
                raise Killed
            os.kill(os.getpid(), self.by)


class Case:
    """Trainings that differ in nothing but whether they are interrupted."""

    def __init__(self, method: str, tiny: Tiny, verifier: str, root: Path, **settings: Any) -> None:
        self.method, self.tiny, self.verifier, self.root = method, tiny, verifier, root
        self.settings, self.every = settings, 3
        self.guard = Guard(100, 1.0)
        self.save_every: int | None = None

    def reward(self) -> Any:
        if self.method == "dense":
            return CrossModelEntropy(self.verifier, granularity="token", std_floor=0.01)
        return RandomReward(seed=5)

    @property
    def where(self) -> Checkpointing:
        return Checkpointing(self.root / "resume", self.every, "the same")

    def __call__(
        self, where: Checkpointing | None, folder: str = "policy", *callbacks: TrainerCallback
    ) -> tuple[Trained, list[torch.Tensor]]:
        policy = self.tiny("qwen")
        monitors = Monitors(self.tiny("qwen"), None, world.quality, every=2)
        also: dict[str, Any] = {
            "seed": 0,
            "folder": self.root / folder,
            "save_every": self.save_every,
            "checkpointing": where,
            "callbacks": callbacks,
            "quiet": True,
        }
        watch = Watch(monitors, PROMPTS, 4, 6)
        if self.method == "dpo":
            settings = OFFLINE | {"beta": 0.1, "loss_type": "sigmoid"} | self.settings
            found = train_dpo(policy, self.tiny("qwen"), PAIRS, watch, settings, **also)
        elif self.method == "sft":
            said = [Generation(p.chosen, i % 3 > 0, None) for i, p in enumerate(PAIRS)]
            found = train_sft(policy, PROMPTS, said, watch, OFFLINE | self.settings, **also)
        else:
            found = train(policy, PROMPTS, self.reward(), monitors, GRPO | self.settings, self.guard, **also)
        return found, [p.detach().clone() for p in policy.model.parameters()]

    def interrupted(self, step: int, by: int | None = None) -> None:
        """Train until the end that is put to it."""
        with signals.caught(), pytest.raises(Killed if by is None else Interrupted):
            self(self.where, "policy", Ending(step, by))

    def checkpoints(self) -> dict[str, bool]:
        """The checkpoints by name, and whether they have their marker."""
        found = sorted((self.root / "resume").glob("checkpoint-*"))
        return {p.name: (p / MARKER).exists() for p in found}


def equal(a: tuple[Trained, list[torch.Tensor]], b: tuple[Trained, list[torch.Tensor]]) -> bool:
    return replace(a[0], earlier=0.0) == replace(b[0], earlier=0.0) and all(
        torch.equal(x, y) for x, y in zip(a[1], b[1], strict=True)
    )


@pytest.fixture
def case(tiny: Tiny, tiny_folder: Folder, tmp_path: Path) -> Callable[..., Case]:
    return lambda method, **settings: Case(method, tiny, str(tiny_folder("llama")), tmp_path, **settings)


@pytest.mark.parametrize(
    ("method", "settings", "ends"),
    [
        ("grpo", {}, [4, 8]),  # from 3, and from 6, where the second epoch begins
        ("grpo", {"optim": "sgd", "gradient_accumulation_steps": 2, "steps_per_generation": 2}, [5]),
        ("dense", {}, [8]),
        ("dpo", {}, [4, 8]),
        ("sft", {"gradient_accumulation_steps": 2}, [8]),
    ],
)
def test_a_killed_training_ends_as_the_one_that_was_not(
    case: Callable[..., Case], method: str, settings: dict[str, Any], ends: list[int]
) -> None:
    made = case(method, **settings)
    whole = made(None, "whole")
    for end in ends:
        made.interrupted(end)
    again = made(made.where)
    assert equal(whole, again)
    assert again[0].earlier > 0
    saved = load(str(made.root / "policy")).model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(saved, whole[1], strict=True))


@pytest.mark.parametrize("method", ["grpo", "sft"])
@pytest.mark.parametrize("end", [1, 7])
def test_a_signal_leaves_a_checkpoint_of_its_step(case: Callable[..., Case], method: str, end: int) -> None:
    """Step 7 is in the middle of the second epoch, whose order of the data is its own."""
    made = case(method)
    made.every = 100
    whole = made(None, "whole")
    made.interrupted(end, signal.SIGTERM)
    assert made.checkpoints() == {f"checkpoint-{end}": True}
    assert equal(whole, made(made.where))


@pytest.mark.parametrize("settings", [{"steps_per_generation": 2}, {"num_iterations": 2}])
def test_completions_that_are_left_are_trained_on_first(
    case: Callable[..., Case], settings: dict[str, Any]
) -> None:
    made = case("grpo", **settings)
    whole = made(None, "whole")
    made.interrupted(5, signal.SIGUSR1)
    assert made.checkpoints() == {"checkpoint-4": True, "checkpoint-6": True}
    assert equal(whole, made(made.where))
