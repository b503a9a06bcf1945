"""A private cache of the hub in this process, laid out as `hf download` leaves it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants

from cme.models import hub

FIRST, SECOND = "1a" * 20, "2b" * 20
"""Commits."""


def add_snapshot(
    cache: Path, name: str, commit: str, source: Path, *, without: str = "", kind: str = "models"
) -> Path:
    """Put the files of a folder into the cache as the commit to which the main branch points from now on."""
    root = cache / f"{kind}--{name.replace('/', '--')}"
    folder = root / "snapshots" / commit
    folder.mkdir(parents=True)
    for file in source.iterdir():
        if file.name != without:
            shutil.copy(file, folder)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    return folder


@contextmanager
def private_cache(folder: Path) -> Iterator[Path]:
    """The folder as the hub's cache for the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(folder))
        hub.fetch_snapshot.cache_clear()
        yield folder
        hub.fetch_snapshot.cache_clear()
