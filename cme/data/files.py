"""Rows of a data set on the hub, in the hub's local cache, or in a local file or folder of the same format."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cme import Unavailable
from cme.models import hub

if TYPE_CHECKING:
    from datasets import Dataset

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

    @property
    def repository(self) -> hub.Repository:
        """The repository on the hub."""
        return hub.Repository(self.name, "dataset", self.file or "README.md")


def missing(source: Source, path: str | None) -> list[str]:
    """A sentence with a remedy if the source is not available, else nothing. Downloads nothing."""
    if path is None:
        return [] if _cached(source) else hub.missing_repositories([source.repository])
    return [] if Path(path).exists() else [f"{source.name} must be read from {path}, which does not exist"]


def read_rows(source: Source, path: str | None) -> Sequence[Mapping[str, Any]]:
    """The rows of a source with only its columns, from `path` or the hub.

    Raises Unavailable if the data is not available, and ValueError for files that cannot be read or lack a column, and
    for a copy of the hub's data with another number of rows than published.
    """
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    if why := missing(source, path):
        raise Unavailable(why[0])
    place = Path(path) if path is not None else _cached(source) or _download(source)
    table = _table(place, source.split)
    if lacking := [c for c in source.columns if c not in table.column_names]:
        raise ValueError(
            f"{place} lacks the column {', '.join(lacking)}: it has {', '.join(table.column_names)}, but {source.name} "
            f"needs {', '.join(source.columns)}"
        )
    if path is None and len(table) != source.rows:
        raise ValueError(
            f"{source.name} has {len(table)} rows in the local cache, but {source.rows} were published: "
            f"run `hf download --repo-type dataset {source.name}` to complete it; if the data set itself has changed, "
            "set data.source.path to a copy of the published version"
        )
    rows: Sequence[Mapping[str, Any]] = table.select_columns(list(source.columns))
    return rows


def sample_rows(source: Source, rows: int, count: int, seed: int) -> list[int]:
    """Indices of a random sample of `count` of `rows` rows. Raises ValueError if there are fewer."""
    if count > rows:
        raise ValueError(f"{source.name} has {rows} rows, but {count} were asked for")
    return random.Random(f"{source.name}:{seed}").sample(range(rows), count)


def _cached(source: Source) -> Path | None:
    """The file, or the folder of the whole repository, in the hub's local cache."""
    from huggingface_hub import snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError

    if source.file is not None:
        cached = try_to_load_from_cache(source.name, source.file, repo_type="dataset")
        return Path(cached) if isinstance(cached, str) else None
    try:
        return Path(snapshot_download(source.name, repo_type="dataset", local_files_only=True))
    except LocalEntryNotFoundError:  # absent or incomplete
        return None


def _download(source: Source) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download

    if source.file is not None:
        return Path(hf_hub_download(source.name, source.file, repo_type="dataset"))
    return Path(snapshot_download(source.name, repo_type="dataset"))


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
