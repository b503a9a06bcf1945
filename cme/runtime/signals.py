"""Signals that ask a run to stop, and how it saves its state first.

SIGTERM comes from schedulers, SIGINT from Ctrl-C, SIGHUP from a terminal that is closed, SIGUSR1 and SIGUSR2 from
Slurm, which can send them before it takes the machine away. Each raises `cme.Interrupted` at once, since files are
complete or absent at any time. Only while a trainer runs (`defer_signals`), the first signal waits until the training
is saved. If another handler was installed before, it is called instead; if it returns, the run continues.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cme import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

# like signal handlers, these belong to the process
_earlier_handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
_pending: list[int] = []
_deferring = 0  # number of open `defer_signals` blocks


def handled_signals() -> tuple[signal.Signals, ...]:
    """The signals that ask this process to stop: all but SIGHUP where it is ignored, as under `nohup`."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in SIGNALS if number != signal.SIGHUP or not ignored)


@contextmanager
def handle_signals() -> Iterator[None]:
    """Handle the signals within the block. Outside of the main thread, handlers stay unchanged.

    A nested block only acts on a signal that is still pending because an exception ended a `defer_signals` block.
    """
    outermost = signal.getsignal(SIGNALS[0]) is not _handle
    if threading.current_thread() is not threading.main_thread() or not outermost:
        if _pending and not _deferring:
            act_on_pending()
        yield
        return
    before = {number: signal.signal(number, _handle) for number in handled_signals()}
    _earlier_handlers.update(
        {n: h for n, h in before.items() if callable(h) and h is not signal.default_int_handler}
    )
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _earlier_handlers.clear()
        _pending.clear()


@contextmanager
def defer_signals() -> Iterator[None]:
    """Defer a first signal until `act_on_pending`, or the end of the outermost block; a second one acts at once.

    Signals with an earlier handler are always deferred, so that the handler finds everything saved. If an exception
    ends the block, it propagates and the signal stays pending.
    """
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1
    if _pending and not _deferring:
        act_on_pending()


def has_pending() -> bool:
    """Whether a signal is pending."""
    return bool(_pending)


def act_on_pending() -> None:
    """Act on the pending signals: raise Interrupted, or call the handlers that were installed before.

    Without a pending signal here, one is pending in another process of the training, so Interrupted is raised.
    """
    pending = _pending.copy()
    _pending.clear()
    if not pending:
        raise Interrupted("a signal to another process")
    for number in pending:
        _act(number, None)


def _handle(number: int, frame: FrameType | None) -> None:
    if _deferring and (not _pending or number in _earlier_handlers):
        _pending.append(number)
    else:
        _act(number, frame)


def _act(number: int, frame: FrameType | None) -> None:
    if number in _earlier_handlers:
        _earlier_handlers[number](number, frame)
    else:
        raise Interrupted(signal.Signals(number).name)


def end_with_parent() -> None:
    """Leave Ctrl-C to the parent of this process, and end when the parent has ended, however that was."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
