"""Capabilities in a run: the start measured once for all its runs, and refusals before any training."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from small_runs import Cell, composed

from cme import Unavailable
from cme.checkpoints import load
from cme.evaluation import capabilities
from cme.records import read_record
from experiments.config import composition
from experiments.config.validation import BadConfig
from experiments.run import evaluation, pipeline, preparation
from experiments.run.store import Store

ON = ("capabilities=world", "capabilities.limit=4")


def test_before_and_after_are_of_start_and_policy(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def counted(checkpoint: Any, *rest: Any, **settings: Any) -> Any:
        measured.append(checkpoint.name)
        return capabilities.measure(checkpoint, *rest, **settings)

    monkeypatch.setattr(evaluation, "measure", counted)
    moved = ("trainer.learning_rate=0.05", "trainer.warmup_steps=0")
    configs = [composed(cell(*ON, reward, *moved)) for reward in ("reward=random", "reward=ground_truth")]
    [record, other] = [read_record(pipeline.run(config)) for config in configs]
    start, policy = "miniature:qwen-1/pretrained", str(Store(configs[0]).checkpoint)
    assert measured == [start, policy, str(Store(configs[1]).checkpoint)]
    assert record.capabilities is not None and record.seconds["capabilities"] > 0
    assert [c.before for c in other.capabilities or []] == [c.before for c in record.capabilities]
    tasks = list(configs[0].capabilities.tasks)
    for which, name in (("before", start), ("after", policy)):
        scores = capabilities.measure(load(name), tasks, chat_template=False, limit=4, batch_size=3)
        found = [
            (c.task, c.metric, c.n, getattr(c, which), getattr(c, f"{which}_items"))
            for c in record.capabilities
        ]
        assert found == [(s.task, s.metric, s.n, s.value, s.items) for s in scores]


def test_without_tasks_there_are_none(recorded: Callable[..., Path]) -> None:
    [path] = recorded("reward=random").glob("*/record.json")
    record = read_record(path)
    assert record.capabilities is None and "capabilities" not in record.seconds


@pytest.mark.parametrize("index", ["short", pytest.param("lm-eval's own", marks=pytest.mark.slow)])
def test_what_cannot_be_measured_is_said_before_training(
    cell: Cell, monkeypatch: pytest.MonkeyPatch, index: str
) -> None:
    """lm-eval takes seconds to read its 14,000 tasks; the short index has one of them."""

    def unreachable(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route to the hub")

    if index == "short":
        tasks = [*capabilities.own_tasks(), "gsm8k"]
        load_own = capabilities._manager(capabilities.own_tasks()).load
        short = SimpleNamespace(
            all_subtasks=tasks, load=lambda names: unreachable() if names == ["gsm8k"] else load_own(names)
        )
        monkeypatch.setattr(capabilities, "_manager", lambda _: short)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(BadConfig, match=r"'world_fact'.* did you mean world_facts\?"):
        preparation.prepare(composition.compose_cells(cell("capabilities.tasks=[world_fact]")))
    with pytest.raises(Unavailable, match=r"task gsm8k .*\(no route to the hub\)"):
        preparation.prepare(composition.compose_cells(cell("capabilities.tasks=[world_facts,gsm8k]")))


@pytest.mark.parametrize("experiment", ["judge_sanity", "separation"])
def test_a_probe_needs_nothing_that_only_a_training_uses(
    cell: Cell, monkeypatch: pytest.MonkeyPatch, experiment: str
) -> None:
    def missing(*_: object) -> None:
        raise Unavailable("not installed")

    monkeypatch.setattr(capabilities, "check", missing)
    monkeypatch.setattr("cme.training.trackers.check_tracker", missing)
    words = (*ON, "tracker=wandb", "data=arithmetic", "regime=sft", "judge=correctness")
    with pytest.raises(Unavailable, match="not installed"):
        preparation.prepare(composition.compose_cells(cell(*words)))
    preparation.prepare(composition.compose_cells(cell(*words, f"experiment={experiment}")))
