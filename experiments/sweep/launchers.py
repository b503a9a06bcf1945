"""Launchers: how the cells of a sweep are run at once, by `hydra/launcher=NAME` on the command line.

A preset in `conf/hydra/launcher` is a plugin of Hydra's with settings of its own. Without one, cells run one after the
other in this process.
"""

import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, cast

import joblib
import psutil
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cme import Interrupted, Unavailable
from cme.runtime import distributed, shipped
from cme.runtime.extras import install_command
from experiments.config import schema
from experiments.config.composition import configures_hydra
from experiments.config.experiment_grids import MULTIRUN
from experiments.config.validation import BadConfig, suggestion
from experiments.sweep.worker import SIGNALS, Worker, visible_gpus

ROOT = shipped.ROOT
BASIC = "basic"  # Hydra's own: one cell after the other, in this process
LOCAL = "local"
# modules that a preset needs, and the command that installs them
NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    LOCAL: (("hydra_plugins.hydra_joblib_launcher",), "pip install hydra-joblib-launcher"),
    "slurm": (("hydra_plugins.hydra_submitit_launcher", "submitit"), install_command("slurm")),
    "slurm_local": (("hydra_plugins.hydra_submitit_launcher", "submitit"), install_command("slurm")),
    "ray": (
        ("hydra_plugins.hydra_ray_launcher", "ray"),
        install_command("ray") + " && pip install --no-deps hydra-ray-launcher",
    ),
}
RESTARTS = 3  # of a sweep on this machine that lost a process
# our `ray` is the plugin's `ray` with other values, and Hydra need not say so
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/ray' is validated against")
BATCH = 1000  # cells handed over at once: Slurm's own limit of an array is 1001


def launcher_name(arguments: Sequence[str]) -> str | None:
    """Name of the launcher that a command line asks for; None for one cell after the other in this process."""
    names = [a.split("=", 1)[1] for a in arguments if a.lstrip("+").startswith("hydra/launcher=")]
    return names[-1] if names and names[-1] != BASIC else None


def check_launcher(arguments: Sequence[str]) -> None:
    """Refuse a launcher that cannot start what is asked.

    Raises BadConfig for one that is unknown or not installed, settings it does not have, a command line without -m, and
    any in one of several processes of accelerate launch; Unavailable where there is no Slurm or no Ray cluster.
    """
    name = launcher_name(arguments)
    own = [a for a in arguments if configures_hydra(a)]
    if not own:
        return
    if name is not None and not any(a in MULTIRUN for a in arguments):
        raise BadConfig(f"hydra/launcher={name} launches sweeps; add -m, also for a single cell")
    if name is not None and distributed.process_count() > 1:
        raise BadConfig(
            f"hydra/launcher={name} starts processes of its own, and this is one of "
            f"{distributed.process_count()} of accelerate launch; use one of the two"
        )
    schema.register()
    with initialize_config_dir(str(shipped.CONF), version_base="1.3"):
        settings = _composed(own, []).hydra.launcher
    if name == "slurm" and shutil.which("sbatch") is None:
        raise Unavailable(
            "hydra/launcher=slurm needs Slurm's sbatch, which is not here; slurm_local tries the same path"
        )
    if name == "ray":
        _connect(settings.ray.init)


def launch(
    cells: Sequence[Sequence[str]], arguments: Sequence[str], function: Callable[[DictConfig], object]
) -> None:
    """Run cells through the launcher that `arguments` name, and return when all have ended.

    `cells` are overrides, a list a cell; `function` runs a composed one, can be imported, and raises for no failure
    of a cell. Raises RuntimeError where a cell could not be composed or its process was lost, and Interrupted where a
    signal came, once the workers of this machine have heeded it.
    """
    if not cells:
        return
    schema.register()
    # what workers import is what this process runs, wherever they are started
    path = [*([] if shipped.INSTALLED else [str(ROOT)]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, path)))
    with initialize_config_dir(str(shipped.CONF), version_base="1.3"):
        own = _settled([a for a in arguments if configures_hydra(a)], list(cells[0]))
        name = launcher_name(own)
        task = function if name is None else Worker(function, str(Path.cwd()), here=name == LOCAL)
        launcher = _launcher(own, list(cells[0]), task)
        size = 1 if name is None else BATCH
        for first in range(0, len(cells), size):
            batch = [list(cell) for cell in cells[first : first + size]]
            returns = _surviving(name, lambda: launcher.launch(batch, initial_job_idx=first))  # noqa: B023
            for cell, result in zip(batch, returns, strict=True):
                if result.status == JobStatus.FAILED:
                    raise RuntimeError(f"{' '.join(cell)}: {result._return_value}")  # noqa: SLF001


