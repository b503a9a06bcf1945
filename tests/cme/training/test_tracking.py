"""What trackers receive, read back with TensorBoard's own reader, and what a failing tracker causes."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from trainings import History, dpo, expected, fail_on_warning, grpo, run_in, sft, state
from transformers import TrainerControl, TrainerState
from verifiers import Tiny

from cme import Unavailable
from cme.runtime import extras
from cme.runtime.secrets import redact
from cme.training import trackers
from cme.training.trackers import Tracking, check_tracker

CONTROL = TrainerControl()


def read(folder: Path) -> dict[str, dict[int, float]]:
    """Each metric's value by step, to the six digits that records keep; float32 has seven."""
    events = EventAccumulator(str(folder)).Reload()
    found: dict[str, dict[int, float]] = {}
    for name in events.Tags()["scalars"]:
        seen = events.Scalars(name)
        found[name] = {e.step: float(f"{e.value:.6g}") for e in seen}
        assert len(found[name]) == len(seen), f"{name} has a step twice"
    return found


@pytest.mark.parametrize("method", [grpo, dpo, sft])
def test_tensorboard_has_the_records_history(
    tiny: Tiny, tmp_path: Path, method: Callable[[Tiny, Path, Tracking], History]
) -> None:
    history = method(tiny, tmp_path / "policy", Tracking("tensorboard", run_in(tmp_path), fail_on_warning))
    found = read(tmp_path / "tensorboard")
    assert found == expected(history)
    assert set(found) >= {"train/loss", "train/quality", "train/kl", "train/length", "train/grad_norm"}
    assert set(found["train/kl"]) == {1, 3} and set(found["train/loss"]) == {1, 2, 3}


def steps(tracker: Tracking, first: int, last: int, value: float) -> None:
    for step in range(first, last + 1):
        tracker.on_log(None, state(step, value), CONTROL)


def test_a_resumed_training_has_no_step_twice(tmp_path: Path) -> None:
    killed = Tracking("tensorboard", run_in(tmp_path), fail_on_warning)
    killed.on_train_begin(None, state(0, 1.0), CONTROL)
    steps(killed, 1, 47, 1.0)  # the last checkpoint was at 40
    resumed = Tracking("tensorboard", run_in(tmp_path), fail_on_warning)
    resumed.on_train_begin(None, state(40, 1.0), CONTROL)
    steps(resumed, 41, 43, 2.0)
    resumed.on_train_end(None, state(43, 2.0), CONTROL)
    loss = read(tmp_path / "tensorboard")["train/loss"]
    assert loss == {step: 1.0 if step <= 40 else 2.0 for step in range(1, 44)}


@pytest.mark.parametrize(("resumed", "sent"), [(False, [1, 2, 3, 4]), (True, [4])])
def test_a_wandb_run_that_continues_lacks_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool, sent: list[int]
) -> None:
    """A server has the steps up to 3. Offline there is a new folder, and that of the killed start may be lost."""
    received: list[int] = []
    opened = SimpleNamespace(
        resumed=resumed, step=4 if resumed else 0, log=lambda data, step: received.append(step)
    )
    monkeypatch.setitem(
        sys.modules, "wandb", SimpleNamespace(init=lambda **_: opened, Settings=lambda **_: None)
    )
    tracker = Tracking("wandb", run_in(tmp_path), fail_on_warning)
    tracker.on_train_begin(None, state(2, 1.0), CONTROL)
    steps(tracker, 3, 4, 1.0)
    assert received == sent


def test_a_training_that_starts_over_replaces_the_earlier_one(tmp_path: Path) -> None:
    for value, last in ((1.0, 5), (2.0, 2)):
        tracker = Tracking("tensorboard", run_in(tmp_path), fail_on_warning)
        tracker.on_train_begin(None, state(0, value), CONTROL)
        steps(tracker, 1, last, value)
    assert read(tmp_path / "tensorboard")["train/loss"] == {1: 2.0, 2: 2.0}


