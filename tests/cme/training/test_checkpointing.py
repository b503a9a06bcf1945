"""An interrupted training ends exactly as an uninterrupted one: weights and history, bit for bit."""

import datetime
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from endings import Ending, Killed
from trainings import GRPO, OFFLINE, PAIRS, PROMPTS, other_weights
from transformers import TrainerCallback
from transformers.utils import chat_template_utils
from verifiers import Folder, Tiny

from cme import Interrupted, Unavailable
from cme.checkpoints import Checkpoint, load
from cme.miniature import world
from cme.models.template_variables import set_variables
from cme.records import Generation
from cme.rewards import CrossModelEntropy, CrossModelEntropyEMA, RandomReward
from cme.runtime import signals
from cme.training.checkpoint_files import MARKER, Checkpointing, newest_checkpoint, read_marker, write_marker
from cme.training.collapse import CollapseGuard
from cme.training.distillation import train_distillation
from cme.training.dpo_sft import SampledMonitoring, train_dpo, train_sft
from cme.training.grpo import train_grpo
from cme.training.history import TrainingResult
from cme.training.job import TrainingJob, checkpoint_folder
from cme.training.monitors import Monitors

LINEAR = {"max_steps": 9, "warmup_steps": 2, "lr_scheduler_type": "linear"}
ONLINE = GRPO | LINEAR  # two prompts per step: an epoch and a half
GIVEN = OFFLINE | LINEAR | {"per_device_train_batch_size": 2}  # six steps per epoch

SAMPLED = LINEAR | {"per_device_train_batch_size": 4, "max_completion_length": 6, "learning_rate": 1e-2}

Trained = tuple[TrainingResult, list[torch.Tensor]]


class Case:
    """Trainings that differ only in whether they are interrupted."""

    def __init__(self, method: str, tiny: Tiny, verifier: str, root: Path, **settings: Any) -> None:
        self.method, self.tiny, self.verifier, self.root = method, tiny, verifier, root
        self.settings, self.every = settings, 3
        self.guard = CollapseGuard(100, 1, 1.0)
        self.save_every: int | None = None

    def reward(self) -> Any:
        if self.method == "ema":
            return CrossModelEntropyEMA(str(Path(self.verifier).with_name("qwen")), decay=0.5)
        if self.method == "dense":
            return CrossModelEntropy(self.verifier, granularity="token", std_floor=0.01)
        return RandomReward(seed=5)

    @property
    def where(self) -> Checkpointing:
        return Checkpointing(self.root / "resume", self.every, "the same")

    def __call__(
        self, where: Checkpointing | None, folder: str = "policy", *callbacks: TrainerCallback
    ) -> Trained:
        policy = self.tiny("qwen")
        monitors = Monitors(self.tiny("qwen"), None, world.grade, every=2)
        job = TrainingJob(0, self.root / folder, self.save_every, None, where, callbacks, quiet=True)
        monitoring = SampledMonitoring(monitors, PROMPTS, 4, 6)
        if self.method == "dpo":
            settings = GIVEN | {"beta": 0.1, "loss_type": "sigmoid"} | self.settings
            found = train_dpo(policy, self.tiny("qwen"), PAIRS, monitoring, settings, job)
        elif self.method == "sft":
            responses = [Generation(p.chosen, i % 3 > 0, None) for i, p in enumerate(PAIRS)]
            found = train_sft(policy, PROMPTS, responses, monitoring, GIVEN | self.settings, job)
        elif self.method == "distillation":
            settings = SAMPLED | self.settings
            found = train_distillation(
                policy, other_weights(self.tiny("qwen")), PROMPTS, monitors, settings, job
            )
        else:
            found = train_grpo(
                policy, PROMPTS, self.reward(), monitors, ONLINE | self.settings, self.guard, job
            )
        return found, [p.detach().clone() for p in policy.model.parameters()]

    def interrupted(self, step: int, by: int | None = None) -> None:
        """Train until it is killed after a step, or by a signal."""
        with signals.handle_signals(), pytest.raises(Killed if by is None else Interrupted):
            self(self.where, "policy", Ending(step, by))

    def checkpoints(self) -> dict[str, bool]:
        """The checkpoints by name, and whether they have their marker."""
        found = sorted((self.root / "resume").glob("checkpoint-*"))
        return {p.name: (p / MARKER).exists() for p in found}


def equal(a: Trained, b: Trained) -> bool:
    return replace(a[0], earlier=0.0) == replace(b[0], earlier=0.0) and all(
        torch.equal(x, y) for x, y in zip(a[1], b[1], strict=True)
    )


