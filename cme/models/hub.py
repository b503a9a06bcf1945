"""What can be had from the hub, asked quickly: one request a repository, a short timeout, no retries."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TIMEOUT = 5.0  # seconds


@dataclass(frozen=True)
class Repository:
    """A model or a data set on the hub; `file` is one that it has, and that whoever loads it needs."""

    name: str
    kind: Literal["model", "dataset"] = "model"
    file: str = "config.json"


def missing_repositories(wanted: Sequence[Repository]) -> list[str]:
    """One sentence on each repository that cannot be had here: why not, and what to do about it.

    What is in the hub's cache can be had. The hub is asked for the rest, unless HF_HUB_OFFLINE forbids it; once it
    cannot be reached it is not asked again.
    """
    from huggingface_hub import constants

    found, reachable = [], not constants.is_offline_mode()
    for repository in dict.fromkeys(wanted):
        what = "checkpoint" if repository.kind == "model" else "data set"
        try:
            if _cached(repository):
                continue
            if reachable:
                reachable = _reach(repository)
            if not reachable:
                raise _Missing(_unreachable(repository, constants.is_offline_mode()))
        except _Missing as reason:
            found.append(f"{what} {repository.name} {reason}")
    return found


class _Missing(Exception):
    """Why a repository cannot be had, as the rest of a sentence that begins with its name."""


def _cached(repository: Repository) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        place = try_to_load_from_cache(repository.name, repository.file, repo_type=repository.kind)
    except HFValidationError as error:
        raise _Missing(
            f"is neither a folder with a {repository.file} nor of the form owner/name that the hub has"
        ) from error
    return isinstance(place, str) and Path(place).exists()


def _reach(repository: Repository) -> bool:
    """Whether the hub could be reached; raises _Missing where it was and does not give the repository."""
    from httpx2 import TransportError
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
    )

    page = f"{constants.ENDPOINT}/{'datasets/' * (repository.kind == 'dataset')}{repository.name}"
    try:
        get_hf_file_metadata(
            hf_hub_url(repository.name, repository.file, repo_type=repository.kind), timeout=TIMEOUT
        )
    except GatedRepoError as error:
        raise _Missing(f"is gated: accept its licence at {page}, then run `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise _Missing(
            f"is not on the hub, or private: check its spelling, or run `hf auth login` if {page} shows it to you"
        ) from error
    except EntryNotFoundError as error:
        raise _Missing(f"has no {repository.file}: see {page}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise _Missing(f"is refused by the hub with status {status}: see {page}, or try later") from error
    except (TransportError, OSError):
        return False
    return True


def _unreachable(repository: Repository, offline: bool) -> str:
    option = "--repo-type dataset " * (repository.kind == "dataset")
    instead = "name a local copy (data.source.path=...)" if option else "use scale=miniature"
    why = "HF_HUB_OFFLINE forbids to ask the hub" if offline else "the hub cannot be reached"
    return (
        f"is not in the local cache and {why}: run `hf download {option}{repository.name}` where there is a "
        f"connection and copy the cache, or {instead}"
    )
