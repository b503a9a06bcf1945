"""Makes one file operation of a Python process go wrong; the harness itself has no hook for it.

Python imports a module of this name when it starts, so it is enough that a child has this folder on PYTHONPATH, and the
variable CHAOS, JSON:

    {"on": "write", "path": "*/verdicts.jsonl", "call": 3, "when": "half", "fault": "kill"}

on: write (a raw write to a file), sync, rename (into place, `path` is the new name), or remove (of a file);
path: a glob over the whole path; call: which such operation, from 1; when: before it, after it, or half (half of the
bytes are written; at a sync, the file is cut to half, as a kill during the write leaves it);
fault: kill, or an errno's name, which that call and every later one raise.

{"clock": [0, 3600, -7200]}: time.time() is off by these seconds, each in turn a call.
"""

import builtins
import contextlib
import errno
import fnmatch
import io
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLAN: dict[str, Any] = json.loads(os.environ.get("CHAOS", "{}"))
_calls = itertools.count(1)
_open = io.open
_replace, _rename, _fsync, _unlink = os.replace, os.rename, os.fsync, os.unlink


def _due(on: str, path: object) -> int | None:
    """The number of this operation after the first faulty one, None for an operation without the fault."""
    if PLAN.get("on") != on or not fnmatch.fnmatch(os.fsdecode(path), PLAN["path"]):  # type: ignore[arg-type]
        return None
    since = next(_calls) - PLAN["call"]
    return since if since == 0 or (since > 0 and PLAN["fault"] != "kill") else None


def _fault(path: object) -> None:
    if PLAN["fault"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    number = getattr(errno, PLAN["fault"])
    raise OSError(number, os.strerror(number), os.fspath(path))  # type: ignore[call-overload]


def _with_fault(on: str, path: object, act: Callable[[], Any], half: Callable[[], Any]) -> Any:
    """Do the operation, with the fault before, during, or after it.

    A disk that fills takes part of a write and says how much; it refuses the next one.
    """
    since = _due(on, path)
    if since is None:
        return act()
    if since == 0:
        done = {"before": lambda: None, "half": half, "after": act}[PLAN["when"]]()
        if on == "write" and PLAN["when"] == "half" and PLAN["fault"] != "kill" and done is not None:
            return done
    return _fault(path)


def _name(file: Any) -> str:
    """The path behind a file descriptor, or the path itself."""
    return str(Path(f"/proc/self/fd/{file}").readlink()) if isinstance(file, int) else os.fsdecode(file)


class _Raw(io.FileIO):
    """A file whose writes can go wrong."""

    path = ""

    def write(self, data: Any) -> int:
        def part() -> int:
            return super(_Raw, self).write(memoryview(data).cast("B")[: len(data) // 2])

        return int(_with_fault("write", self.path, lambda: super(_Raw, self).write(data), part))


def _opened(file: Any, mode: str = "r", buffering: int = -1, *text: Any, **more: Any) -> Any:
    if PLAN["on"] != "write" or "+" in mode or "r" in mode or not fnmatch.fnmatch(_name(file), PLAN["path"]):
        return _open(file, mode, buffering, *text, **more)
    names = ("encoding", "errors", "newline", "closefd", "opener")
    given = dict(zip(names, text, strict=False)) | more
    raw = _Raw(
        file, mode.replace("t", "").replace("b", ""), given.pop("closefd", True), given.pop("opener", None)
    )
    raw.path = _name(file)
    if buffering == 0:
        return raw
    buffered = io.BufferedWriter(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, **given)


def _halve(path: str) -> None:
    os.truncate(path, Path(path).stat().st_size // 2)


def _synced(file: Any) -> None:
    number = file if isinstance(file, int) else file.fileno()
    path = _name(number)
    _with_fault("sync", path, lambda: _fsync(number), lambda: _halve(path))


def _moved(move: Callable[..., None]) -> Callable[..., None]:
    def moved(source: Any, target: Any, **more: Any) -> None:
        _with_fault("rename", target, lambda: move(source, target, **more), lambda: None)

    return moved


def _removed(path: Any, *, dir_fd: int | None = None) -> None:
    whole = path if dir_fd is None else f"{_name(dir_fd)}/{path}"
    if not os.path.lexists(whole):  # nothing is removed
        _unlink(path, dir_fd=dir_fd)
        return
    _with_fault("remove", whole, lambda: _unlink(path, dir_fd=dir_fd), lambda: None)


def _hook_safetensors() -> None:
    """Its writer is compiled: a write is all of a file."""
    with contextlib.suppress(ImportError):
        import safetensors

        serialize = safetensors.serialize_file

        def serialized(tensors: Any, filename: Any, *rest: Any, **more: Any) -> None:
            def act() -> None:
                serialize(tensors, filename, *rest, **more)

            def half() -> None:
                act()
                _halve(os.fspath(filename))

            _with_fault("write", filename, act, half)

        for module in (safetensors, sys.modules.get("safetensors.torch")):
            if module is not None:
                module.serialize_file = serialized  # type: ignore[attr-defined]


if "on" in PLAN:
    builtins.open = io.open = _opened  # type: ignore[assignment]
    os.fsync = _synced
    os.replace, os.rename = _moved(_replace), _moved(_rename)
    os.unlink = os.remove = _removed
    if PLAN["on"] == "write":
        _hook_safetensors()
if "clock" in PLAN:
    _now, _jumps = time.time, itertools.cycle(PLAN["clock"])
    time.time = lambda: _now() + next(_jumps)
