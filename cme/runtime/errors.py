"""What an exception says: the sentence of an expected one, and one line about any other."""

import errno
import traceback

OWN_PACKAGES = ("cme", "experiments", "analysis")
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)


def expected_message(error: BaseException) -> str | None:
    """What an error says if it is meant for the user; None for any other, which is a defect of the program.

    Meant for the user are errors of this project's own types, ValueError and OSError raised in its code, and what the
    file system says of a file.
    """
    if isinstance(error, OSError) and (error.filename is not None or error.errno in DISK_ERRORS):
        place = "the output" if error.filename is None else error.filename
        return f"{place}: {error.strerror}"
    own_type = _is_own(type(error).__module__)
    if not own_type and isinstance(error, ValueError | OSError):
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        own_type = bool(frames) and _is_own(str(frames[-1].f_globals.get("__name__")))
    return str(error) or describe(error) if own_type else None


def _is_own(module: str) -> bool:
    return module.partition(".")[0] in OWN_PACKAGES


def innermost_cause(error: BaseException) -> BaseException:
    """The first exception of the chain that led to this one."""
    while (
        cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    ) is not None:
        error = cause
    return error


def describe(error: BaseException) -> str:
    """Type and first line of an exception, and of its innermost cause if that is another one."""
    first = innermost_cause(error)
    return _first_line(error) if first is error else f"{_first_line(error)}; caused by {_first_line(first)}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
