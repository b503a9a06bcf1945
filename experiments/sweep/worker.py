"""Runs cells in a process of a launcher: in the working directory of the command, on one GPU."""

import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from cme import Interrupted
from cme.runtime.signals import SIGNALS
from experiments.config.resolution import resolve
from experiments.config.runs import Run
from experiments.run.cell import SweepStopped


@dataclass(frozen=True)
class Worker:
    """Runs cells in a launcher's process.

    Attributes:
        function: Runs one resolved cell.
        folder: The working directory of the command, for relative paths.
        local: Whether the workers share this machine without a manager: each takes a GPU, if there is any, and exits
            after a signal.
    """

    function: Callable[[Run], object]
    folder: str
    local: bool

    def __call__(self, config: DictConfig) -> None:
        """Run a cell. An interrupted cell has saved its state, so the interruption is not raised.

        Raises SweepStopped if the workers share this machine; elsewhere other workers cannot be stopped.
        """
        os.chdir(self.folder)
        if self.local:
            for number in SIGNALS:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    signal.signal(number, _handle_signal)
            take_gpu()
        if _Process.leaving:
            return
        _Process.working = True
        try:
            self.function(resolve(config))
        except KeyboardInterrupt:
            _Process.leaving = self.local
        except SweepStopped:
            if self.local:
                raise
        finally:
            _Process.working = False


class _Process:
    """The state of this process."""

    working = False
    leaving = False
    gpu: FileLock | None = None


def _handle_signal(number: int, frame: FrameType | None) -> None:
    """Interrupt the running cell, and start no further one."""
    first, _Process.leaving = not _Process.leaving, True
    if _Process.working and first:  # Ctrl-C arrives twice, from the terminal and from the command
        raise Interrupted(signal.Signals(number).name)


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES. Does not initialise CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(n) for n in range(torch.cuda.device_count())]


def take_gpu() -> None:
    """Restrict this process to the GPU that the fewest other workers hold.

    A worker holds a GPU by a lock, which the kernel frees when its process ends. All sweeps of a user share the locks.
    """
    gpus = visible_gpus()
    if _Process.gpu is not None or not gpus:
        return
    folder = Path(tempfile.gettempdir()) / f"cme-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for turn in count():
        for gpu in gpus:
            lock = FileLock(folder / f"{gpu}-{turn}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _Process.gpu = lock
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return
