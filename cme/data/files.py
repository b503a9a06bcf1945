"""The rows of a data set: from the hub, from its cache, or from a local file or folder in the same format."""

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
    """A data set on the hub: the split and the columns that are used of it, and how many rows that split has.

    `file` is the only one that is read, where the repository holds other things too.
    """

    name: str
    split: str
    columns: tuple[str, ...]
    rows: int
    file: str | None = None

    @property
    def repository(self) -> hub.Repository:
        """Where it lies on the hub."""
        return hub.Repository(self.name, "dataset", self.file or "README.md")


def missing(source: Source, path: str | None) -> list[str]:
    """What is to be done before the rows can be read, a sentence, or nothing. Nothing is downloaded."""
    if path is not None:
        return (
            [] if Path(path).exists() else [f"there is no file or folder {path} to read {source.name} from"]
        )
    return [] if _cached(source) else hub.missing_repositories([source.repository])


def read_rows(source: Source, path: str | None) -> Sequence[Mapping[str, Any]]:
    """The rows of a source, with its columns alone.

    Raises Unavailable for what cannot be had, and ValueError for files that cannot be read, that lack a column, or
    that are from the hub and fewer or more rows than they should be.
    """
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    if why := missing(source, path):
        raise Unavailable(why[0])
    place = Path(path) if path is not None else _cached(source) or _downloaded(source)
    table = _table(place, source.split)
    if lacking := [c for c in source.columns if c not in table.column_names]:
        raise ValueError(
            f"{place} lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}: it has "
            f"{', '.join(table.column_names)}, and {source.name}'s {', '.join(source.columns)} are needed"
        )
    if path is None and len(table) != source.rows:
        raise ValueError(
            f"{source.name} has {len(table)} rows in the local cache, but {source.rows} as it was published: "
            f"`hf download --repo-type dataset {source.name}` completes it; if the data set itself has changed, name a "
            "copy of the published one (data.source.path=...)"
        )
    rows: Sequence[Mapping[str, Any]] = table.select_columns(list(source.columns))
    return rows


def sample_rows(source: Source, rows: int, count: int, seed: int) -> list[int]:
    """`count` of so many rows, by seed. Raises ValueError where there are fewer."""
    if count > rows:
        raise ValueError(f"{source.name} has {rows} rows, {count} asked for")
    return random.Random(f"{source.name}:{seed}").sample(range(rows), count)


def _cached(source: Source) -> Path | None:
    """The file, or the folder of the whole repository, in the hub's cache."""
    from huggingface_hub import snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError

    if source.file is not None:
        found = try_to_load_from_cache(source.name, source.file, repo_type="dataset")
        return Path(found) if isinstance(found, str) else None
    try:
        return Path(snapshot_download(source.name, repo_type="dataset", local_files_only=True))
    except LocalEntryNotFoundError:  # nothing of it, or known not to be all of it
        return None


def _downloaded(source: Source) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download

    if source.file is not None:
        return Path(hf_hub_download(source.name, source.file, repo_type="dataset"))
    return Path(snapshot_download(source.name, repo_type="dataset"))


def _table(place: Path, split: str) -> "Dataset":
    """A file's rows, or those of a folder's split; of its only one, if it has no other."""
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
    raise ValueError(f"{place} has no split {split}; it has {', '.join(splits)}")
