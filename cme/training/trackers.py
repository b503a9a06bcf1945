"""Metrics of a training in TensorBoard, Weights & Biases, MLflow or Trackio, step by step.

Every tracker gets the same metrics under the same names: the columns of the record's history after the prefix
`train/`. A tracker that fails does not end the training; it receives the missed steps later.

docs/tracking.md says why this does not use `report_to` of transformers.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, cast

from transformers import TrainerCallback, TrainerControl, TrainerState

from cme import Unavailable
from cme.runtime.errors import describe
from cme.runtime.extras import require
from cme.runtime.secrets import redact
from cme.training.history import HISTORY, history_columns

PREFIX = "train/"
MLFLOW = "http://127.0.0.1:5000"
"""The default address of `mlflow server`; MLFLOW_TRACKING_URI names another."""

PAUSE = 60.0
"""Seconds after a failure until the tracker is tried again. Ten times the duration of the failure if that is longer, so
that a tracker which is down costs at most 10 % of the time."""


class Tracker(Protocol):
    """An open run of a tracker."""

    def log(self, data: dict[str, float], step: int) -> None:
        """Log the metrics of one step."""

    def finish(self) -> None:
        """Close the run as finished."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers know it.

    Attributes:
        settings: Its hyperparameters by name.
        folder: Where the files of a tracker may lie.
    """

    id: str
    project: str
    settings: Mapping[str, Any]
    folder: Path


class Tracking(TrainerCallback):  # type: ignore[misc]
    """Sends a tracker all steps of the training's history that it does not have yet.

    A training that resumes from a checkpoint continues the tracker's run. `warn` receives the first failure and, if the
    last attempt fails too, the steps that are missing.
    """

    def __init__(self, name: str, run: TrackedRun, warn: Callable[[str], None]) -> None:
        self.name, self.run, self.warn = name, run, warn
        self.tracker: Tracker | None = None
        self.last = 0  # the last step that the tracker has
        self._first = 0
        self._failed = False
        self._not_before = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the run and send the missing steps."""
        self.last = self._first = state.global_step
        self._send(state)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Send the step's metrics."""
        if time.monotonic() >= self._not_before:
            self._send(state)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the run."""
        if not self._send(state, last=True):
            self.warn(f"tracker={self.name} lacks the steps after {self.last}; the run's record has them")

    def _send(self, state: TrainerState, last: bool = False) -> bool:
        """Send the missing steps, from the main process; return whether the tracker has the whole history now."""
        if not state.is_world_process_zero:
            return True
        began = time.monotonic()
        try:
            if self.tracker is None:
                self.tracker, self.last = OPENERS[self.name](self.run, self._first)
            new = takewhile(lambda entry: entry["step"] > self.last, reversed(state.log_history))
            for entry in [entry for entry in new if "loss" in entry][::-1]:
                columns = {
                    name: value for name, [value] in history_columns([entry]).items() if name != "step"
                }
                metrics = {PREFIX + name: value for name, value in columns.items() if value is not None}
                self.tracker.log(metrics, step=entry["step"])
                self.last = entry["step"]
            if last:
                self.tracker.finish()
        except Exception as error:  # noqa: BLE001 - no failure of a tracker may end a training
            now = time.monotonic()
            self._not_before = now + max(PAUSE, 10 * (now - began))
            if not self._failed:
                self.warn(
                    f"tracker={self.name} failed at step {state.global_step}: {redact(describe(error))}"
                )
            self._failed = True
            return False
        return True


def check_tracker(name: str) -> None:
    """Raise Unavailable where a tracker other than TensorBoard is not installed, does not answer or lacks a login."""
    require(name, name, f"tracker={name}")
    if name == "mlflow":
        from mlflow.exceptions import MlflowException

        try:
            _mlflow_client().search_experiments(max_results=1)
        # a database instead of a server needs the full mlflow
        except (MlflowException, ImportError) as error:
            uri = redact(os.environ.get("MLFLOW_TRACKING_URI") or MLFLOW)
            raise Unavailable(
                f"tracker=mlflow: {uri} does not answer ({redact(describe(error))}); start it with `mlflow server`, "
                "name another server in MLFLOW_TRACKING_URI, or use tracker=none"
            ) from None
    elif name == "wandb":
        import wandb

        problem = "there is no login"
        try:
            if wandb.setup().settings.mode not in ("online", "shared") or wandb.login(prompt=False):
                return
        except wandb.Error as error:
            problem = f"the login failed ({redact(describe(error))})"
        raise Unavailable(
            f"tracker=wandb: {problem}; use `wandb login` or set WANDB_API_KEY; WANDB_MODE=offline needs no login"
        )


class _TensorBoard:
    """Event files in the run's folder. Steps that a killed training logged after its checkpoint are purged."""

    def __init__(self, run: TrackedRun, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter, summary

        self.writer = cast("Any", SummaryWriter(str(run.folder / "tensorboard"), purge_step=step + 1))
        if step == 0:
            settings = {
                k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in run.settings.items()
            }
            initial = {PREFIX + column: 0.0 for column in HISTORY if column != "step"}
            for part in summary.hparams(settings, initial):  # type: ignore[no-untyped-call]
                self.writer.file_writer.add_summary(part)

    def log(self, data: dict[str, float], step: int) -> None:
        for name, value in data.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self) -> None:
        self.writer.close()


