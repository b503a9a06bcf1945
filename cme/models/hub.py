"""Repositories on the hub: whether they are available, and their snapshots in the hub's local cache.

A snapshot in the cache is used as it is, without asking the hub for a newer one. Availability is checked quickly: one
request per repository, a short timeout, no retries.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cme import Unavailable
from cme.models.download import download, transport_error
from cme.records import BadFile, read_json

TIMEOUT = 5.0  # seconds
MODEL_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
WEIGHTS = "*.safetensors"
NOT_READ = ("original/*", "consolidated*")
"""Other copies of the weights, which some repositories have."""


@dataclass(frozen=True)
class Repository:
    """A model or data set on the hub.

    Attributes:
        file: A file that loading it needs; None for a data set that is read as a whole.
        revision: A commit, tag or branch; None for the main branch.
        weights: Whether a model's weights are needed, and not only its tokenizer and configuration.
    """

    name: str
    kind: Literal["model", "dataset"] = "model"
    file: str | None = "config.json"
    revision: str | None = None
    weights: bool = False

    @property
    def title(self) -> str:
        """What messages call it, such as `checkpoint owner/name@revision`."""
        kind = "checkpoint" if self.kind == "model" else "data set"
        return f"{kind} {self.name}" + (f"@{self.revision}" if self.revision else "")

    @property
    def download_command(self) -> str:
        """The shell command that downloads it."""
        option = "--repo-type dataset " * (self.kind == "dataset")
        revision = f" --revision {self.revision}" if self.revision else ""
        return f"hf download {option}{self.name}{revision}"


def checkpoint_repository(name: str, weights: bool = True) -> Repository:
    """The repository of a checkpoint by its name, `owner/name` or `owner/name@revision`."""
    name, _, revision = name.partition("@")
    return Repository(name, revision=revision or None, weights=weights)


def cached_snapshot(repository: Repository) -> Path | None:
    """The folder of a repository's snapshot in the local cache, named by its commit.

    None if there is none, or if it lacks a file that is needed. Raises HFValidationError for a name that the hub cannot
    have.
    """
    from huggingface_hub import snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError

    name, kind, revision = repository.name, repository.kind, repository.revision
    if repository.file is None:
        try:
            return Path(snapshot_download(name, repo_type=kind, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:  # absent or incomplete
            return None
    file = try_to_load_from_cache(name, repository.file, repo_type=kind, revision=revision)
    if not (isinstance(file, str) and Path(file).exists()):
        return None
    folder = Path(file).parent
    return None if repository.weights and missing_weights(folder) else folder


def missing_weights(folder: Path) -> list[str]:
    """The weight files, in safetensors, that a model's folder lacks; empty if it is complete.

    Raises BadFile for an index of weight files that cannot be read.
    """
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    try:
        if index.exists() and not (folder / "model.safetensors").exists():
            names = set(read_json(index)["weight_map"].values())
        return sorted(name for name in names if not (folder / name).exists())
    except (AttributeError, LookupError, TypeError) as error:
        raise BadFile(f"{index} is not an index of weight files: get the checkpoint again") from error


def count_parameters(folder: Path) -> int:
    """Number of parameters in the weight files of a model's folder; only their headers are read.

    Raises Unavailable for a damaged file.
    """
    from safetensors import SafetensorError, safe_open

    count = 0
    for path in folder.glob("model*.safetensors"):
        try:
            with safe_open(path, "numpy") as file:
                count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except SafetensorError as error:
            raise Unavailable(f"{path} is damaged ({error}): get the checkpoint again") from error
    return count


@functools.cache  # so that a process uses one commit, even if the cache is updated meanwhile
def fetch_snapshot(repository: Repository) -> Path:
    """The folder of a repository's snapshot, downloaded unless it is in the local cache.

    Raises Unavailable if it cannot be downloaded or has no weights in safetensors.
    """
    if (folder := cached_snapshot(repository)) is not None:
        return folder
    wanted = None if repository.file is None else [repository.file]
    if repository.kind == "model":
        wanted = [*MODEL_FILES, *([WEIGHTS] if repository.weights else [])]
    place, failure = download(
        {
            "repo_id": repository.name,
            "repo_type": repository.kind,
            "revision": repository.revision,
            "allow_patterns": wanted,
            "ignore_patterns": list(NOT_READ),
        }
    )
    if failure:
        raise Unavailable(
            f"{repository.title} cannot be downloaded ({failure}): repeat the command, which continues the download, "
            f"or run `{repository.download_command}`"
        )
    if repository.weights and (lacking := missing_weights(Path(place))):
        raise Unavailable(f"{repository.title} has no {lacking[0]}; weights must be in safetensors")
    return Path(place)


def missing_repositories(wanted: Sequence[Repository]) -> list[str]:
    """Sentences about the repositories that cannot be loaded here: why not, and what to do about it.

    Repositories in the hub's cache are available. For the others the hub is asked, unless HF_HUB_OFFLINE forbids it.
    After the first failed connection it is not asked again. Those that it cannot be asked for share one sentence.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError

    sentences, absent, reachable = [], [], not constants.is_offline_mode()
    for repository in dict.fromkeys(wanted):
        reason: str | None = None
        try:
            if cached_snapshot(repository) is not None:
                continue
        except HFValidationError:
            reason = f"is neither a folder with a {repository.file} nor a name of the form owner/name"
        if reason is None and reachable:
            reachable, reason = _ask_hub(repository)
        if reason is not None:
            sentences.append(f"{repository.title} {reason}")
        elif not reachable:
            absent.append(repository)
    return [*sentences, _not_cached(absent)] if absent else sentences


