"""Rows of a data set on the hub, in the hub's local cache, or in a local file or folder of the same format."""

import hashlib
import random
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cme import Unavailable
from cme.models import hub
from cme.runtime.files import sha256

if TYPE_CHECKING:
    from datasets import Dataset

Row = TypeVar("Row")
FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


@dataclass(frozen=True)
class Source:
    """A data set on the hub.

    Attributes:
        split: the split that is used.
        columns: the columns that are used.
        rows: the number of rows of the split as published.
        file: the only file that is read, if the repository also holds other data.
    """

    name: str
    split: str
    columns: tuple[str, ...]
    rows: int
    file: str | None = None


@dataclass(frozen=True)
class Copy:
    """Where a source is read from: a local file or folder, or the hub at a commit, tag or branch.

    Raises ValueError for a local copy with a revision.
    """

    source: Source
    path: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.path is not None and self.revision is not None:
            raise ValueError(
                f"{self.source.name} is read from {self.path}, which has no revision {self.revision}; give one of "
                "the two"
            )

    @property
    def repository(self) -> hub.Repository:
        """The repository on the hub."""
        return hub.Repository(self.source.name, "dataset", self.source.file, self.revision)

    @property
    def place(self) -> str:
        """The local copy, or the name on the hub, for messages."""
        return self.path or self.source.name

    @property
    def version(self) -> str | None:
        """The commit in the hub's local cache, or the digest of a local copy; None if there is neither."""
        if self.path is not None:
            return version(self.path)
        folder = hub.cached_snapshot(self.repository)
        return None if folder is None else folder.name


def missing(copy: Copy) -> list[str]:
    """A sentence with a remedy if the copy is not available, else nothing. Downloads nothing."""
    if copy.path is None:
        return hub.missing_repositories([copy.repository])
    if Path(copy.path).exists():
        return []
    return [f"{copy.source.name} must be read from {copy.path}, which does not exist"]


def version(path: str) -> str | None:
    """`sha256:` and a digest of a file, or of the files in a folder with their names; None if there is neither."""
    place = Path(path)
    if not place.exists():
        return None
    digest = hashlib.sha256()
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if file.is_file():
            digest.update(f"{sha256(file)} {file.relative_to(place)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def own_files(path: str | None = None, eval_path: str | None = None) -> list[str]:
    """The user's own files of prompts, that of the training prompts first; see `cme.data`."""
    return list(dict.fromkeys(p for p in (path, eval_path) if p is not None))


def read_rows(copy: Copy) -> Sequence[Mapping[str, Any]]:
    """The rows of a copy with only the source's columns.

    Raises Unavailable if the data is not available, and ValueError for files that cannot be read or lack a column, and
    for a copy of the hub's data with another number of rows than published.
    """
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    source = copy.source
    if why := missing(copy):
        raise Unavailable(why[0])
    hosted = copy.path is None
    place = hub.fetch_snapshot(copy.repository) / (source.file or "") if hosted else Path(str(copy.path))
    table = _table(place, source.split)
    if lacking := [c for c in source.columns if c not in table.column_names]:
        raise ValueError(
            f"{place} lacks the column {', '.join(lacking)}: it has {', '.join(table.column_names)}, but {source.name} "
            f"needs {', '.join(source.columns)}"
        )
    if hosted and len(table) != source.rows:
        raise ValueError(
            f"{source.name} has {len(table)} rows in the local cache, but {source.rows} were published: "
            f"run `{copy.repository.download_command}` to complete it; if the data set itself has changed, set "
            "data.source.revision to an earlier commit, or data.source.path to a copy of the published version"
        )
    rows: Sequence[Mapping[str, Any]] = table.select_columns(list(source.columns))
    return rows


def text(place: str, index: int, field: str, value: object) -> str:
    """A field of a row as it is. Raises ValueError that names place and row, counted from 1, if it is not a text."""
    if not isinstance(value, str):
        found = "null" if value is None else repr(value)[:60]
        raise ValueError(f"{place}, row {index + 1}: {field!r} is {found}; it must be a text")
    return value


def objects(place: str, index: int, field: str, value: object, keys: Set[str]) -> list[Mapping[str, Any]]:
    """A field of a row that is a list of objects with the keys. Raises ValueError, as `text` does, if it is not."""
    if not isinstance(value, list) or not all(
        isinstance(item, Mapping) and keys <= item.keys() for item in value
    ):
        found = "null" if value is None else repr(value)[:60]
        names = ", ".join(sorted(keys))
        raise ValueError(
            f"{place}, row {index + 1}: {field!r} is {found}; it must be a list of objects with {names}"
        )
    return value


def check_split(split: str, known: Sequence[str]) -> None:
    """Raise ValueError unless a split is one of the known ones."""
    if split not in known:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(known)}")


def sample_split(rows: Sequence[Row], count: int, split: str, seed: int, what: str) -> list[Row]:
    """A random sample of `count` rows of a split. Raises ValueError if there are fewer; `what` names them in it."""
    if count > len(rows):
        raise ValueError(f"split {split!r} has {len(rows)} {what}, but {count} were asked for")
    return random.Random(f"{split}:{seed}").sample(rows, count)


def sample_rows(source: Source, rows: int, count: int, seed: int) -> list[int]:
    """Indices of a random sample of `count` of `rows` rows. Raises ValueError if there are fewer."""
    if count > rows:
        raise ValueError(f"{source.name} has {rows} rows, but {count} were asked for")
    return random.Random(f"{source.name}:{seed}").sample(range(rows), count)


def _table(place: Path, split: str) -> "Dataset":
    """The rows of a file, or of a split of a folder. The only split of a folder is taken whatever its name."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    if place.is_file() and place.suffix not in FORMATS:
        raise ValueError(f"{place} has an unknown format; it must be one of {', '.join(FORMATS)}")
    try:
        if place.is_file():
            return load_dataset(FORMATS[place.suffix], data_files=str(place), split="train")
        splits = load_dataset(str(place))
    except (DatasetsError, FileNotFoundError, ValueError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ValueError(f"{place} cannot be read as a data set: {reason}") from error
    if split in splits:
        return splits[split]
    if len(splits) == 1:
        return next(iter(splits.values()))
    raise ValueError(f"{place} has no split {split}, only {', '.join(splits)}")
