"""One run in several processes, as `accelerate launch` and `torchrun` start them.

The main process does everything, as if it were alone. The others serve it: they wait until it calls them to what all
do together, which is training, and leave with its exit code. So whatever is decided, locked or written is so by one
process, however many train.
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

T = TypeVar("T")

# In training no process is long alone; between trainings the main one may judge for days.
STEP_TIMEOUT, IDLE_TIMEOUT = timedelta(hours=2), timedelta(days=30)
GRACE = 20.0  # seconds for the others to hear that the main process leaves

SHARED_ERRORS = (TrainingFailed, Interrupted)
"""What all processes raise where one does; anything else may leave the others waiting in the middle of a step."""


def process_count() -> int:
    """How many processes the launch has; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def process_index() -> int:
    """This process's number in the launch; the main one's is 0."""
    return int(os.environ["RANK"]) if process_count() > 1 else 0


def is_sharded() -> bool:
    """Whether the launch asks for FSDP or DeepSpeed, in which a process may have a part of the policy's weights."""
    return any(
        os.environ.get(f"ACCELERATE_USE_{engine}", "").lower() == "true" for engine in ("FSDP", "DEEPSPEED")
    )


def gather_rows(rows: Sequence[T]) -> list[T]:
    """The rows of all processes in the order of processes; all of them must call."""
    if process_count() == 1:
        return list(rows)
    from accelerate.utils import gather_object

    return list(gather_object(list(rows)))


def local_rows(rows: Sequence[T]) -> Sequence[T]:
    """This process's part of what `everyones` gave, where all have equally many."""
    each = len(rows) // process_count()
    return rows[process_index() * each : (process_index() + 1) * each]


def main_process_only(items: Sequence[T]) -> Sequence[T]:
    """The items in the main process, none in the others."""
    return items if process_index() == 0 else ()


def per_process_settings(settings: Mapping[str, Any], processes: int) -> dict[str, Any]:
    """Settings of a trainer whose batch is that of all processes together, as those of each of them.

    The rows of a pass are shared out, and where they do not suffice, the passes of a step. Raises ValueError where a
    step cannot be shared alike.
    """
    rows = settings["per_device_train_batch_size"]
    passes = {name: settings.get(name, 1) for name in ("gradient_accumulation_steps", "steps_per_generation")}
    by_rows = gcd(rows, processes)
    by_passes = processes // by_rows
    there = {name: n for name, n in passes.items() if name in settings}
    if by_passes > 1 and (not there or any(n % by_passes for n in there.values())):
        written = " x ".join(f"trainer.{name}={n}" for name, n in there.items())
        raise ValueError(
            f"trainer.per_device_train_batch_size={rows} with {written or 'one pass a step'} is the batch of all "
            f"processes, which {processes} cannot share alike; take a number of processes that divides {rows}, or set "
            "these fields to multiples of it"
        )
    own = {name: n // by_passes for name, n in there.items()}
    return {**settings, "per_device_train_batch_size": rows // by_rows, **own}


class _Launch:
    """The line from the main process to the others."""

    def __init__(self) -> None:
        import torch.distributed
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available(), timeout=STEP_TIMEOUT)
        self._line = torch.distributed.new_group(backend="gloo", timeout=IDLE_TIMEOUT)
        self.broken = False

    def tell(self, what: Any) -> None:
        """Send the others a call or the exit code."""
        import torch.distributed

        torch.distributed.broadcast_object_list([what], src=0, group=self._line)

    def hear(self) -> Any:
        """Wait for what the main process sends."""
        import torch.distributed

        heard = [None]
        torch.distributed.broadcast_object_list(heard, src=0, group=self._line)
        return heard[0]

    def serve(self) -> int:
        """Join in what the main process calls to, until it leaves; return its exit code.

        Signals are for the main process to answer, which the launcher sends them to as well.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        while not isinstance(what := self.hear(), int):
            function, arguments = what
            with suppress(*SHARED_ERRORS):  # the main process tells of it
                function(*arguments)
            _release()
        return what


def _release() -> None:
    """Free what a training has left, for the next one."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


_launch: list[_Launch] = []  # the one that this process is in


@contextmanager
def launch() -> Iterator[None]:
    """What the main process of a launch does; the others stay in here until it leaves, and leave alike.

    Without a launch it does nothing.
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
        if not launch.broken:  # in a thread: one that a second signal left behind in a step will not hear it
            farewell = Thread(target=launch.tell, args=[code if isinstance(code, int) else 1], daemon=True)
            farewell.start()
            farewell.join(GRACE)


def run_in_all(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function, one of a module, in all processes of the launch; what it gives the main one.

    An error of one process alone ends the launch: the others may be waiting for it in the middle of a step.
    """
    if process_count() == 1:
        return function(*arguments)
    if not _launch:
        raise RuntimeError(
            f"a launch of {process_count()} processes trains in its main process; use no hydra/launcher with "
            f"accelerate launch"
        )
    [launch] = _launch
    if launch.broken:
        raise SystemExit("the other processes were lost with the run that failed; the same command goes on")
    launch.tell((function, arguments))
    try:
        return function(*arguments)
    except SHARED_ERRORS:
        raise
    except BaseException:
        launch.broken = True
        raise