def _not_cached(absent: Sequence[Repository]) -> str:
    """The sentence about repositories for which the hub cannot be asked."""
    from huggingface_hub import constants

    first = absent[0]
    partly = cached_snapshot(replace(first, weights=False)) if first.weights else None
    what = f"{first.title} is not in the local cache"
    if partly:
        what = f"{first.title} is in the local cache without its {missing_weights(partly)[0]}"
    if len(absent) > 1:
        what += f", {len(absent) - 1} more are missing or incomplete there,"
    why = "the hub cannot be reached"
    if constants.is_offline_mode():
        why = "HF_HUB_OFFLINE forbids asking the hub"
    commands = " && ".join(repository.download_command for repository in absent)
    instead = []
    if any(repository.kind == "dataset" for repository in absent):
        instead.append("name local copies of the data (data.source.path=...)")
    if any(repository.kind == "model" for repository in absent):
        instead.append("use scale=miniature")
    return (
        f"{what} and {why}: run `{commands}` where there is a connection and copy the cache, or "
        f"{', or '.join(instead)}"
    )


def _ask_hub(repository: Repository) -> tuple[bool, str | None]:
    """Whether the hub can be reached, and why it does not give the repository; None if it does."""
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url

    page = f"{constants.ENDPOINT}/{'datasets/' * (repository.kind == 'dataset')}{repository.name}"
    file = repository.file or "README.md"
    url = hf_hub_url(repository.name, file, repo_type=repository.kind, revision=repository.revision)
    try:
        get_hf_file_metadata(url, timeout=TIMEOUT)
    except errors.GatedRepoError:
        return True, f"is gated: accept its licence at {page}, then run `hf auth login`"
    except errors.RepositoryNotFoundError:
        login = f"run `hf auth login` if {page} shows it to you"
        return True, f"is not on the hub, or private: check its spelling, or {login}"
    except errors.RevisionNotFoundError:
        return True, f"has no such revision: see {page}/commits/main"
    except errors.EntryNotFoundError:
        return True, f"has no {file}: see {page}"
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        return True, f"is refused by the hub with status {status}: see {page}, or try later"
    except (transport_error(), OSError):
        return False, None
    return True, None
