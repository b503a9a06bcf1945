"""Free memory and disk space, checked before work that would fail without them."""

import shutil
from pathlib import Path

import psutil

from cme import Unavailable

GB = 1e9


def check_memory(needed: float, purpose: str, remedy: str) -> None:
    """Raise Unavailable if the machine has fewer free bytes of memory than `purpose` needs."""
    if needed > (free := psutil.virtual_memory().available):
        raise Unavailable(
            f"{purpose} needs about {size(needed)} of memory, and {size(free)} are free: {remedy}"
        )


def check_disk(folder: Path, needed: float, purpose: str, remedy: str) -> None:
    """Raise Unavailable if the disk of a folder, which need not exist, has fewer free bytes than `purpose` needs."""
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if needed > (free := shutil.disk_usage(place).free):
        raise Unavailable(f"{purpose} needs {size(needed)} in {folder}, and {size(free)} are free: {remedy}")


def size(count: float) -> str:
    """A number of bytes in GB, or in MB below 0.1 GB."""
    return f"{count / GB:.1f} GB" if count >= GB / 10 else f"{count / 1e6:.1f} MB"
