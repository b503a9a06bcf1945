"""One run in several processes, as `accelerate launch` and `torchrun` start them.

The main process runs the program. The other processes wait for it to call a function in all processes, which is
training, and exit with its exit code. So one process decides, locks and writes, however many processes train.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from math import gcd
from threading import Thread
from typing import Any, TypeVar

from cme import Interrupted, TrainingFailed
from cme.runtime.signals import SIGNALS

T = TypeVar("T")

STEP_TIMEOUT = timedelta(hours=2)
"""How long a process waits for the others within a training step."""
IDLE_TIMEOUT = timedelta(days=30)
"""How long the other processes wait between trainings; the main process may judge for days."""
GRACE = 20.0
"""Seconds that the main process waits at its exit for the others to receive its exit code."""

SHARED_ERRORS = (TrainingFailed, Interrupted)
"""Errors that all processes raise together. After any other error, the others may wait in the middle of a step."""


def process_count() -> int:
    """Number of processes of the launch; 1 without a launch."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def process_index() -> int:
    """Index of this process in the launch; the main process has 0."""
    return int(os.environ["RANK"]) if process_count() > 1 else 0


def is_sharded() -> bool:
    """Whether the launch uses FSDP or DeepSpeed, where a process may hold only a part of the policy's weights."""
    return any(
        os.environ.get(f"ACCELERATE_USE_{engine}", "").lower() == "true" for engine in ("FSDP", "DEEPSPEED")
    )


def gather_rows(rows: Sequence[T]) -> list[T]:
    """The rows of all processes, in the order of processes. All processes must call it."""
    if process_count() == 1:
        return list(rows)
    from accelerate.utils import gather_object

    return list(gather_object(list(rows)))


def per_process_settings(settings: Mapping[str, Any], processes: int) -> dict[str, Any]:
    """Trainer settings for each process, from settings for the batch of all processes together.

    The processes divide the rows of a pass and, if there are more processes than rows, the passes of a step. Raises
    ValueError if a step cannot be divided evenly.
    """
    rows = settings["per_device_train_batch_size"]
    by_rows = gcd(rows, processes)
    by_passes = processes // by_rows
    passes = {
        n: settings[n] for n in ("gradient_accumulation_steps", "steps_per_generation") if n in settings
    }
    if by_passes > 1 and (not passes or any(n % by_passes for n in passes.values())):
        fields = " x ".join(f"trainer.{name}={n}" for name, n in passes.items())
        raise ValueError(
            f"trainer.per_device_train_batch_size={rows} with {fields or 'one pass per step'} is the batch of all "
            f"processes, which {processes} cannot divide evenly; use a number of processes that divides {rows}, or set "
            "these fields to multiples of it"
        )
    share = {name: n // by_passes for name, n in passes.items()}
    return {**settings, "per_device_train_batch_size": rows // by_rows, **share}


class _Launch:
    """The connection from the main process to the others."""

    def __init__(self) -> None:
        import torch.distributed
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available(), timeout=STEP_TIMEOUT)
        self._group = torch.distributed.new_group(backend="gloo", timeout=IDLE_TIMEOUT)
        self.broken = False

    def broadcast(self, message: Any = None) -> Any:
        """The message of the main process, a call or its exit code; the other processes wait for it."""
        import torch.distributed

        messages = [message]
        torch.distributed.broadcast_object_list(messages, src=0, group=self._group)
        return messages[0]

    def serve(self) -> int:
        """Run the calls of the main process until it exits; return its exit code.

        This process ignores signals: the launcher sends them to the main process too, which acts on them.
        """
        import torch

        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        while not isinstance(message := self.broadcast(), int):
            function, arguments = message
            with suppress(*SHARED_ERRORS):  # the main process reports it
                function(*arguments)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return message


_launch: list[_Launch] = []  # the launch of this process, if any


@contextmanager
def launch() -> Iterator[None]:
    """Run the block in the main process of a launch; the others serve it and exit with its exit code.

    Without a launch the context does nothing.
    """
    if process_count() == 1:
        yield
        return
    launch = _Launch()
    if process_index() > 0:
        sys.exit(launch.serve())
    _launch.append(launch)
    code: Any = 1
    try:
        yield
        code = 0
    except SystemExit as leaving:
        code = leaving.code or 0
        raise
    finally:
        _launch.clear()
        if not launch.broken:  # in a thread, because a process that waits in a step receives nothing
            sender = Thread(target=launch.broadcast, args=[code if isinstance(code, int) else 1], daemon=True)
            sender.start()
            sender.join(GRACE)


def run_in_all(function: Callable[..., T], *arguments: Any) -> T:
    """Call a module-level function in all processes of the launch; return the main process's result.

    An error in one process alone ends the launch, because the others may wait for it in the middle of a step. Raises
    RuntimeError outside of `launch`.
    """
    if process_count() == 1:
        return function(*arguments)
    if not _launch:
        raise RuntimeError(
            f"a launch of {process_count()} processes trains in its main process; do not combine accelerate launch "
            "with hydra/launcher"
        )
    [launch] = _launch
    if launch.broken:
        raise SystemExit("the failed run ended the other processes; repeat the command to continue")
    launch.broadcast((function, arguments))
    try:
        return function(*arguments)
    except SHARED_ERRORS:
        raise
    except BaseException:
        launch.broken = True
        raise
