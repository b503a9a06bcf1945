"""What identifies the inputs of a run in its record: versions, digests and the commits that the run began with."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from cme import Unavailable
from cme.data import files
from cme.records import Prompt, read_json, write_json
from experiments.config.runs import Run
from experiments.run import cell
from experiments.run.inputs import data_copies, own_files, training_checkpoints
from experiments.run.store import Store, trains

PACKAGES = ("torch", "transformers", "trl", "hydra-core", "accelerate", "datasets")
"""Packages whose versions are in the record."""


def fingerprint(prompts: Iterable[Prompt]) -> str:
    """SHA-256 of prompts in their order, with their ids, gold answers and references."""
    return hashlib.sha256(json.dumps([asdict(p) for p in prompts]).encode()).hexdigest()


def environment() -> dict[str, str]:
    """Versions and machine of this process for the record; nothing that identifies a person or a host."""
    import torch

    instructions = torch.backends.cpu.get_cpu_capability()  # results depend on them by rounding
    on_cpu = f"cpu ({instructions}), {torch.get_num_threads()} threads"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else on_cpu
    return {"python": platform.python_version(), "device": device} | {p: version(p) for p in PACKAGES}


def record_origin(run: Run, weights: Mapping[str, str], tasks: Sequence[str] = ()) -> dict[str, str]:
    """The `environment` of a record: this process, the weights, and the commits of the data, which it writes down."""
    commits = record_commits(run, weights, tasks)
    return environment() | commits | {f"weights of {name}": found for name, found in weights.items()}


def record_commits(run: Run, checkpoints: Iterable[str], tasks: Sequence[str] = ()) -> dict[str, str]:
    """Write the commits of checkpoints, prompts and capability `tasks` to `commits.json`; return those of the data.

    The file in the folder of the training, which runs share, has what the training depends on, and that of the run has
    all. Raises Unavailable for a run that began with others.
    """
    commits = cached_commits(run, checkpoints)
    if tasks:
        from cme.evaluation.capabilities import data_commits

        commits |= {f"data of {name}": commit for name, commit in data_commits(tasks).items()}
    if problems := changed_commits(run, commits):
        raise Unavailable("\n".join(problems))
    training = {f"weights of {name}" for name in training_checkpoints(run)}
    training |= {f"data of {name}" for name in list(_data_versions(run))[:1]}
    for path in commits_files(run):
        shared = path.parent == Store(run).trained
        own = {key: commit for key, commit in commits.items() if key in training or not shared}
        recorded = read_json(path) if path.exists() else {}
        if not own.items() <= recorded.items():
            write_json(path, recorded | own)
    return {key: commit for key, commit in commits.items() if key.startswith("data of ")}


def changed_commits(run: Run, commits: Mapping[str, str]) -> list[str]:
    """A sentence for each of these commits that is not the one which the run, or its training, began with."""
    recorded = {path.parent: read_json(path) for path in commits_files(run) if path.exists()}
    sentences = []
    for key, commit in commits.items():
        others = {folder: own[key] for folder, own in recorded.items() if own.get(key, commit) != commit}
        if not others:
            continue
        kind, _, name = key.partition(" of ")
        before, now = f"at commit {next(iter(others.values()))}", f"at {commit}"
        if commit.startswith("sha256:"):
            before, now = "with other contents", "not as it was then"
            remedy = "another name for the new contents"
        elif kind == "data":
            remedy = f"data.source.revision={commit}"
        else:
            remedy = f"the name {name.partition('@')[0]}@{commit}"
        sentences.append(
            f"{next(iter(others)).name} was made with {name} {before}, and {name} is {now} here, which is another run: "
            f"use {remedy}, or another results_dir, or move {' and '.join(map(str, others))} away"
        )
    return sentences


def cached_commits(run: Run, checkpoints: Iterable[str]) -> dict[str, str]:
    """The commits of checkpoints and data sets in the local cache; the digests of local data."""
    from cme.availability import commit as checkpoint_commit

    commits = {f"weights of {name}": checkpoint_commit(name) for name in checkpoints}
    commits |= {f"data of {name}": found for name, found in _data_versions(run).items()}
    return {key: commit for key, commit in commits.items() if commit is not None}


def _data_versions(run: Run) -> dict[str, str | None]:
    """The commit of each data set, and the digest of each file, of the run's prompts; those for training come first."""
    versions = {copy.source.name: copy.version for copy in data_copies(run)}
    return versions | {path: files.version(path) for path in own_files(run)}


def commits_files(run: Run) -> list[Path]:
    """The files with the commits that a run and its training began with; a probe has no training."""
    folders = [cell.record_path(run).parent, *([Store(run).trained] if trains(run) else [])]
    return [folder / "commits.json" for folder in folders]
