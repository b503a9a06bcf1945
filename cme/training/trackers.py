"""Clients of TensorBoard, Weights & Biases, MLflow and Trackio: one open run each, which a resumed training continues.

These are not the integrations of transformers (`report_to`) or accelerate, since several trainings share a process
here, one after the other: those integrations log into whatever W&B or MLflow run the process has open, also that of a
failed training, name their metrics otherwise, and know no resumed MLflow run.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from cme import Unavailable
from cme.runtime.extras import require
from cme.runtime.secrets import redact
from cme.training.history import HISTORY

PREFIX = "train/"
MLFLOW = "http://127.0.0.1:5000"
"""The default address of `mlflow server`; MLFLOW_TRACKING_URI names another."""


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
        folder: Where local files of the tracker may lie.
    """

    id: str
    project: str
    settings: Mapping[str, Any]
    folder: Path


def check_tracker(name: str) -> None:
    """Raise Unavailable where a tracker is not installed, does not answer or lacks a login."""
    if name == "tensorboard":
        return
    require(name, name, f"tracker={name}")
    if name == "mlflow":
        _check_mlflow()
    elif name == "wandb":
        _check_wandb()


def describe_error(error: BaseException) -> str:
    """An exception in one line without secrets."""
    return redact(f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".splitlines()[0])


class _TensorBoard:
    """Event files in the run's folder. Steps that a killed training logged after its checkpoint are purged."""

    def __init__(self, run: TrackedRun, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter, summary

        self.writer = cast("Any", SummaryWriter(str(run.folder / "tensorboard"), purge_step=step + 1))
        if step == 0:
            settings = {
                k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in run.settings.items()
            }
            metrics = {PREFIX + column: 0.0 for column in HISTORY if column != "step"}
            for part in summary.hparams(settings, metrics):  # type: ignore[no-untyped-call]
                self.writer.file_writer.add_summary(part)

    def log(self, data: dict[str, float], step: int) -> None:
        for name, value in data.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self) -> None:
        self.writer.close()


class _MLflow:
    """A run on a tracking server, found by its tag `run_id`; `last` is the last step that the server has of it."""

    def __init__(self, run: TrackedRun, step: int) -> None:
        from mlflow.entities import Param

        self.client = _mlflow_client()
        experiment = self._experiment(run.project)
        known = self.client.search_runs(
            [experiment], f"tags.run_id = '{run.id}'", order_by=["attributes.start_time DESC"]
        )
        if step and known:
            self.id = known[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
        else:
            for earlier in known:  # killed before its first checkpoint, or trained from other weights
                if earlier.info.status == "RUNNING":
                    self.client.set_terminated(earlier.info.run_id, "KILLED")
            created = self.client.create_run(experiment, run_name=run.id, tags={"run_id": run.id})
            self.id = created.info.run_id
            params = [Param(name, str(value)[:6000]) for name, value in run.settings.items()]
            for first in range(0, len(params), 100):  # the limit of one request
                self.client.log_batch(self.id, params=params[first : first + 100])
        self.last = max((m.step for m in self.client.get_metric_history(self.id, f"{PREFIX}loss")), default=0)

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.create_experiment(name))
        except MlflowException:  # it exists; another cell may have created it just now
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

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


def _check_mlflow() -> None:
    from mlflow.exceptions import MlflowException

    try:
        _mlflow_client().search_experiments(max_results=1)
    except (MlflowException, ImportError) as error:  # a database instead of a server needs the full mlflow
        uri = redact(os.environ.get("MLFLOW_TRACKING_URI") or MLFLOW)
        raise Unavailable(
            f"tracker=mlflow: {uri} does not answer ({describe_error(error)}); start it with `mlflow server`, name "
            "another server in MLFLOW_TRACKING_URI, or use tracker=none"
        ) from None


def _check_wandb() -> None:
    import wandb

    if wandb.setup().settings.mode not in ("online", "shared"):
        return
    remedy = "use `wandb login` or set WANDB_API_KEY; WANDB_MODE=offline needs no login"
    try:
        if wandb.login(prompt=False):
            return
    except wandb.Error as error:
        raise Unavailable(f"tracker=wandb: the login failed ({describe_error(error)}); {remedy}") from None
    raise Unavailable(f"tracker=wandb: there is no login; {remedy}")


def _open_tensorboard(run: TrackedRun, step: int) -> tuple[Tracker, int]:
    return _TensorBoard(run, step), step


def _open_mlflow(run: TrackedRun, step: int) -> tuple[Tracker, int]:
    tracker = _MLflow(run, step)
    return tracker, tracker.last


def _open_wandb(run: TrackedRun, step: int) -> tuple[Tracker, int]:
    """A resumed W&B run continues where it stopped and takes no step twice; a new one replaces that of the same id."""
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
    return opened, opened.step - 1 if opened.resumed else step


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
    "tensorboard": _open_tensorboard,
    "mlflow": _open_mlflow,
    "wandb": _open_wandb,
    "trackio": _open_trackio,
}
"""How to open a run for a training that continues after a step; returns the tracker and the last step that it has."""
