"""Where people look: a training's figures in TensorBoard, Weights & Biases, MLflow or Trackio, step by step.

Every tracker gets the same figures under the same names: those of the record's history, behind `train/`. The record
has them all, and a tracker is a view of it: one that fails ends no training, and is given later what it missed.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, cast

from transformers import TrainerCallback, TrainerControl, TrainerState

from cme import Unavailable
from cme.runtime.extras import install_command
from cme.training.grpo import HISTORY, history_columns

PREFIX = "train/"
MLFLOW = "http://127.0.0.1:5000"
"""Where `mlflow server` answers by itself; MLFLOW_TRACKING_URI names another."""
SECRETS = ("WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN")
PAUSE = 60.0
"""Seconds until a tracker that failed is tried again, at least; ten times as long as it took to fail, at most 10 %."""


class Tracker(Protocol):
    """A run that is open in a tracker."""

    def log(self, data: dict[str, float], step: int) -> None:
        """Put down a step's figures."""

    def finish(self) -> None:
        """Close the run as one that has ended well."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers know it: `settings` are its parameters by name, `folder` is where local files may lie."""

    id: str
    project: str
    settings: Mapping[str, Any]
    folder: Path


class Tracking(TrainerCallback):  # type: ignore[misc]
    """Gives a tracker every step of the training's history that it does not have yet.

    A training that goes on from a checkpoint goes on in the same run of the tracker. `warn` is told the first
    failure, and which steps are lacking where the last try failed too.
    """

    def __init__(self, name: str, run: TrackedRun, warn: Callable[[str], None]) -> None:
        self.name, self.run, self.warn = name, run, warn
        self.tracker: Tracker | None = None
        self.last = 0  # the last step that the tracker has
        self._failed = False
        self._not_before = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the run, and give it what it lacks of the history so far."""
        self.last = self._begun_at = state.global_step
        self._send(state)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Give the tracker the step's figures."""
        if time.monotonic() >= self._not_before:
            self._send(state)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the run."""
        if not self._send(state, last=True):
            self.warn(f"tracker={self.name} lacks the steps after {self.last}; the run's record has them")

    def _send(self, state: TrainerState, last: bool = False) -> bool:
        """Whether the tracker has all of the history now; one process of many speaks to it."""
        if not state.is_world_process_zero:
            return True
        began = time.monotonic()
        try:
            if self.tracker is None:
                self.tracker, self.last = OPENERS[self.name](self.run, self._begun_at)
            for step, figures in _after(self.last, state):
                self.tracker.log(figures, step=step)
                self.last = step
            if last:
                self.tracker.finish()
        except Exception as error:  # noqa: BLE001 - whatever a client raises, it is not worth the training
            now = time.monotonic()
            self._not_before = now + max(PAUSE, 10 * (now - began))
            if not self._failed:
                self.warn(f"tracker={self.name} failed at step {state.global_step}: {describe_error(error)}")
            self._failed = True
            return False
        return True


def _after(step: int, state: TrainerState) -> list[tuple[int, dict[str, float]]]:
    """The steps of a training's history after one, each with its figures as the record has them."""
    new = takewhile(lambda entry: entry["step"] > step, reversed(state.log_history))
    return [(entry["step"], figures(entry)) for entry in new if "loss" in entry][::-1]


def figures(entry: Mapping[str, float]) -> dict[str, float]:
    """What was measured at a step, by its name in a tracker; `entry` is the step's part of the trainer's log."""
    found = {column: values[0] for column, values in history_columns([entry]).items() if column != "step"}
    return {PREFIX + column: value for column, value in found.items() if value is not None}


def check_tracker(name: str) -> None:
    """Raise Unavailable where a tracker is not installed, does not answer or lacks a login, as far as that shows."""
    found = find_spec(name)
    if found is None or found.origin is None:  # a folder of that name, such as W&B leaves, is no package
        raise Unavailable(
            f"tracker={name}: the package {name} is not installed; {install_command(name)}, or use tracker=none"
        )
    {"mlflow": _check_mlflow, "wandb": _check_wandb}.get(name, lambda: None)()


def describe_error(error: BaseException) -> str:
    """An error in one line, without what may be secret in it."""
    return redact(f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".splitlines()[0])


def redact(text: str) -> str:
    """A text without the passwords and queries of its URLs, and without the secrets that are in the environment."""
    for name in SECRETS:
        if os.environ.get(name):
            text = text.replace(os.environ[name], f"${name}")
    text = re.sub(r"://[^/\s@]+@", "://***@", text)
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\")]+", r"\1?***", text)


