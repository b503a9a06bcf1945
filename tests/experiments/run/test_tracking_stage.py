"""A cell's tracker: TensorBoard beside the record, nothing of it in the run's identity, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
from endings import Ending, Killed
from small_runs import Cell, composed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.records.read import load_runs
from cme import Unavailable
from cme.records import RunRecord, read_record
from cme.runtime import extras
from cme.training import trackers
from experiments.run import pipeline, preparation, training
from experiments.run.store import Store

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio", "none")


def check_tensorboard(config: Any, record: RunRecord) -> None:
    """It has the record's history: each value at its step, once, to the six digits that a record keeps."""
    events = EventAccumulator(str(Store(config).trained / "tensorboard")).Reload()
    columns = {name: values for name, values in record.history.items() if name != "step"}
    for column, values in columns.items():
        seen = events.Scalars(f"train/{column}") if f"train/{column}" in events.Tags()["scalars"] else []
        measured = [(s, v) for s, v in zip(record.history["step"], values, strict=True) if v is not None]
        assert [(e.step, float(f"{e.value:.6g}")) for e in seen] == measured
    assert "reward" in columns and "quality" in columns


def test_tensorboard_lies_beside_the_policy(finished: Cell) -> None:
    config = composed(finished())
    record = read_record(Store(config).record)
    check_tensorboard(config, record)
    assert record.warnings == []
    assert [found.run_id for found in load_runs([Store(config).folder.parent])] == [record.run_id]


def test_a_killed_training_goes_on_in_tensorboard(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    config = composed(cell("trainer.max_steps=5", "checkpoint.every=2"))
    with monkeypatch.context() as killing:
        callbacks = training.callbacks
        killing.setattr(training, "callbacks", lambda r, s: [*callbacks(r, s), Ending(4, None)])
        with pytest.raises(Killed):
            pipeline.run(config)
    record = read_record(pipeline.run(config))
    assert record.history["step"] == [1, 2, 3, 4, 5]
    assert len(list((Store(config).trained / "tensorboard").iterdir())) == 2, "a file a start"
    check_tensorboard(config, record)


def test_a_tracker_is_no_part_of_a_run(cell: Cell) -> None:
    cells = [composed(cell(f"tracker={name}")) for name in TRACKERS]
    assert len({config.run_id for config in cells}) == 1
    assert len({str(training.tracked_settings(config)) for config in cells}) == 1
    [progress] = training.callbacks(cells[-1], Store(cells[-1]))
    assert isinstance(progress, training.ProgressFile)


def test_a_run_is_known_by_its_names_and_settings(cell: Cell) -> None:
    config = composed(cell("experiment=main_table"))
    [_, callback] = training.callbacks(config, Store(config))
    assert callback.run.id == Store(config).trained.name and callback.run.project == "cme-main_table"
    settings = callback.run.settings
    assert (
        settings["family.name"] == "qwen"
        and settings["trainer.learning_rate"] == config.trainer.learning_rate
    )
    assert not any(name.startswith(("experiment.sweep", "family.checkpoints")) for name in settings)
    config = replace(config, values=config.values | {"generator": "https://me:hunter2@host/model"})
    assert training.tracked_settings(config)["generator"] == "https://***@host/model"


def test_a_failed_tracker_is_in_the_record(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise PermissionError("no write access to https://me:hunter2@host/")

    config = composed(cell("tracker=trackio"))
    monkeypatch.setitem(trackers.OPENERS, "trackio", refused)
    record = read_record(pipeline.run(config))
    assert record.history["step"] == [1, 2]
    assert record.warnings == [
        "tracker=trackio failed at step 0: PermissionError: no write access to https://***@host/",
        "tracker=trackio lacks the steps after 0; the run's record has them",
    ]


def test_a_tracker_that_cannot_be_had_is_refused_before_any_work(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    configs = [composed(cell("tracker=mlflow", f"seed={seed}")) for seed in (0, 1)]
    with pytest.raises(Unavailable) as refused:
        preparation.prepare(configs)
    assert str(refused.value).startswith("tracker=mlflow needs the package mlflow")
    assert not Store(configs[0]).folder.exists()
