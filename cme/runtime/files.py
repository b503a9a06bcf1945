"""Names and digests of files, locks that the kernel releases when their owner ends, and syncing to the disk."""

import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from cme import Unavailable
from cme.records import explain_write_errors, sync_path


def check_name(field: str, name: str) -> None:
    """Raise ValueError unless a name can be part of the name of a file in any folder."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError(
            f"{field}={name!r}; it becomes part of file names: use letters, digits, _ . + -, and begin with one of the "
            "first three"
        )


def check_links(folder: Path) -> None:
    """Raise ValueError for a link in a folder that leads out of it: what is written there would be elsewhere.

    Those that W&B makes in its own folders, to its logs, are not followed. A link to itself leads nowhere.
    """
    inside = os.path.realpath(folder)  # `resolve` raises RuntimeError for a link to itself
    for path in sorted(folder.rglob("*")):
        of_tracker = "wandb" in path.relative_to(folder).parts[:-1]
        target = Path(os.path.realpath(path))
        if path.is_symlink() and not of_tracker and not target.is_relative_to(inside):
            raise ValueError(f"{path} is a link to {target}, outside of {folder}; delete the link")


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Wait for the lock on a file, and hold it. A thread that holds the lock may take it again.

    Raises Unavailable if the file cannot be created, or its file system has no flock.
    """
    lock = _lock(path)
    with explain_write_errors(path), _explain_missing_flock(path):
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
    """Whether a living process, including this one, holds the lock on a file. Does not take the lock.

    Raises Unavailable if the file cannot be read, or its file system has no flock.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Unavailable(f"{path} cannot be read ({error.strerror}): make it readable") from error
    try:
        with _explain_missing_flock(path):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock(path: Path) -> FileLock:
    # the fallback is a file that stays locked after its owner's end
    return FileLock(path, is_singleton=True, fallback_to_soft=False)


@contextmanager
def _explain_missing_flock(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise Unavailable(
            f"{path.parent} is on a file system without flock, so two processes could do the same work at once: "
            "use another folder, such as results_dir=... on a local disk"
        ) from error


def delete_partial_files(folder: Path, name: str = "") -> None:
    """Delete the partial files that killed writers left in a folder, of one file name if given. Needs the lock."""
    for path in folder.glob(f".{name}*.partial"):
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Sync a folder, and all files and folders in it, to the disk."""
    for path in (folder, *folder.rglob("*")):
        sync_path(path)
