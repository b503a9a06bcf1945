"""Checkpoints on disk: a checkpoint is complete if it has a marker with the size and SHA-256 of every file."""

import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError

from cme import Unavailable
from cme.records import Count, Number, Strict, explain_write_errors, from_json, sync_path, write_json
from cme.runtime.files import sha256, sync_folder

MARKER = "whole.json"
CHECKPOINTS = "checkpoint-[0-9]*"
KEPT = 2
"""Number of complete checkpoints that are kept: the newest, and one more in case the newest turns out damaged."""

WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)
"""What torch, safetensors and transformers raise where a file cannot be written."""


@dataclass(frozen=True)
class Checkpointing:
    """Where a training saves its checkpoints.

    Attributes:
        folder: The folder of the checkpoints.
        every: Steps between two checkpoints.
        made_from: Digest of everything that the training depends on; checkpoints with another digest are not used.
    """

    folder: Path
    every: int
    made_from: str


@dataclass(frozen=True)
class Marker(Strict):
    """What a checkpoint's marker says.

    Attributes:
        made_from: As in `Checkpointing`.
        seconds: Seconds of training until the checkpoint.
        processes: Number of processes that saved it.
        files: Size in bytes and SHA-256 of each file, by name.
    """

    made_from: str
    seconds: Number
    processes: Count
    files: dict[str, tuple[Count, str]]


def newest_checkpoint(where: Checkpointing) -> Path | None:
    """The newest complete checkpoint, None where there is none. Newer checkpoints that are not complete are deleted.

    A damaged checkpoint is reported on stderr; one without a marker was being written when the training ended.
    """
    with explain_write_errors(where.folder):
        for path in sorted(where.folder.glob(CHECKPOINTS), key=step_of, reverse=True):
            if (path / MARKER).exists():
                marker, damage = _verify(path)
                if marker is None or damage:
                    print(
                        f"{path} is damaged ({damage}): training continues from the checkpoint before it, if any",
                        file=sys.stderr,
                    )
                elif marker.made_from == where.made_from:
                    return path
            _delete(path)
    return None


def write_marker(path: Path, made_from: str, seconds: float, processes: int, files: str = "**/*") -> None:
    """Sync a checkpoint's files and write its marker over those that match `files`, in place of an earlier marker."""
    (path / MARKER).unlink(missing_ok=True)
    contents: dict[str, tuple[int, str]] = {}
    for file in sorted(p for p in path.glob(files) if p.is_file()):
        sync_path(file)
        contents[str(file.relative_to(path))] = (file.stat().st_size, sha256(file))
    sync_folder(path)
    write_json(path / MARKER, asdict(Marker(made_from, seconds, processes, contents)))
    sync_path(path.parent)


def read_marker(path: Path) -> Marker:
    """The marker of a complete checkpoint."""
    return from_json(Marker, (path / MARKER).read_bytes())


def find_damage(path: Path) -> str:
    """What is wrong with a checkpoint's files, by its marker; empty where they are complete, or there is no marker."""
    return _verify(path)[1] if (path / MARKER).exists() else ""


def prune_checkpoints(folder: Path) -> None:
    """Delete all but the newest complete checkpoints."""
    complete = sorted((m.parent for m in folder.glob(f"{CHECKPOINTS}/{MARKER}")), key=step_of)
    for path in complete[:-KEPT]:
        _delete(path)


def step_of(path: Path) -> int:
    """The step of a checkpoint, from its name."""
    return int(path.name.rpartition("-")[2])


def write_error(folder: Path, error: Exception) -> Unavailable:
    """The error to raise where weights could not be written to a folder."""
    why = str(error).splitlines()[0]
    return Unavailable(
        f"{folder} cannot be written ({why}): free some space there and repeat the command, which continues from the "
        "last complete checkpoint"
    )


def _delete(path: Path) -> None:
    # the marker first, so that a deletion which is cut short leaves no complete checkpoint
    (path / MARKER).unlink(missing_ok=True)
    shutil.rmtree(path)


def _verify(path: Path) -> tuple[Marker | None, str]:
    """A checkpoint's marker, None if it cannot be read, and what is wrong with its files; empty if nothing is."""
    try:
        marker = read_marker(path)
    except (OSError, ValueError) as error:
        return None, f"{MARKER} is not readable: {error}"
    for name, (size, digest) in marker.files.items():
        file = path / name
        if not file.is_file():
            return marker, f"{name} is missing"
        if file.stat().st_size != size:
            return marker, f"{name} has {file.stat().st_size} bytes instead of {size}"
        if sha256(file) != digest:
            return marker, f"{name} has other bytes than were written"
    return marker, ""