class _TensorBoard:
    """Event files in the run's folder. Steps that a killed training logged after its checkpoint are purged."""

    def __init__(self, run: TrackedRun, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter, summary

        self.writer = cast("Any", SummaryWriter(str(run.folder / "tensorboard"), purge_step=step + 1))
        if step == 0:
            plain = {
                k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in run.settings.items()
            }
            shown = {PREFIX + column: 0.0 for column in HISTORY if column != "step"}
            for part in summary.hparams(plain, shown):  # type: ignore[no-untyped-call]
                cast("Any", self.writer).file_writer.add_summary(part)

    def log(self, data: dict[str, float], step: int) -> None:
        for name, value in data.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self) -> None:
        self.writer.close()


class _MLflow:
    """A run on a tracking server, known by its tag `run_id`; `last` is the last step that the server has of it."""

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
            for begun in known:  # killed before a checkpoint, or made of other weights
                if begun.info.status == "RUNNING":
                    self.client.set_terminated(begun.info.run_id, "KILLED")
            made = self.client.create_run(experiment, run_name=run.id, tags={"run_id": run.id})
            self.id = made.info.run_id
            params = [Param(name, str(value)[:6000]) for name, value in run.settings.items()]
            for first in range(0, len(params), 100):  # what a request may have
                self.client.log_batch(self.id, params=params[first : first + 100])
        self.last = max((m.step for m in self.client.get_metric_history(self.id, f"{PREFIX}loss")), default=0)

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.create_experiment(name))
        except MlflowException:  # it is there; another cell may have made it just now
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


def _mlflow_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or MLFLOW


def _mlflow_client() -> Any:
    """A client that gives up in seconds, where MLflow's own would hold a training for minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    return MlflowClient(_mlflow_uri())


def _check_mlflow() -> None:
    from mlflow.exceptions import MlflowException

    try:
        _mlflow_client().search_experiments(max_results=1)
    except (MlflowException, ImportError) as error:  # a database in place of a server needs the whole mlflow
        raise Unavailable(
            f"tracker=mlflow: {redact(_mlflow_uri())} does not answer ({describe_error(error)}); start it with `mlflow "
            "server`, name another in MLFLOW_TRACKING_URI, or use tracker=none"
        ) from None


def _check_wandb() -> None:
    import wandb

    if wandb.setup().settings.mode not in ("online", "shared"):
        return
    advice = "`wandb login`, or set WANDB_API_KEY; WANDB_MODE=offline needs no login"
    try:
        if wandb.login(prompt=False):
            return
    except wandb.Error as error:
        raise Unavailable(f"tracker=wandb: the login failed ({describe_error(error)}); {advice}") from None
    raise Unavailable(f"tracker=wandb: there is no login; {advice}")


def _open_tensorboard(run: TrackedRun, step: int) -> tuple[Tracker, int]:
    return _TensorBoard(run, step), step


def _open_mlflow(run: TrackedRun, step: int) -> tuple[Tracker, int]:
    tracker = _MLflow(run, step)
    return tracker, tracker.last


def _open_wandb(run: TrackedRun, step: int) -> tuple[Tracker, int]:
    """A run resumes where it stopped, and W&B takes no step twice; one that begins anew replaces that of its id."""
    import wandb

    opened = wandb.init(
        project=run.project,
        id=run.id,
        name=run.id,
        config=dict(run.settings),
        dir=str(run.folder),
        resume="allow" if step else None,
        reinit="create_new",  # an earlier training of this process may have failed and left its run open
        settings=wandb.Settings(console="off"),
    )
    return opened, opened.step - 1 if opened.resumed else step


def _open_trackio(run: TrackedRun, step: int) -> tuple[Tracker, int]:
    """Trackio knows runs by their names; of several it goes on with the latest. Its own warnings tell of failures."""
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
    return opened, opened._next_step - 1 if step else 0  # noqa: SLF001 - it is told nowhere else


OPENERS: dict[str, Callable[[TrackedRun, int], tuple[Tracker, int]]] = {
    "tensorboard": _open_tensorboard,
    "mlflow": _open_mlflow,
    "wandb": _open_wandb,
    "trackio": _open_trackio,
}
"""How each tracker opens a run for a training that goes on after a step, and the last step that it has of it."""
