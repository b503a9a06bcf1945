"""How a command ends: its exit code, and what it prints about an error."""

import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress

from cme.runtime.errors import describe, expected_message, origin
from cme.runtime.secrets import redact
from cme.runtime.signals import handle_signals
from cme.runtime.terminal import plain

DONE, FAILED, REFUSED, INTERRUPTED, CTRL_C = 0, 1, 2, os.EX_TEMPFAIL, 128 + signal.SIGINT
"""Exit codes. A scheduler that sent a signal may start the command again after INTERRUPTED."""
MAX_ERRORS = 20
"""Largest number of printed errors."""


def exit_code(work: Callable[[], int]) -> int:
    """Do the work of a command and return its exit code, which is that of the work unless the work raises.

    An expected error (`expected_message`) is printed and gives REFUSED. Any other gives FAILED, one line, and a file
    with its traceback; the line names the reward, judge or other part that it comes from (`in_part`), or calls it a
    defect. Ctrl-C gives CTRL_C, another signal INTERRUPTED, and SystemExit its own code.
    """
    try:
        with handle_signals():
            code = _code_of(work)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        return report_interruption(stop)
    except BrokenPipeError:  # the reader of the output has ended, as `head` does
        _discard_output()
        return 128 + signal.SIGPIPE
    except BaseException as error:  # noqa: BLE001 - a panic of a library in Rust is no Exception
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _discard_output()  # it would be written again at the end of the process
        if (message := expected_message(error)) is not None:
            print_errors(message.splitlines())
            return REFUSED
        print_errors([f"{redact(describe(error))}; {_keep_traceback(error)}"])
        return FAILED
    return code


def _code_of(work: Callable[[], int]) -> int:
    """The exit code of the work, or of its SystemExit."""
    try:
        return work()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print_errors([stop.code])
            return FAILED
        return stop.code or DONE


def report_interruption(stop: KeyboardInterrupt | None, summary: str = "") -> int:
    """Print the last line of an interrupted command and return its exit code. `stop` is None for signals elsewhere."""
    with suppress(OSError):  # SIGHUP says that the terminal is gone
        print(f"interrupted{summary}", file=sys.stderr)
    by_ctrl_c = stop is not None and str(stop) in ("", signal.SIGINT.name)
    return CTRL_C if by_ctrl_c else INTERRUPTED


def print_errors(lines: Sequence[str]) -> None:
    """Print errors on stderr, at most MAX_ERRORS."""
    for line in lines[:MAX_ERRORS]:
        print(plain(f"error: {line}"), file=sys.stderr)
    if len(lines) > MAX_ERRORS:
        print(f"error: {len(lines) - MAX_ERRORS} more", file=sys.stderr)


def _keep_traceback(error: BaseException) -> str:
    """Write the traceback to a file, without secrets, and return where it is; the traceback itself without a file."""
    text = redact("".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="cme-traceback-", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError:
        return text
    defect = "" if origin(error) else "this is a defect of the program, and "
    return f"{defect}its traceback is in {file.name}"


def _discard_output() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
