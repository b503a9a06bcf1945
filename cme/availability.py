"""Which checkpoints can be loaded, and where their files are. Imports neither torch nor transformers.

So a command that lacks a checkpoint says so at once. `cme.checkpoints` loads checkpoints, and its docstring lists the
forms of their names.
"""

from collections.abc import Callable, Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from cme import Unavailable
from cme.miniature import models as miniature
from cme.models import fine_tuned, hub, packages
from cme.runtime.extras import install_command

Quantization = Literal["8bit"]
LOCAL: dict[str, tuple[Callable[[str], str | None], Callable[[str], Path]]] = {
    "package": (packages.missing_parts, packages.convert),
    "tuned": (fine_tuned.missing_weights, fine_tuned.folder),
    "miniature": (miniature.missing_weights, miniature.checkpoint_folder),
}
"""By the first part of a checkpoint's name: why it cannot be loaded, and its folder, which may be made first."""
RANDOM = "random:"
TOKENIZER_FILES = ("tokenizer.json", "*.model", "*.model.v*", "vocab.*", "tekken*.json", "*.tiktoken")
"""Names of the files of a vocabulary. Without any, transformers makes a tokenizer that knows no text."""


def check_available(
    names: Sequence[str], tokenizers_of: Collection[str] = (), data: Sequence[hub.Repository] = ()
) -> None:
    """Check, before any work, that all named checkpoints can be loaded, of some only the tokenizers; and data sets.

    Raises Unavailable, with one line per problem, for names that are neither a folder nor in the hub's cache nor on the
    hub, and for folders without weights; ValueError for an unknown packaged or miniature model.
    """
    reasons, on_hub = [], []
    for name in dict.fromkeys(names):
        plain = name.removeprefix(RANDOM)
        kind, _, rest = plain.partition(":")
        needs_weights = plain == name and name not in tokenizers_of
        if kind in LOCAL:
            find_reason, _ = LOCAL[kind]
            if reason := find_reason(rest):
                reasons.append(reason)
        elif not _is_folder(plain):
            on_hub.append(hub.checkpoint_repository(plain, needs_weights))
        elif needs_weights and (lacking := hub.missing_weights(Path(plain))):
            reasons.append(f"checkpoint {plain} has no {lacking[0]}; weights must be in safetensors")
        elif not has_tokenizer(plain):
            reasons.append(
                f"checkpoint {plain} has no tokenizer.json or other vocabulary; save its tokenizer there"
            )
    if reasons := reasons + hub.missing_repositories([*on_hub, *data]):
        raise Unavailable("\n".join(reasons))


def ensure(names: Sequence[str], tokenizers_of: Collection[str] = ()) -> dict[str, str]:
    """Make the named checkpoints loadable, of some only the tokenizers; return the folder of each.

    Converts packaged files and downloads from the hub on first use. The folder of a checkpoint from
    the hub has the name of its commit. Raises as `check_available` and `hub.fetch_snapshot` do.
    """
    check_available(names, tokenizers_of)
    plain = {name: name.removeprefix(RANDOM) for name in names}
    places = {}
    for name, checkpoint in plain.items():
        kind, _, rest = checkpoint.partition(":")
        if kind in LOCAL:
            _, find_folder = LOCAL[kind]
            places[checkpoint] = str(find_folder(rest))
        elif not _is_folder(checkpoint):
            needs_weights = checkpoint == name and name not in tokenizers_of
            repository = hub.checkpoint_repository(checkpoint, needs_weights)
            places[checkpoint] = str(hub.fetch_snapshot(repository))
    return {name: places.get(checkpoint, checkpoint) for name, checkpoint in plain.items()}


def commit(name: str) -> str | None:
    """The commit of a checkpoint from the hub that is in the local cache, the digest of a fine-tuned one; else None."""
    checkpoint = name.removeprefix(RANDOM)
    kind, _, rest = checkpoint.partition(":")
    if kind == "tuned" and fine_tuned.missing_weights(rest) is None:
        return f"sha256:{fine_tuned.facts(rest)['sha256']}"
    if kind in LOCAL or _is_folder(checkpoint):
        return None
    folder = hub.cached_snapshot(hub.checkpoint_repository(checkpoint, weights=False))
    return None if folder is None else folder.name


def _is_folder(name: str) -> bool:
    return (Path(name) / "config.json").exists()


def has_tokenizer(folder: str) -> bool:
    """Whether a folder has the files of a vocabulary."""
    return any(next(Path(folder).glob(pattern), None) for pattern in TOKENIZER_FILES)


def check_quantization(quantization: str | None, verifiers: Sequence[str]) -> None:
    """Raise ValueError for a quantization that is impossible here or for these verifiers. Loads nothing."""
    if quantization is None:
        return
    if quantization not in get_args(Quantization):
        raise ValueError(
            f"quantization={quantization}; it must be {' or '.join(get_args(Quantization))}, or null"
        )
    if any(name.startswith(RANDOM) for name in verifiers):
        raise ValueError(f"quantization={quantization} of random weights; use quantization=null")
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            f"quantization={quantization} needs the package bitsandbytes, which is not installed: "
            f"{install_command('quantized')}, or use quantization=null"
        )