@pytest.fixture
def case(tiny: Tiny, tiny_folder: Folder, tmp_path: Path) -> Callable[..., Case]:
    return lambda method, **settings: Case(method, tiny, str(tiny_folder("llama")), tmp_path, **settings)


@pytest.fixture(scope="module")
def uninterrupted(tiny_folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """What a training without interruptions gives, by method and settings; each is made once."""
    made: dict[str, Trained] = {}

    def result(method: str, **settings: Any) -> Trained:
        if (key := f"{method} {settings}") not in made:
            folder, verifier = tmp_path_factory.mktemp("whole"), str(tiny_folder("llama"))
            made[key] = Case(method, lambda name: load(str(tiny_folder(name))), verifier, folder, **settings)(
                None
            )
        return made[key]

    return result


@pytest.mark.parametrize(
    ("method", "settings", "ends"),
    [
        ("grpo", {}, [4, 8]),  # from 3, and from 6, where the second epoch begins
        pytest.param(
            "grpo",
            {"optim": "sgd", "gradient_accumulation_steps": 2, "steps_per_generation": 2},
            [5],
            marks=pytest.mark.slow,
        ),
        pytest.param("grpo", {"bf16": True}, [4], marks=pytest.mark.slow),
        pytest.param("dense", {}, [8], marks=pytest.mark.slow),
        pytest.param("ema", {}, [4, 8], marks=pytest.mark.slow),
        pytest.param("dpo", {}, [4, 8], marks=pytest.mark.slow),
        pytest.param("sft", {"gradient_accumulation_steps": 2}, [8], marks=pytest.mark.slow),
        pytest.param("distillation", {}, [4, 8], marks=pytest.mark.slow),
        pytest.param("distillation", {"gradient_accumulation_steps": 2}, [5], marks=pytest.mark.slow),
    ],
)
def test_a_killed_training_ends_as_an_uninterrupted_one(
    case: Callable[..., Case],
    uninterrupted: Callable[..., Trained],
    method: str,
    settings: dict[str, Any],
    ends: list[int],
) -> None:
    training, whole = case(method, **settings), uninterrupted(method, **settings)
    for end in ends:
        training.interrupted(end)
    again = training(training.where)
    assert equal(whole, again)
    assert again[0].earlier > 0
    saved = load(str(training.root / "policy")).model.parameters()
    trained = [w.bfloat16().float() if settings.get("bf16") else w for w in whole[1]]
    assert all(torch.equal(a, b) for a, b in zip(saved, trained, strict=True))


@pytest.mark.parametrize(("method", "end"), [pytest.param("grpo", 7, marks=pytest.mark.slow), ("sft", 1)])
def test_a_signal_leaves_a_checkpoint_of_its_step(
    case: Callable[..., Case], uninterrupted: Callable[..., Trained], method: str, end: int
) -> None:
    """Step 7 is in the middle of the second epoch, which has a different order of the data."""
    training = case(method)
    training.every = 100
    training.interrupted(end, signal.SIGTERM)
    assert training.checkpoints() == {f"checkpoint-{end}": True}
    assert equal(uninterrupted(method), training(training.where))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"steps_per_generation": 2}, {"num_iterations": 2}])
def test_generated_completions_are_trained_on_before_a_checkpoint(
    case: Callable[..., Case], settings: dict[str, Any]
) -> None:
    training = case("grpo", **settings)
    whole = training(None, "whole")
    training.interrupted(5, signal.SIGUSR1)
    assert training.checkpoints() == {"checkpoint-4": True, "checkpoint-6": True}
    assert equal(whole, training(training.where))


def test_checkpoints_change_nothing_and_two_are_kept(
    case: Callable[..., Case], uninterrupted: Callable[..., Trained]
) -> None:
    training = case("grpo")
    training.every = 2
    assert equal(uninterrupted("grpo"), training(training.where))
    assert training.checkpoints() == {"checkpoint-6": True, "checkpoint-8": True}


@pytest.mark.slow
def test_the_guard_continues_its_counts(case: Callable[..., Case]) -> None:
    """Every completion is cut at one token, so the guard stops after five steps, wherever training was interrupted."""
    training = case("grpo", max_completion_length=1)
    training.guard, training.every = CollapseGuard(5, 1, 1.0), 1
    whole = training(None, "whole")
    assert whole[0].stopped is not None and whole[0].stopped.startswith("at step 5: every completion was cut")
    training.interrupted(4)
    assert equal(whole, training(training.where))
    assert "checkpoint-5" not in training.checkpoints(), "training would continue from it"