def test_settings_are_hyperparameters(tmp_path: Path) -> None:
    tracker = Tracking("tensorboard", run_in(tmp_path), fail_on_warning)
    tracker.on_train_begin(None, state(0, 1.0), CONTROL)
    tracker.on_train_end(None, state(0, 1.0), CONTROL)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    content = events.PluginTagToContent("hparams")
    begun = HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    values = {name: v.number_value or v.string_value or v.bool_value for name, v in begun.hparams.items()}
    assert values == {"seed": 7, "reward.granularity": "token", "scale.heldout": "None", "plan": True}


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    other = Tracking("tensorboard", run_in(tmp_path), fail_on_warning)
    elsewhere = TrainerState(
        is_world_process_zero=False, log_history=[{"step": 1, "loss": 0.5}], global_step=1
    )
    other.on_train_begin(None, elsewhere, CONTROL)
    other.on_log(None, elsewhere, CONTROL)
    other.on_train_end(None, elsewhere, CONTROL)
    assert not (tmp_path / "tensorboard").exists()


class Flaky:
    """A tracker that fails on a range of its calls."""

    def __init__(self, down: range) -> None:
        self.down, self.calls, self.closed = down, 0, False
        self.seen: list[tuple[int, float]] = []

    def _answer(self) -> None:
        self.calls += 1
        if self.calls in self.down:
            raise ConnectionError(
                "POST https://me:hunter2@tracker.example/api?token=hunter2 gave up\nhunter2 behind it"
            )

    def log(self, data: dict[str, float], step: int) -> None:
        self._answer()
        self.seen.append((step, data["train/loss"]))

    def finish(self) -> None:
        self._answer()
        self.closed = True


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Flaky, list[str], Tracking]]:
    def made(down: range, pause: float = 0.0) -> tuple[Flaky, list[str], Tracking]:
        client, warned = Flaky(down), list[str]()
        monkeypatch.setattr(trackers, "PAUSE", pause)
        monkeypatch.setitem(trackers.OPENERS, "mlflow", lambda run, step: (client, step))
        return client, warned, Tracking("mlflow", run_in(Path("nowhere")), warned.append)

    return made


def test_a_tracker_that_was_down_receives_the_missed_steps(flaky: Any, tiny: Tiny, tmp_path: Path) -> None:
    client, warned, tracker = flaky(range(2, 3))
    history = grpo(tiny, tmp_path, tracker)
    assert history["step"] == [1, 2, 3]
    assert client.seen == [(s, history["loss"][s - 1]) for s in (1, 2, 3)] and client.closed
    assert warned == [
        "tracker=mlflow failed at step 2: ConnectionError: POST https://***@tracker.example/api?*** gave up"
    ]


def test_a_tracker_that_is_down_is_not_tried_at_every_step(flaky: Any) -> None:
    client, warned, tracker = flaky(range(1, 99), pause=1000.0)
    tracker.on_train_begin(None, state(0, 1.0), CONTROL)
    steps(tracker, 1, 20, 1.0)
    assert client.calls == 1 and len(warned) == 1
    tracker.on_train_end(None, state(20, 1.0), CONTROL)
    assert client.calls == 2, "once more at the end"
    assert warned[1:] == ["tracker=mlflow lacks the steps after 0; the run's record has them"]


def test_a_tracker_that_lacks_steps_before_the_checkpoint_gets_them(flaky: Any) -> None:
    client, warned, tracker = flaky(range(0))
    trackers.OPENERS["mlflow"] = lambda run, step: (
        client,
        37,
    )  # it was down from 38 on, the checkpoint is at 40
    tracker.on_train_begin(None, state(40, 1.0), CONTROL)
    steps(tracker, 41, 42, 1.0)
    assert [step for step, _ in client.seen] == [38, 39, 40, 41, 42] and warned == []


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"tracker=trackio .*pip install 'cme-harness\[trackio\]'"):
        check_tracker("trackio")


def test_secrets_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "abc12345")
    assert redact("key abc12345 refused") == "key $WANDB_API_KEY refused"
    assert redact("no answer from https://u:p@host:1/x?key=k (sorry)") == (
        "no answer from https://***@host:1/x?*** (sorry)"
    )
    assert redact("reward=cme, why?") == "reward=cme, why?"
