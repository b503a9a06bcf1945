"""Availability of repositories on the hub, checked quickly: one request per repository, a short timeout, no retries."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TIMEOUT = 5.0  # seconds


@dataclass(frozen=True)
class Repository:
    """A model or data set on the hub. `file` is a file that loading it needs."""

    name: str
    kind: Literal["model", "dataset"] = "model"
    file: str = "config.json"


def missing_repositories(wanted: Sequence[Repository]) -> list[str]:
    """One sentence for each repository that cannot be loaded here: why not, and what to do about it.

    Repositories in the hub's cache are available. For the others the hub is asked, unless HF_HUB_OFFLINE forbids it.
    After the first failed connection it is not asked again.
    """
    from huggingface_hub import constants

    reasons, reachable = [], not constants.is_offline_mode()
    for repository in dict.fromkeys(wanted):
        what = "checkpoint" if repository.kind == "model" else "data set"
        try:
            if _is_cached(repository):
                continue
            if reachable:
                reachable = _is_on_hub(repository)
            if not reachable:
                offline = constants.is_offline_mode()
                option = "--repo-type dataset " * (repository.kind == "dataset")
                why = "HF_HUB_OFFLINE forbids asking the hub" if offline else "the hub cannot be reached"
                instead = "name a local copy (data.source.path=...)" if option else "use scale=miniature"
                raise _Missing(
                    f"is not in the local cache and {why}: run `hf download {option}{repository.name}` where there is "
                    f"a connection and copy the cache, or {instead}"
                )
        except _Missing as reason:
            reasons.append(f"{what} {repository.name} {reason}")
    return reasons


class _Missing(Exception):
    """Why a repository is not available, as the rest of a sentence that begins with its name."""


def _is_cached(repository: Repository) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        place = try_to_load_from_cache(repository.name, repository.file, repo_type=repository.kind)
    except HFValidationError as error:
        raise _Missing(
            f"is neither a folder with a {repository.file} nor a name of the form owner/name, as the hub has them"
        ) from error
    return isinstance(place, str) and Path(place).exists()


def _is_on_hub(repository: Repository) -> bool:
    """Whether the hub has the repository; False if it cannot be reached. Raises _Missing if it refuses or has not."""
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
