"""Launchers: run the cells of a sweep in parallel, with `hydra/launcher=NAME` on the command line.

A file in `conf/hydra/launcher` configures a launcher plugin of Hydra. Without a launcher, cells run one after the other
in this process.
"""

import os
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import takewhile
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
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cme import Interrupted, Unavailable
from cme.runtime import distributed, shipped, signals
from cme.runtime.extras import install_command
from experiments.config import registration
from experiments.config.composition import MULTIRUN, configures_hydra
from experiments.config.registration import spell_out
from experiments.config.resolution import resolve
from experiments.config.runs import Run
from experiments.config.validation import BadConfig, suggestion
from experiments.sweep.worker import Worker, visible_gpus

ROOT = shipped.ROOT
BASIC = "basic"  # Hydra's own launcher: one cell after the other, in this process
LOCAL = "local"
_SLURM = (("hydra_plugins.hydra_submitit_launcher",), install_command("slurm"))
NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    LOCAL: ((), ""),
    "slurm": _SLURM,
    "slurm_local": _SLURM,
    "ray": (
        ("ray", "hydra_plugins.hydra_ray_launcher"),
        install_command("ray") + " && pip install --no-deps hydra-ray-launcher",
    ),
}
"""The modules that each launcher needs beside those of the core, and the command that installs them."""
RESTARTS = 3
"""Number of restarts of a sweep on this machine after it lost a process."""
BATCH = 1000
"""Number of cells per launch; the limit of a Slurm array is 1001."""

# our ray.yaml replaces that of the plugin, about which Hydra would warn
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/ray' is validated against")


def launcher_name(arguments: Sequence[str]) -> str | None:
    """The launcher that a command line names; None if cells run one after the other in this process."""
    names = [a.split("=", 1)[1] for a in arguments if a.lstrip("+").startswith("hydra/launcher=")]
    return names[-1] if names and names[-1] != BASIC else None


def check_launcher(arguments: Sequence[str]) -> None:
    """Check that the launcher of a command line can run it.

    Raises BadConfig for a launcher that is unknown or not installed, for unknown settings and other settings of Hydra,
    for a command line without -m, and within accelerate launch; Unavailable without Slurm or a Ray cluster.
    """
    name = launcher_name(arguments)
    settings = [a for a in arguments if configures_hydra(a)]
    if not settings:
        return
    if unused := [a for a in settings if not re.match(r"[+~]*hydra[/.]launcher\b", a)]:
        raise BadConfig(
            f"{unused[0]} has no effect: the only settings of Hydra used here are hydra/launcher=NAME and "
            "hydra.launcher.*"
        )
    if name is not None and not any(a in MULTIRUN for a in arguments):
        raise BadConfig(f"hydra/launcher={name} launches sweeps; add -m, also for a single cell")
    if name is not None and distributed.process_count() > 1:
        raise BadConfig(
            f"hydra/launcher={name} starts processes, and this is one of {distributed.process_count()} processes of "
            "accelerate launch; use one of the two"
        )
    registration.register()
    with initialize_config_dir(str(shipped.CONF), version_base="1.3"):
        launcher = _compose(settings, []).hydra.launcher
    if name == "slurm" and shutil.which("sbatch") is None:
        raise Unavailable(
            "hydra/launcher=slurm needs Slurm's sbatch, which is not installed; slurm_local runs the same without Slurm"
        )
    if name == "ray":
        _connect_to_ray(launcher)


def _connect_to_ray(launcher: DictConfig) -> None:
    """Connect this process to the configured Ray cluster. Raises Unavailable."""
    import ray

    if ray.is_initialized():
        return
    try:
        ray.init(**cast("dict[str, Any]", OmegaConf.to_container(launcher.ray.init, resolve=True)))
    except ConnectionError as error:
        raise Unavailable(
            "hydra/launcher=ray found no Ray cluster on this machine: start one with `ray start --head`, or use "
            "hydra.launcher.ray.init.address=null for one of this command alone"
        ) from error


