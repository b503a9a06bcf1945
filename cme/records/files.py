"""Reading and writing JSON files. A file is complete or absent at any time, and every error names it."""

import errno
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from cme import Unavailable
from cme.records.codec import BadFile, Strict, find_unwritable, from_json, parse_json
from cme.records.run import RunRecord

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound=Strict)

REMEDIES = {
    errno.ENOSPC: "free some space there and repeat the command, which continues where it stopped",
    errno.EDQUOT: "free some of your quota there and repeat the command, which continues where it stopped",
    errno.EROFS: "write elsewhere, such as with results_dir=...",
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST), "a file is in the place of a folder: move it away, or write elsewhere"
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM), "make it writable, or write elsewhere, such as with results_dir=..."
    ),
}


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Raise Unavailable, with reason and remedy, if the file system refuses to write `path`."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        remedy = REMEDIES.get(error.errno or 0, "no complete file is lost")
        raise Unavailable(f"{path} cannot be written ({why}): {remedy}") from error


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write JSON atomically: to a temporary file, which is synced and then renamed.

    Without `durable` nothing is synced: another process sees the old file or the new one, but a crash of the machine
    may lose it. Raises Unavailable if the file system refuses, and BadFile for a value that the file cannot hold, such
    as nan, which is then written beside it. An older file stays as it was.
    """
    try:
        content = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        aside = path.with_name(f"{path.name}.unwritable")
        _write(aside, json.dumps(value, default=repr).encode(), durable=True)
        raise BadFile(
            f"{path} cannot be written: {find_unwritable(value) or error}. All of it is in {aside}: correct it there, "
            f"rename the file to {path.name}, and repeat the command"
        ) from error
    _write(path, content, durable)


def _write(path: Path, content: bytes, durable: bool) -> None:
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        if durable:
            sync_path(path.parent)  # the new name


def sync_path(path: Path) -> None:
    """Sync the bytes of one file, or the names in one folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises BadFile, naming the file, for one that is not JSON."""
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise BadFile(f"{path} is not JSON: {error}") from error


def write_record(path: Path, record: "DataclassInstance") -> None:
    """Write a record of any kind atomically. Raises as `write_json` does."""
    write_json(path, asdict(record))


@overload
def read_record(path: Path) -> RunRecord: ...
@overload
def read_record(path: Path, kind: type[R]) -> R: ...
def read_record(path: Path, kind: type[Any] = RunRecord) -> Any:
    """Read a record of the given kind. Raises BadFile, naming file and field, for a bad record or another schema."""
    try:
        text = path.read_bytes()
        raw = parse_json(text)
        schema = kind.__dataclass_fields__.get("schema")
        if schema is not None and raw["schema"] != schema.default:
            raise ValueError(f"schema is {raw['schema']}; this version reads schema {schema.default}")
        record = from_json(kind, text)
        record.check()
    except JSONDecodeError as error:
        remedy = "move it away and repeat the command that wrote it"
        raise BadFile(f"{path} is not a readable record: {error}; {remedy}") from error
    except KeyError as error:
        raise BadFile(f"{path} is not a readable record: it has no field {error}") from error
    except (TypeError, ValueError) as error:
        raise BadFile(f"{path} is not a readable record: {error}") from error
    return record


def record_files(directories: Iterable[Path], name: str) -> list[Path]:
    """The files `name` and `*.name` under the directories, each once even if directories overlap.

    Raises FileNotFoundError for a missing directory.
    """
    files = set()
    for directory in directories:
        if not directory.is_dir():
            raise FileNotFoundError(f"{directory} is not a directory")
        files |= {
            Path(os.path.realpath(path))  # `resolve` raises RuntimeError for a link to itself
            for path in directory.rglob(f"*{name}")
            if path.name == name or path.name.endswith(f".{name}")
        }
    return sorted(files)
