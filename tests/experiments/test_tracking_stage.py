"""A cell's tracker: TensorBoard beside the record, nothing of it in the run's identity, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.read import load_records
from cme import Unavailable
from cme.records import read_record
from experiments import grid, identity, stages, tracking
from experiments.store import Store

Cell = Callable[..., list[str]]
TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio", "none")


def composed(arguments: list[str]) -> Any:
    [config] = grid.cells(arguments)
    return config


def test_tensorboard_lies_beside_the_record(cell: Cell) -> None:
    config = composed(cell())
    store = Store.of(config)
    record = read_record(stages.run(config))
    events = EventAccumulator(str(store.folder / "tensorboard")).Reload()
    for column, values in record.history.items():
        found = {e.step: float(f"{e.value:.6g}") for e in _scalars(events, f"train/{column}")}
        measured = {s: v for s, v in zip(record.history["step"], values, strict=True) if v is not None}
        assert found == ({} if column == "step" else measured)
    assert record.warnings == []
    assert [found.run_id for found in load_records([store.folder.parent])] == [record.run_id]


def _scalars(events: EventAccumulator, name: str) -> list[Any]:
    return events.Scalars(name) if name in events.Tags()["scalars"] else []


def test_a_tracker_is_no_part_of_a_run(cell: Cell) -> None:
    cells = [composed(cell(f"tracker={name}")) for name in TRACKERS]
    assert len({identity.run_id(config) for config in cells}) == 1
    assert len({str(tracking.parameters(config)) for config in cells}) == 1
    assert tracking.callbacks(cells[-1], Store.of(cells[-1])) == []


def test_a_run_is_known_by_its_names_and_settings(cell: Cell) -> None:
    config = composed(
        cell(
            "experiment=reference",
            "judge=openai",
            "judge.model=gpt-5.2",
            "judge.base_url=https://me:hunter2@host/v1",
        )
    )
    [callback] = tracking.callbacks(config, Store.of(config))
    assert callback.run.id == identity.run_id(config) and callback.run.project == "cme-reference"
    settings = callback.run.settings
    assert (
        settings["family.name"] == "qwen"
        and settings["trainer.learning_rate"] == config.trainer.learning_rate
    )
    assert not any(name.startswith(("experiment.sweep", "family.checkpoints")) for name in settings)
    assert "hunter2" not in str(settings)


def test_a_failed_tracker_is_in_the_record(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise PermissionError("no write access to https://me:hunter2@host/")

    config = composed(cell("tracker=trackio"))
    monkeypatch.setitem(tracking.tracking.OPENERS, "trackio", refused)
    record = read_record(stages.run(config))
    assert record.history["step"] == [1, 2]
    assert record.warnings == [
        "tracker=trackio failed at step 0: PermissionError: no write access to https://***@host/",
        "tracker=trackio lacks the steps after 0; the run's record has them",
    ]


def test_a_tracker_that_cannot_be_had_is_refused_before_any_work(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking.tracking, "find_spec", lambda name: None)
    configs = [composed(cell("tracker=mlflow", f"seed={seed}")) for seed in (0, 1)]
    with pytest.raises(Unavailable) as refused:
        grid.prepare(configs)
    assert str(refused.value) == (
        "tracker=mlflow: the package mlflow is not installed; pip install -e '.[mlflow]', or use tracker=none"
    )
    assert not Store.of(configs[0]).folder.exists()
    with pytest.raises(ValueError, match=r"tracker=tensorboards.*did you mean tensorboard"):
        composed(cell("tracker=tensorboards"))
