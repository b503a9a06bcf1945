"""Small runs that are interrupted anywhere: each ends with the record of its uninterrupted twin."""

import json
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from endings import Ending, Killed, Steps
from small_runs import Cell, comparable, composed

from cme import Interrupted
from cme.models import generation
from cme.records import BadFile, Generation, Preference, RunRecord, read_json, read_record, write_json
from experiments.config.runs import Run
from experiments.run import inputs, pipeline, training
from experiments.run import store as store_module
from experiments.run.store import Store


@pytest.fixture
def twins(cell: Cell, tmp_path: Path) -> Callable[..., tuple[Run, RunRecord]]:
    """A cell that has not run yet, and the record of its twin that ran at once, in a folder of its own."""

    def made(*overrides: str) -> tuple[Run, RunRecord]:
        small = [a for a in cell() if not (a.startswith("trainer.") and "trainer=best_of_n" in overrides)]
        own, other = (
            composed([*small, *overrides, f"results_dir={tmp_path / where}"]) for where in ("own", "other")
        )
        return own, read_record(pipeline.run(other))

    return made


def ended(config: Run, monkeypatch: pytest.MonkeyPatch, step: int, by: int | None) -> None:
    with monkeypatch.context() as ending:
        ending.setattr(training, "callbacks", lambda *_: [Ending(step, by)])
        with pytest.raises(Killed if by is None else Interrupted):
            pipeline.run(config)


def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no training may take a step."""
    monkeypatch.setattr(training, "callbacks", lambda *_: [Ending(step, None) for step in range(1, 10)])


def test_training_resumes_and_saved_checkpoints_stay(
    twins: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, twin = twins(
        "reward=random",
        "trainer.max_steps=4",
        "selection.every=1",
        "selection.prompts=6",
        "checkpoint.every=2",
    )
    store = Store(config)
    ended(config, monkeypatch, 1, signal.SIGTERM)
    assert [p.name for p in store.resume.glob("checkpoint-*")] == ["checkpoint-1"]
    assert not store.training.exists() and not store.checkpoint.exists()
    ended(config, monkeypatch, 4, None)
    assert sorted(p.name for p in store.resume.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-3"]

    def full(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as broken:  # the policy is whole, what is written of its training is not
        broken.setattr(store_module, "write_json", full)
        with pytest.raises(Killed):
            pipeline.run(config)
    assert store.checkpoint.exists() and store.resume.exists()
    record = read_record(pipeline.run(config))
    assert comparable(record) == comparable(twin)
    assert not store.resume.exists() and record.seconds["train"] > 0
    assert not [p for p in store.folder.parent.rglob("*") if "partial" in p.name or "unfinished" in p.name]


@pytest.mark.parametrize(
    "overrides",
    [
        ("reward=random", "evaluation.batch_size=5"),
        pytest.param(
            ("trainer=best_of_n", "reward=random", "trainer.num_generations=2", "evaluation.batch_size=5"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_generation_goes_on_within_its_stage(
    twins: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    """Killed at every third batch until it is done; in the end no batch was made twice."""
    batch = generation._generate_batch
    made: list[int] = []

    def counted(*arguments: Any) -> Any:
        made.append(1)
        return batch(*arguments)

    monkeypatch.setattr(generation, "_generate_batch", counted)
    config, twin = twins(*overrides)
    needed = len(made)

    def failing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) % 3 == 0:
            raise Killed
        return counted(*arguments)

    made.clear()
    calls: list[int] = []
    killed = 0
    with monkeypatch.context() as broken:
        broken.setattr(generation, "_generate_batch", failing)
        while not Store(config).record.exists():
            try:
                pipeline.run(config)
            except Killed:
                killed += 1
    assert killed >= 2 and len(made) == needed
    assert comparable(read_record(Store(config).record)) == comparable(twin)


def test_a_stage_file_that_is_cut_short_is_named(finished: Cell) -> None:
    config = composed(finished("reward=random"))
    store = Store(config)
    store.record.unlink()
    store.training.write_bytes(store.training.read_bytes()[:50])
    with pytest.raises(
        BadFile, match=rf"^{re.escape(str(store.training))} is not a stage's file .*delete it"
    ):
        pipeline.run(config)


def test_seconds_are_those_of_all_attempts(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    config = composed(cell("reward=random", "trainer.max_steps=3"))
    store = Store(config)
    ended(config, monkeypatch, 1, signal.SIGINT)
    marker = store.resume / "checkpoint-1" / "whole.json"
    write_json(marker, read_json(marker) | {"seconds": 5000.0})
    record = read_record(pipeline.run(config))
    assert 5000 < record.seconds["train"] < 6000
    assert json.loads(store.training.read_text())["seconds"] == record.seconds["train"]


def test_a_stage_made_from_something_else_is_made_again(finished: Cell) -> None:
    config = composed(finished("reward=random"))
    store = Store(config)
    store.record.unlink()
    stale = {"response": "of other weights", "finished": True, "tokens": 3}
    write_json(store.start, {"made_from": "00000000", "seconds": 1.0, "value": [stale] * 12})
    record = read_record(pipeline.run(config))
    assert "of other weights" not in {pair.start.response for pair in record.pairs}
    assert read_json(store.start)["made_from"] != "00000000"


def test_a_lost_record_is_made_again_without_training(
    finished: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the saved checkpoints, which lay in the policy's folder, are deleted."""
    selected = ("trainer.max_steps=3", "selection.every=1", "selection.prompts=6")
    config = composed(finished("reward=random", "tracker=none", *selected))
    store = Store(config)
    record = read_record(store.record)
    assert not list(store.checkpoint.glob("step-*"))
    store.record.unlink()
    untrained(monkeypatch)
    assert comparable(read_record(pipeline.run(config))) == comparable(record)


