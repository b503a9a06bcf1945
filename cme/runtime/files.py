"""Locks that die with their owner, and folders that are on the disk when we say so."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from cme import Unavailable
from cme.records import explain_write_errors


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock on a file, waiting for whoever has it; the kernel frees it when its owner dies.

    Whoever has it may take it again within its thread.

    Raises Unavailable where the file cannot be made, or lies on a file system that has no flock.
    """
    lock = _lock(path)
    with explain_write_errors(path), _flock_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def holds_lock(path: Path) -> bool:
    """Whether this thread holds the lock on a file."""
    return _lock(path).is_locked


def is_locked(path: Path) -> bool:
    """Whether a living process, this one too, holds the lock on a file; who only looks is in nobody's way.

    Raises Unavailable where the file cannot be read, or lies on a file system that has no flock.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Unavailable(f"{path} cannot be read ({error.strerror}): make it readable") from error
    try:
        with _flock_of(path):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock(path: Path) -> FileLock:
    # its fallback would be a file that outlives its owner
    return FileLock(path, is_singleton=True, fallback_to_soft=False)


@contextmanager
def _flock_of(path: Path) -> Iterator[None]:
    """Raise the lack of flock as Unavailable."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise Unavailable(
            f"{path.parent} is on a file system without flock, so that two processes could do the same work at "
            "once unseen: choose another place, such as results_dir=... on a local disk"
        ) from error


def delete_partial_files(folder: Path, name: str = "") -> None:
    """Delete what writers of a folder's files, or of those of one name, left when they were killed.

    For whoever holds the lock.
    """
    for path in folder.glob(f".{name}*.partial"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have a folder's files, all the way down, and their names written to the disk."""
    for path in (folder, *folder.rglob("*")):
        sync_path(path)


def sync_path(path: Path) -> None:
    """Have one file's bytes, or one folder's names, written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