@pytest.mark.slow
def test_policies_saved_on_the_way_survive(case: Callable[..., Case]) -> None:
    training = case("grpo")
    training.save_every = 2
    training(None, "whole")
    training.interrupted(5)
    training(training.where)
    for step in (2, 4, 6, 8):
        a, b = (
            (checkpoint_folder(training.root / folder, step) / "model.safetensors").read_bytes()
            for folder in ("whole", "policy")
        )
        assert a == b
    assert not list((training.root / "policy").glob("*.partial"))


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(found)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda path: flip(path / "model.safetensors"),
            "model.safetensors has other bytes than were written",
        ),
        (lambda path: os.truncate(path / "optimizer.pt", 100), "optimizer.pt has 100 bytes instead of"),
        (lambda path: (path / "parts-0.pt").unlink(), "parts-0.pt is missing"),
        (lambda path: (path / MARKER).write_text('{"files": {"a": 5}}'), f"{MARKER} is not readable"),
    ],
)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_is_used(
    tmp_path: Path, damage: Callable[[Path], Any], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = Checkpointing(tmp_path, 3, "the same")
    for step in (9, 12):
        path = tmp_path / f"checkpoint-{step}"
        path.mkdir()
        for name in ("model.safetensors", "optimizer.pt", "parts-0.pt"):
            (path / name).write_bytes(f"{name} at {step} ".encode() * 100)
        write_marker(path, "the same", 1.5 * step, 1)
    (tmp_path / "checkpoint-15").mkdir()  # killed while it was written
    found = newest_checkpoint(where)
    assert found is not None and found.name == "checkpoint-12" and read_marker(found).seconds == 18
    assert not (tmp_path / "checkpoint-15").exists()
    damage(found)
    before = newest_checkpoint(where)
    assert before is not None and before.name == "checkpoint-9"
    [line] = capsys.readouterr().err.splitlines()
    assert str(found) in line and reason in line
    assert newest_checkpoint(replace(where, made_from="other weights")) is None


def test_a_full_disk_ends_training_with_the_complete_checkpoints(
    case: Callable[..., Case], uninterrupted: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = case("grpo")
    full = SimpleNamespace(free=0)
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(Unavailable, match=r"a checkpoint needs \d.*resume, and 0\.0 MB are free"):
            training(training.where)
        # room for the first checkpoint alone
        asked = iter([SimpleNamespace(free=10**12)] * 2 + [full])
        small.setattr(shutil, "disk_usage", lambda _: next(asked))
        with pytest.raises(Unavailable, match="continues from the last complete checkpoint"):
            training(training.where)
    assert training.checkpoints() == {"checkpoint-3": True}
    assert equal(uninterrupted("grpo"), training(training.where))


def test_a_disk_that_fills_while_a_checkpoint_is_written(
    case: Callable[..., Case], uninterrupted: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = case("sft")
    training.interrupted(4)
    save = torch.save

    def full(value: Any, path: Any) -> None:
        if "optimizer.pt" in str(path):
            save(value, "/dev/full")  # the kernel's own: no space left on device
        else:
            save(value, path)

    with monkeypatch.context() as broken:
        broken.setattr(torch, "save", full)
        with pytest.raises(Unavailable, match=r"resume cannot be written .*: free some space there"):
            training(training.where)
    assert training.checkpoints() == {"checkpoint-3": True, "checkpoint-6": False}
    assert equal(uninterrupted("sft"), training(training.where))


def test_another_number_of_processes_is_refused(case: Callable[..., Case]) -> None:
    training = case("sft")
    training.interrupted(4)
    marker = training.root / "resume" / "checkpoint-3" / MARKER
    marker.write_text(marker.read_text().replace('"processes":1', '"processes":4'))
    with pytest.raises(Unavailable, match="was saved by 4 processes and this training has 1"):
        training(training.where)


@pytest.mark.slow
def test_a_training_that_resumes_on_another_day_ends_as_an_uninterrupted_one(
    case: Callable[..., Case], tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its chat template writes today's date, as those of Llama 3 do; policy and untrained model have the fixed one."""
    training = case("grpo")

    def dated(family: str) -> Checkpoint:
        checkpoint = tiny(family)
        template = str(checkpoint.tokenizer.chat_template)
        checkpoint.tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}\n" + template
        set_variables(checkpoint.tokenizer)
        return checkpoint

    def today_is(date: str) -> None:
        clock = SimpleNamespace(now=lambda: datetime.datetime.fromisoformat(date))
        monkeypatch.setattr(chat_template_utils, "datetime", clock)

    training.tiny = dated
    today_is("2026-11-29")
    whole = training(None, "whole")
    training.interrupted(4)
    today_is("2026-11-30")
    assert equal(whole, training(training.where))
