"""Availability of repositories on the hub, checked quickly: one request per repository, a short timeout, no retries."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
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
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    sentences, reachable = [], not constants.is_offline_mode()
    for repository in dict.fromkeys(wanted):
        reason: str | None = None
        try:
            cached = try_to_load_from_cache(repository.name, repository.file, repo_type=repository.kind)
        except HFValidationError:
            cached = None
            reason = f"is neither a folder with a {repository.file} nor a name of the form owner/name"
        if isinstance(cached, str) and Path(cached).exists():
            continue
        if reason is None and reachable:
            reachable, reason = _ask_hub(repository)
        if reason is None and not reachable:
            offline = constants.is_offline_mode()
            option = "--repo-type dataset " * (repository.kind == "dataset")
            why = "HF_HUB_OFFLINE forbids asking the hub" if offline else "the hub cannot be reached"
            instead = "name a local copy (data.source.path=...)" if option else "use scale=miniature"
            reason = (
                f"is not in the local cache and {why}: run `hf download {option}{repository.name}` where there is "
                f"a connection and copy the cache, or {instead}"
            )
        if reason is not None:
            kind = "checkpoint" if repository.kind == "model" else "data set"
            sentences.append(f"{kind} {repository.name} {reason}")
    return sentences


def _ask_hub(repository: Repository) -> tuple[bool, str | None]:
    """Whether the hub can be reached, and why it does not give the repository; None if it does."""
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url

    page = f"{constants.ENDPOINT}/{'datasets/' * (repository.kind == 'dataset')}{repository.name}"
    url = hf_hub_url(repository.name, repository.file, repo_type=repository.kind)
    try:
        get_hf_file_metadata(url, timeout=TIMEOUT)
    except errors.GatedRepoError:
        return True, f"is gated: accept its licence at {page}, then run `hf auth login`"
    except errors.RepositoryNotFoundError:
        login = f"run `hf auth login` if {page} shows it to you"
        return True, f"is not on the hub, or private: check its spelling, or {login}"
    except errors.EntryNotFoundError:
        return True, f"has no {repository.file}: see {page}"
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        return True, f"is refused by the hub with status {status}: see {page}, or try later"
    except (_transport_error(), OSError):
        return False, None
    return True, None


def _transport_error() -> type[Exception]:
    """The error of the hub's client without a connection: version 1, which vLLM requires, uses httpx, 2 httpx2."""
    import huggingface_hub

    client = "httpx" if huggingface_hub.__version__.startswith("1.") else "httpx2"
    error: type[Exception] = import_module(client).TransportError
    return error