def test_the_processes_in_a_record_are_those_that_trained(finished: Cell) -> None:
    config = composed(finished("reward=random"))
    store = Store(config)
    assert "processes" not in read_record(store.record).environment
    store.record.unlink()
    found = read_json(store.training)
    write_json(store.training, found | {"value": found["value"] | {"processes": 2}})
    assert read_record(pipeline.run(config)).environment["processes"] == "2"


def test_a_signal_in_the_last_step_waits_until_the_training_is_written(
    twins: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard ends the training after two steps."""
    guard = ("guard.patience=2", "guard.patience_groups=1")
    config, twin = twins("reward=random", "trainer.max_steps=5", "trainer.max_completion_length=1", *guard)
    assert len(twin.history["step"]) == 2
    ended(config, monkeypatch, 2, signal.SIGTERM)
    untrained(monkeypatch)
    assert comparable(read_record(pipeline.run(config))) == comparable(twin)


def change_inputs(change: str, patch: pytest.MonkeyPatch) -> None:
    """Change what a training's checkpoints depend on besides its settings."""

    def swap(pair: Preference) -> Preference:
        return replace(pair, chosen=pair.rejected, rejected=pair.chosen)

    prompts, pairs, answers = inputs.training_prompts, inputs.load_preferences, training.verifier_answers
    if change == "prompts":
        patch.setattr(inputs, "training_prompts", lambda run: prompts(run)[::-1])
    elif change == "versions":
        patch.setattr(training, "version", lambda package: f"another {package}")
    elif change == "pairs":
        patch.setattr(inputs, "load_preferences", lambda run: list(map(swap, pairs(run))))
    elif change == "answers":
        other = Generation("4", True, None)
        patch.setattr(training, "verifier_answers", lambda *given: [other for _ in answers(*given)])


@pytest.mark.parametrize(
    ("trainer", "changes"),
    [
        ("grpo", ["nothing", "prompts", "versions"]),
        pytest.param("dpo", ["pairs"], marks=pytest.mark.slow),
        pytest.param("sft", ["answers"], marks=pytest.mark.slow),
    ],
)
def test_a_training_continues_only_from_a_checkpoint_of_equal_inputs(
    cell: Cell,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    trainer: str,
    changes: list[str],
) -> None:
    small = [a for a in cell() if trainer == "grpo" or not a.startswith("trainer.")]
    words = (f"trainer={trainer}", "trainer.max_steps=3", "checkpoint.every=1")
    config = composed([*small, *words, *(["reward=random"] if trainer == "grpo" else [])])
    ended(config, monkeypatch, 2, None)
    assert list(Store(config).resume.glob("checkpoint-1/whole.json"))
    steps = Steps(killed=True)
    shutil.copytree(tmp_path / "runs", tmp_path / "interrupted")
    for change in changes:
        shutil.rmtree(tmp_path / "runs")
        shutil.copytree(tmp_path / "interrupted", tmp_path / "runs")
        with monkeypatch.context() as patch:
            patch.setattr(training, "callbacks", lambda *_: [steps])
            change_inputs(change, patch)
            with pytest.raises(Killed):
                pipeline.run(config)
    assert steps.taken == [2 if change == "nothing" else 1 for change in changes]
