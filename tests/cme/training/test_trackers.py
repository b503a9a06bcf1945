"""Trackers' own clients against what they write to: an MLflow server, W&B's offline files, Trackio's database.

`make test-trackers` installs the clients, and the server into an environment of its own.
"""

import json
import os
import socket
import sqlite3
import struct
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trainings import SHOWN, dpo, expected, fail_on_warning, grpo, run_in, state
from transformers import TrainerControl
from verifiers import Tiny

from cme import Unavailable
from cme.training.trackers import Tracking, check_tracker

pytestmark = pytest.mark.trackers
CONTROL = TrainerControl()
ALONE = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
Found = dict[str, dict[int, list[float]]]


def by_step(found: Found) -> dict[str, dict[int, float]]:
    """Metrics by step; no step occurs twice."""
    assert all(len(values) == 1 for steps in found.values() for values in steps.values())
    return {name: {step: values[0] for step, values in steps.items()} for name, steps in found.items()}


def interrupted_and_resumed(name: str, folder: Path) -> None:
    """Metrics of 1.0 up to step 47, then 2.0 from a checkpoint at step 40 up to step 50."""
    killed = Tracking(name, run_in(folder), fail_on_warning)
    killed.on_train_begin(None, state(0, 1.0), CONTROL)
    for step in range(1, 48):
        killed.on_log(None, state(step, 1.0), CONTROL)
    if name in ("trackio", "wandb"):  # what the client does when a process ends
        killed.tracker.finish()  # type: ignore[union-attr]
    resumed = Tracking(name, run_in(folder), fail_on_warning)
    resumed.on_train_begin(None, state(40, 1.0), CONTROL)
    for step in range(41, 51):
        resumed.on_log(None, state(step, 2.0), CONTROL)
    resumed.on_train_end(None, state(50, 2.0), CONTROL)


FIRST_VALUES_STAY = {step: 1.0 if step <= 47 else 2.0 for step in range(1, 51)}


