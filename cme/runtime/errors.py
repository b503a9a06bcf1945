"""What an exception says: the sentence of an expected one, and one line about any other."""

import errno
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

OWN_PACKAGES = ("cme", "experiments", "analysis")
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)


def expected_message(error: BaseException) -> str | None:
    """What an error says if it is meant for the user; None for any other, which is a defect of the program.

    Meant for the user are errors of this project's own types, ValueError and OSError raised in its code, and what the
    file system says of a file.
    """
    if isinstance(error, OSError) and (error.filename is not None or error.errno in DISK_ERRORS):
        place = "the output" if error.filename is None else error.filename
        return f"{place}: {error.strerror}{origin(error)}"
    own_type = _is_own(type(error).__module__)
    if not own_type and isinstance(error, ValueError | OSError):
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        own_type = bool(frames) and _is_own(str(frames[-1].f_globals.get("__name__")))
    if not own_type:
        return None
    return f"{str(error) or describe(error)}{origin(error)}"


def _is_own(module: str) -> bool:
    return module.partition(".")[0] in OWN_PACKAGES


def describe(error: BaseException) -> str:
    """Type and first line of an exception, of its innermost cause if that is another one, and its origin."""
    first = error
    while cause := first.__cause__ or (None if first.__suppress_context__ else first.__context__):
        first = cause
    caused = "" if first is error else f"; caused by {_first_line(first)}"
    return f"{_first_line(error)}{caused}{origin(error)}"


@contextmanager
def in_part(name: str, part: Callable[..., Any]) -> Iterator[None]:
    """Note in an error that it comes from a part that a user may have written, such as a reward, and from which line.

    The line is the last of the part's own file that the traceback goes through. A message that is meant for the user
    stays as it is (`expected_message`), unless it is Python's and not one that our code raises.
    """
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        raised_here = (frames[-1].line or "").startswith("raise") or isinstance(error, OSError)
        meant = expected_message(error) is not None and _is_own(part.__module__) and raised_here
        if not meant and not _is_own(type(error).__module__) and not origin(error):
            file = vars(sys.modules[part.__module__]).get("__file__")  # a notebook has none
            at = ([frame for frame in frames if frame.filename == file] or frames)[-1]
            error.add_note(f"in {name} ({at.filename}:{at.lineno})")
        raise


def origin(error: BaseException) -> str:
    """What `in_part` noted, behind a comma; empty where it noted nothing."""
    notes = [note for note in vars(error).get("__notes__", ()) if note.startswith("in ")]
    return f", {notes[0]}" if notes else ""


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