def launch(
    cells: Sequence[Sequence[str]], arguments: Sequence[str], function: Callable[[Run], object]
) -> None:
    """Run cells through the launcher of a command line, and return when all have ended.

    Args:
        cells: The overrides of each cell.
        arguments: The command line, which names the launcher.
        function: Runs one resolved cell. It must be importable and must not raise for a cell that fails.

    Raises RuntimeError if a cell could not be composed or its process was lost, and Interrupted after a signal, when
    the workers of this machine have saved.
    """
    if not cells:
        return
    cells = [spell_out(cell) for cell in cells]
    registration.register()
    # workers import the same code as this process, wherever they start
    path = [*([] if shipped.INSTALLED else [str(ROOT)]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, path)))
    with initialize_config_dir(str(shipped.CONF), version_base="1.3"):
        settings = _complete_settings([a for a in arguments if configures_hydra(a)], list(cells[0]))
        name = launcher_name(settings)
        if name is not None:
            os.environ["TQDM_DISABLE"] = "1"  # in the workers: the bars of several would overwrite each other
        task: Callable[[DictConfig], object] = (
            (lambda config: function(resolve(config)))
            if name is None
            else Worker(function, str(Path.cwd()), local=name == LOCAL)
        )
        config = _compose(settings, list(cells[0]))  # a cell has the results_dir
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks()),
            task_function=task,
            config=config,
        )
        size = 1 if name is None else BATCH
        for first in range(0, len(cells), size):
            batch = [list(cell) for cell in cells[first : first + size]]
            returns = _run_restarting(
                name,
                lambda received: launcher.launch(_UntilSignal(batch, received), initial_job_idx=first),  # noqa: B023
            )
            for cell, result in zip(batch, returns, strict=True):
                if result.status == JobStatus.FAILED:
                    raise RuntimeError(f"{' '.join(cell)}: {result._return_value}")  # noqa: SLF001


def _complete_settings(settings: list[str], cell: list[str]) -> list[str]:
    """Hydra's overrides with the folder of the sweep, and with one job per GPU or core for n_jobs=-1.

    A local launcher with one job is removed, since joblib would run it in this process.
    """
    if launcher_name(settings) is None:
        return settings
    config = _compose(settings, cell)
    folder = str(Path(config.results_dir).absolute()).replace("'", "\\'")
    settings = [*settings, f"hydra.sweep.dir='{folder}'"]
    jobs = config.hydra.launcher.get("n_jobs")
    if jobs == -1:
        jobs = len(visible_gpus()) or joblib.cpu_count()
        settings.append(f"hydra.launcher.n_jobs={jobs}")
    if jobs == 1:
        return [a for a in settings if not a.lstrip("+~").startswith(("hydra/launcher", "hydra.launcher"))]
    return settings


class _UntilSignal(list[list[str]]):
    """The cells of a launch. Iteration ends once a signal is received: joblib composes the cells that it is given."""

    def __init__(self, cells: Sequence[list[str]], received: Sequence[int]) -> None:
        super().__init__(cells)
        self._received = received

    def __iter__(self) -> Iterator[list[str]]:
        return takewhile(lambda _: not self._received, super().__iter__())


def _run_restarting(
    name: str | None, run: Callable[[Sequence[int]], Sequence[JobReturn]]
) -> Sequence[JobReturn]:
    """Call `run` with the signals received so far, and again after a worker of this machine was killed.

    Raises as `launch` does.
    """
    if name is None:
        return run(())
    restarts = RESTARTS if name == LOCAL else 0
    lost_process: tuple[type[Exception], ...] = (RuntimeError,)  # joblib and submitit
    if name == "ray":
        from ray.exceptions import RayError

        lost_process = (RayError,)
    with _forward_signals(name) as received:
        while True:
            try:
                return run(received)
            except lost_process as error:
                message = (
                    f"hydra/launcher={name} lost a process: {str(error).strip().splitlines()[-1].strip()}"
                )
                if received or not restarts:
                    raise RuntimeError(f"{message}; repeat the command to continue") from error
                print(f"{message}; its cells start again", file=sys.stderr)
                restarts -= 1


@contextmanager
def _forward_signals(name: str) -> Iterator[list[int]]:
    """Forward signals to the workers of this machine, wait for them, and raise Interrupted.

    Jobs of other launchers do not depend on this process. Yields the list of received signals.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        workers = _local_workers() if name == LOCAL else []
        if not workers:
            raise Interrupted(signal.Signals(number).name)
        if len(received) == 1:
            print(f"{signal.Signals(number).name}: waiting for the workers to save", file=sys.stderr)
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, stop) for number in signals.handled_signals()}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            raise Interrupted(signal.Signals(received[0]).name)


def _local_workers() -> list[psutil.Process]:
    """The children of this process, except joblib's resource tracker, which ignores signals."""
    workers = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if not any("resource_tracker" in word for word in child.cmdline()):
                workers.append(child)
    return workers


def _compose(settings: list[str], cell: list[str]) -> DictConfig:
    """The configuration of a cell with that of Hydra. Raises BadConfig for an unknown launcher or one not installed."""
    name = launcher_name(settings)
    if name is not None:
        if name not in NEEDS:
            raise BadConfig(f"hydra/launcher={name} is unknown{suggestion(name, [*NEEDS, BASIC])}")
        modules, command = NEEDS[name]
        if any(find_spec(module) is None for module in modules):
            raise BadConfig(f"hydra/launcher={name} is not installed: {command}")
    try:
        return compose("config", overrides=[*settings, *cell], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise BadConfig(f"{' '.join(settings)}: {reason}") from error
