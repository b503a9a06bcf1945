"""Signals that ask a run to stop, and what is done before it does.

SIGTERM is a scheduler's, SIGINT is Ctrl-C, SIGUSR1 and SIGUSR2 are what Slurm can be told to send before it takes the
machine away. Each ends in `cme.Interrupted`, at once, since files are whole or absent at any moment; only while a
trainer is at work (`waiting`) the first of them waits until what is done is saved. A handler that somebody else had
installed before is called in place of raising; where it returns, the run goes on.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cme import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)

# of the process, as its signal handlers are
_others: dict[int, Callable[[int, FrameType | None], Any]] = {}
_pending: list[int] = []
_waiting = 0  # blocks of `waiting` that are open


@contextmanager
def handle_signals() -> Iterator[None]:
    """Answer the signals for the time being; in any thread but the main one they stay as they are.

    Nested in itself it only answers a signal that waited in vain, in a block that an exception has ended.
    """
    outermost = signal.getsignal(SIGNALS[0]) is not _handle
    if threading.current_thread() is not threading.main_thread() or not outermost:
        if _pending and not _waiting:
            act_on_pending()
        yield
        return
    before = {number: signal.signal(number, _handle) for number in SIGNALS}
    _others.update({n: h for n, h in before.items() if callable(h) and h is not signal.default_int_handler})
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _others.clear()
        _pending.clear()


@contextmanager
def defer_signals() -> Iterator[None]:
    """Let a first signal wait for `obey`, at the latest to the end of the outermost block; a second one does not wait.

    Those that have a handler of somebody else's wait always: it is to find everything saved. An exception that ends
    the block goes its way, as what has happened, and the signal waits on.
    """
    global _waiting
    _waiting += 1
    try:
        yield
    finally:
        _waiting -= 1
    if _pending and not _waiting:
        act_on_pending()


def has_pending() -> bool:
    """Whether a signal waits."""
    return bool(_pending)


def act_on_pending() -> None:
    """Do what the signals that wait ask for: raise Interrupted, or call the handlers that were there before.

    Where none waits here, one does in another process of the same training: Interrupted is raised.
    """
    asked = _pending.copy()
    _pending.clear()
    if not asked:
        raise Interrupted("a signal to another process")
    for number in asked:
        _act(number, None)


def _handle(number: int, frame: FrameType | None) -> None:
    if _waiting and (not _pending or number in _others):
        _pending.append(number)
    else:
        _act(number, frame)


def _act(number: int, frame: FrameType | None) -> None:
    if number in _others:
        _others[number](number, frame)
    else:
        raise Interrupted(signal.Signals(number).name)
