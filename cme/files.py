"""Locks that die with their owner, and folders that are on the disk when we say so."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from cme import Unavailable
from cme.records import writing


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on a file, waiting for whoever has it; the kernel frees it when its owner dies.

    Raises Unavailable where the file cannot be made, or lies on a file system that has no flock.
    """
    lock = FileLock(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except NotImplementedError as error:
            raise Unavailable(
                f"{path.parent} is on a file system without flock, so that two processes could do the same work at "
                "once unseen: choose another place, such as results_dir=... on a local disk"
            ) from error
    try:
        yield
    finally:
        lock.release()


def sweep(folder: Path, name: str = "") -> None:
    """Delete what writers of a folder's files, or of those of one name, left when they were killed.

    For whoever holds the lock.
    """
    for path in folder.glob(f".{name}*.partial"):
        path.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Have a folder's files, all the way down, and their names written to the disk."""
    for path in (folder, *folder.rglob("*")):
        sync_one(path)


def sync_one(path: Path) -> None:
    """Have one file's bytes, or one folder's names, written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
