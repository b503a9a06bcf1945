"""Errors of the file system are one sentence, and the kernel frees the lock of a killed process."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest

from cme import Unavailable
from cme.records import write_json
from cme.runtime.files import delete_partial_files, hold_lock, is_locked


def failing(number: int) -> Callable[..., None]:
    """A system call that fails with this errno."""

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"\(No space left on device\): free some space there"),
        (errno.EDQUOT, r"\(Disk quota exceeded\): free some of your quota"),
        (errno.EROFS, r"\(Read-only file system\): write elsewhere, such as with results_dir"),
        (errno.EACCES, r"\(Permission denied\): make it writable"),
        (errno.EIO, r"\(Input/output error\): no complete file is lost"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_refused_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str, call: str
) -> None:
    path = tmp_path / "record.json"
    write_json(path, [1])

    with monkeypatch.context() as broken:
        broken.setattr(os, call, failing(number))
        with pytest.raises(Unavailable, match=rf"record\.json cannot be written {message}"):
            write_json(path, [2])
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"] and json.loads(path.read_text()) == [1]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(Unavailable, match=r"runs/a/record\.json cannot be written \(Not a directory\)"):
        write_json(tmp_path / "runs" / "a" / "record.json", [1])
    with (
        pytest.raises(Unavailable, match=r"runs/\.lock cannot be written"),
        hold_lock(tmp_path / "runs" / ".lock"),
    ):
        pass


def test_files_of_killed_writers_are_deleted(tmp_path: Path) -> None:
    for name in (".a.json.x1.partial", ".b.json.x2.partial", "a.json", ".lock"):
        (tmp_path / name).write_text("")
    delete_partial_files(tmp_path, "a.json")
    assert {p.name for p in tmp_path.iterdir()} == {".b.json.x2.partial", "a.json", ".lock"}
    delete_partial_files(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", ".lock"}


def test_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".lock"
    program = (
        "import sys, time; from pathlib import Path; from cme.runtime.files import hold_lock\n"
        "with hold_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == b"held\n"
        with pytest.raises(filelock.Timeout), filelock.FileLock(path, timeout=0):
            pass
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        with hold_lock(path), pytest.raises(filelock.Timeout), filelock.FileLock(path, timeout=0):
            pass


def test_a_file_system_without_flock_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOSYS))
    with (
        pytest.raises(Unavailable, match=r"is on a file system without flock.*results_dir"),
        hold_lock(tmp_path / ".lock"),
    ):
        pass
    (tmp_path / ".lock").touch()
    with pytest.raises(Unavailable, match="without flock"):
        is_locked(tmp_path / ".lock")


def test_looking_at_a_lock_needs_no_write_access_and_does_not_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".lock"
    assert not is_locked(path)
    path.touch()
    with path.open() as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        assert not is_locked(path)
    real = os.open

    def reading_alone(name: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(name, flags, *rest, **named)

    with hold_lock(path), monkeypatch.context() as read_only:
        read_only.setattr(os, "open", reading_alone)
        assert is_locked(path)
    assert not is_locked(path)
