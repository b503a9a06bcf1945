"""What a launcher runs in a process of its own: one cell, where the command was given and on a GPU of its own."""

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
from experiments.run.cell import SweepStopped

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)  # what stops a run


@dataclass(frozen=True)
class Worker:
    """`function` of a composed cell, as run in a launcher's process.

    `folder` is the working directory, so that relative paths mean what they meant to the command. `here` says that
    workers share this machine unmanaged: each takes a GPU, if there are any, and leaves when it is told to.
    """

    function: Callable[[DictConfig], object]
    folder: str
    here: bool

    def __call__(self, config: DictConfig) -> None:
        """Run a cell; one that was interrupted has saved its state, and is no error of the worker's.

        Raises Stopped where workers share this machine: elsewhere the others are out of reach.
        """
        os.chdir(self.folder)
        if self.here:
            _heed_signals()
            take_gpu()
        if _Process.leaving:
            return
        _Process.working = True
        try:
            self.function(config)
        except KeyboardInterrupt:
            _Process.leaving = self.here
        except SweepStopped:
            if self.here:
                raise
        finally:
            _Process.working = False


class _Process:
    """What this process is at."""

    working = False
    leaving = False
    gpu: FileLock | None = None


def _heed_signals() -> None:
    """Let a signal end the cell at work and keep further ones from being begun, where nobody else heeds it."""
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    first, _Process.leaving = not _Process.leaving, True
    if _Process.working and first:  # Ctrl-C comes twice: from the terminal, and passed on by the command
        raise Interrupted(signal.Signals(number).name)


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them. Does not initialise CUDA."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(n) for n in range(torch.cuda.device_count())]


def take_gpu() -> None:
    """Leave this process one of its GPUs, for as long as it lives: that which the fewest other workers hold.

    A GPU is held by a lock that the kernel frees with its process; sweeps of one user share them.
    """
    found = visible_gpus()
    if _Process.gpu is not None or not found:
        return
    folder = Path(tempfile.gettempdir()) / f"cme-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for turn in count():
        for gpu in found:
            lock = FileLock(folder / f"{gpu}-{turn}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _Process.gpu = lock
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return