class Server:
    """`mlflow server` on a loopback port with its own database."""

    def __init__(self, command: str, folder: Path) -> None:
        from mlflow import MlflowClient

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "server.log"
        self.client = MlflowClient(self.url)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                f"{command} server --backend-store-uri sqlite:///mlflow.db --port {port} --workers 1".split(),
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | ALONE,
            )

    def wait(self) -> None:
        """Wait until the server answers."""
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2):
                    return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.5)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        """Stop the server and its workers."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, 15)
        self.process.wait(30)

    def runs(self, experiment: str) -> list[Any]:
        """The runs of an experiment, the newest first."""
        found = self.client.get_experiment_by_name(experiment)
        return list(self.client.search_runs([found.experiment_id], order_by=["attributes.start_time DESC"]))

    def figures(self, run: Any) -> Found:
        """A run's metrics by name and step."""
        found: Found = {}
        for name in run.data.metrics:
            for point in self.client.get_metric_history(run.info.run_id, name):
                found.setdefault(name, {}).setdefault(point.step, []).append(point.value)
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    command = os.environ.get("MLFLOW_SERVER", "")
    if not command:
        pytest.fail("MLFLOW_SERVER names no `mlflow` that can serve; `make test-trackers` prepares one")
    server = Server(command, tmp_path_factory.mktemp("mlflow"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("method", [grpo, dpo])
def test_mlflow_has_the_records_history(
    server: Server, monkeypatch: pytest.MonkeyPatch, tiny: Tiny, tmp_path: Path, method: Callable[..., Any]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    check_tracker("mlflow")
    run = run_in(tmp_path, project=f"cme-{method.__name__}")
    history = method(tiny, tmp_path / "policy", Tracking("mlflow", run, fail_on_warning))
    [found] = server.runs(run.project)
    assert by_step(server.figures(found)) == expected(history)
    assert found.info.run_name == "a-run" and found.info.status == "FINISHED"
    assert found.data.params == {k: str(v) for k, v in SHOWN.items()}


def test_mlflow_continues_the_same_run(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    interrupted_and_resumed("mlflow", tmp_path)
    [found] = server.runs("cme")
    assert found.info.status == "FINISHED"
    assert by_step(server.figures(found))["train/loss"] == FIRST_VALUES_STAY
    anew = Tracking("mlflow", run_in(tmp_path), fail_on_warning)
    anew.on_train_begin(None, state(0, 1.0), CONTROL)
    anew.on_log(None, state(1, 3.0), CONTROL)
    newest, older = server.runs("cme")
    assert older.info.run_id == found.info.run_id and newest.info.status == "RUNNING"
    assert server.figures(newest)["train/loss"] == {1: [3.0]}


def test_a_server_that_dies_does_not_end_training(
    monkeypatch: pytest.MonkeyPatch, tiny: Tiny, tmp_path: Path
) -> None:
    mortal = Server(os.environ["MLFLOW_SERVER"], tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mortal.url.replace("//", "//me:hunter2@"))
    warned: list[str] = []
    try:
        mortal.wait()
        tracker = Tracking("mlflow", run_in(tmp_path), warned.append)
        tracker.on_train_begin(None, state(0, 1.0), CONTROL)
        tracker.on_log(None, state(1, 1.0), CONTROL)
    finally:
        mortal.stop()
    began = time.monotonic()
    for step in range(2, 100):
        tracker.on_log(None, state(step, 1.0), CONTROL)
    tracker.on_train_end(None, state(100, 1.0), CONTROL)
    assert time.monotonic() - began < 60
    assert len(warned) == 2 and warned[0].startswith("tracker=mlflow failed at step 2: MlflowException: ")
    assert warned[1] == "tracker=mlflow lacks the steps after 1; the run's record has them"
    with pytest.raises(Unavailable, match=r"tracker=mlflow: http://\*\*\*@127.* does not answer") as refused:
        check_tracker("mlflow")
    assert "hunter2" not in str(refused.value) + "".join(warned)


def wandb_records(folder: Path) -> Iterator[Any]:
    """W&B's offline file: protobuf in LevelDB's log format, blocks of 32 KiB, the first with a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    [path] = folder.glob("wandb/offline-run-*/*.wandb")
    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


def test_wandb_offline_has_the_records_history(
    monkeypatch: pytest.MonkeyPatch, tiny: Tiny, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_tracker("wandb")
    history = grpo(tiny, tmp_path / "policy", Tracking("wandb", run_in(tmp_path), fail_on_warning))
    found: Found = {}
    config: dict[str, Any] = {}
    names: set[str] = set()
    for record in wandb_records(tmp_path):
        if record.HasField("run"):
            names.add(record.run.display_name)
            assert record.run.run_id == "a-run" and record.run.project == "cme"
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        for item in record.history.item:
            name = item.key or "/".join(item.nested_key)
            if name.startswith("train/"):
                found.setdefault(name, {}).setdefault(record.history.step.num, []).append(
                    json.loads(item.value_json)
                )
    assert by_step(found) == expected(history)
    assert names == {"a-run"} and {k: config[k] for k in SHOWN} == SHOWN


def test_wandb_without_a_login_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")
    import wandb

    wandb.teardown()
    with pytest.raises(Unavailable, match="tracker=wandb: there is no login"):
        check_tracker("wandb")
    wandb.teardown()


def trackio_figures(folder: Path) -> dict[str, Found]:
    """A project's metrics by run, name and step, from Trackio's database."""
    runs: dict[str, Found] = {}
    with sqlite3.connect(folder / "cme.db") as database:
        for run, step, values in database.execute("SELECT run_id, step, metrics FROM metrics ORDER BY id"):
            for name, value in json.loads(values).items():
                runs.setdefault(run, {}).setdefault(name, {}).setdefault(step, []).append(value)
    return runs


@pytest.fixture
def trackio_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    import trackio

    for module in (trackio.utils, trackio.sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    (tmp_path / "trackio").mkdir()
    return tmp_path / "trackio"


def test_trackio_has_the_records_history(trackio_folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    check_tracker("trackio")
    history = grpo(tiny, tmp_path / "policy", Tracking("trackio", run_in(tmp_path), fail_on_warning))
    [found] = trackio_figures(trackio_folder).values()
    assert by_step(found) == expected(history)


def test_trackio_continues_the_same_run(trackio_folder: Path, tmp_path: Path) -> None:
    interrupted_and_resumed("trackio", tmp_path)
    [found] = trackio_figures(trackio_folder).values()
    assert by_step(found)["train/loss"] == FIRST_VALUES_STAY