class _MLflow:
    """A run on a tracking server, identified by its tag `run_id`; `last` is the last step that the server has of it."""

    def __init__(self, run: TrackedRun, step: int) -> None:
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        self.client = _mlflow_client()
        try:
            experiment = str(self.client.create_experiment(run.project))
        except MlflowException:  # it exists; another cell may have created it just now
            existing = self.client.get_experiment_by_name(run.project)
            if existing is None:
                raise
            experiment = str(existing.experiment_id)
        earlier = self.client.search_runs(
            [experiment], f"tags.run_id = '{run.id}'", order_by=["attributes.start_time DESC"]
        )
        if step and earlier:
            self.id = earlier[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
        else:
            for old in earlier:  # killed before its first checkpoint, or trained from other weights
                if old.info.status == "RUNNING":
                    self.client.set_terminated(old.info.run_id, "KILLED")
            created = self.client.create_run(experiment, run_name=run.id, tags={"run_id": run.id})
            self.id = created.info.run_id
            params = [Param(name, str(value)[:6000]) for name, value in run.settings.items()]
            for first in range(0, len(params), 100):  # the limit of one request
                self.client.log_batch(self.id, params=params[first : first + 100])
        self.last = max((m.step for m in self.client.get_metric_history(self.id, f"{PREFIX}loss")), default=0)

    def log(self, data: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.id, [Metric(name, value, now, step) for name, value in data.items()])

    def finish(self) -> None:
        self.client.set_terminated(self.id)


def _mlflow_client() -> Any:
    """A client that gives up within seconds; MLflow's defaults would hold up a training for minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    return MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or MLFLOW)


def _open_wandb(run: TrackedRun, step: int) -> tuple[Tracker, int]:
    """A resumed W&B run continues where it stopped and takes no step twice; a new one replaces that of the same id.

    Offline, no run is resumed: each start has its own folder. It gets the history from the first step on, since the
    folder of a killed start may be incomplete.
    """
    import wandb

    opened = wandb.init(
        project=run.project,
        id=run.id,
        name=run.id,
        config=dict(run.settings),
        dir=str(run.folder),
        resume="allow" if step else None,
        reinit="create_new",  # a failed training of this process may have left its run open
        settings=wandb.Settings(console="off"),
    )
    return opened, opened.step - 1 if opened.resumed else 0


def _open_trackio(run: TrackedRun, step: int) -> tuple[Tracker, int]:
    """Trackio identifies runs by name and resumes the latest. It warns of failures itself."""
    import trackio

    opened = trackio.init(
        project=run.project,
        name=run.id,
        config=dict(run.settings),
        resume="allow" if step else "never",
        embed=False,
        auto_log_cpu=False,
        auto_log_gpu=False,
    )
    return opened, opened._next_step - 1 if step else 0  # noqa: SLF001 - there is no public accessor


OPENERS: dict[str, Callable[[TrackedRun, int], tuple[Tracker, int]]] = {
    "tensorboard": lambda run, step: (_TensorBoard(run, step), step),
    "mlflow": lambda run, step: ((tracker := _MLflow(run, step)), tracker.last),
    "wandb": _open_wandb,
    "trackio": _open_trackio,
}
"""How to open a run for a training that continues after a step; returns the tracker and the last step that it has."""