def _settled(own: list[str], cell: list[str]) -> list[str]:
    """Overrides of Hydra's `own` with what depends on where the command was given: its folder, and its GPUs or cores.

    A local launcher of one job is none: joblib would run it in this process.
    """
    if launcher_name(own) is None:
        return own
    config = _composed(own, cell)
    folder = str(Path(config.results_dir).absolute()).replace("'", "\\'")
    own = [*own, f"hydra.sweep.dir='{folder}'"]
    jobs = config.hydra.launcher.get("n_jobs")
    if jobs == -1:
        jobs = len(visible_gpus()) or joblib.cpu_count()
        own.append(f"hydra.launcher.n_jobs={jobs}")
    if jobs == 1:
        return [a for a in own if not a.lstrip("+~").startswith(("hydra/launcher", "hydra.launcher"))]
    return own


def _launcher(own: list[str], cell: list[str], task: Callable[[DictConfig], object]) -> Launcher:
    """Hydra's launcher, set up by overrides of Hydra's `own` and, for results_dir, one of the cells."""
    config = _composed(own, cell)
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)


def _surviving(name: str | None, run: Callable[[], Sequence[JobReturn]]) -> Sequence[JobReturn]:
    """What `run` returns, though workers of this machine are killed. Raises as `launch` does."""
    if name is None:
        return run()
    restarts = RESTARTS if name == LOCAL else 0
    with _stopped_together(name) as stopped:
        while True:
            try:
                return run()
            except _losses(name) as error:
                what = f"hydra/launcher={name} lost a process: {str(error).strip().splitlines()[-1].strip()}"
                if stopped or not restarts:
                    raise RuntimeError(f"{what}; the same command goes on") from error
                print(f"{what}; its cells go on", file=sys.stderr)
                restarts -= 1


def _losses(name: str) -> tuple[type[Exception], ...]:
    """What a launcher raises when a process is lost."""
    if name != "ray":
        return (RuntimeError,)  # joblib's TerminatedWorkerError, submitit's UncompletedJobError
    from ray.exceptions import RayError

    return (RayError,)


@contextmanager
def _stopped_together(name: str) -> Iterator[list[int]]:
    """Answer signals that stop a run: on this machine pass them on to the workers and wait for these.

    What other launchers have started goes on, or is stopped, without this process. Yields the signals that have come;
    raises Interrupted.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        workers = _workers() if name == LOCAL else []
        if not workers:
            raise Interrupted(signal.Signals(number).name)
        if len(received) == 1:
            print(f"{signal.Signals(number).name}: waiting for the workers to save", file=sys.stderr)
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            raise Interrupted(signal.Signals(received[0]).name)


def _workers() -> list[psutil.Process]:
    """The children of this process without joblib's resource tracker, which comes before them and heeds no signal."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if not any("resource_tracker" in word for word in child.cmdline()):
                found.append(child)
    return found


def _composed(own: list[str], cell: list[str]) -> DictConfig:
    """The configuration of one cell with Hydra's own. Raises BadConfig."""
    name = launcher_name(own)
    if name is not None:
        if name not in NEEDS:
            raise BadConfig(f"hydra/launcher={name} is unknown{suggestion(name, [*NEEDS, BASIC])}")
        modules, command = NEEDS[name]
        if not all(_installed(m) for m in modules):
            raise BadConfig(f"hydra/launcher={name} is not installed: {command}")
    try:
        return compose("config", overrides=[*own, *cell], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise BadConfig(f"{' '.join(own)}: {reason}") from error


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent
        return False


def _connect(settings: DictConfig) -> None:
    """Join the Ray cluster. Raises Unavailable where there is none."""
    import ray

    if ray.is_initialized():
        return
    try:
        ray.init(**cast("dict[str, Any]", OmegaConf.to_container(settings, resolve=True)))
    except ConnectionError as error:
        raise Unavailable(
            "hydra/launcher=ray found no Ray cluster on this machine: `ray start --head` starts one, and "
            "hydra.launcher.ray.init.address=null is one of this command alone"
        ) from error
