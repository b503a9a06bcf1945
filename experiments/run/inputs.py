"""What a run reads: prompts, preference pairs and checkpoints; and what identifies them in its record."""

import hashlib
import json
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from cme import Unavailable
from cme.data import files
from cme.data.files import Copy
from cme.grading.answers import gold_answer
from cme.grading.constraints import ConstrainedPrompt
from cme.records import Conversation, Pair, Preference, Prompt, read_json, write_json
from experiments.config.runs import Run
from experiments.config.schema import Data
from experiments.config.trainers import Dpo
from experiments.config.validation import as_bad_config
from experiments.run import cell
from experiments.run.store import Store, trains

PACKAGES = ("torch", "transformers", "trl", "hydra-core", "accelerate", "datasets")
"""Packages whose versions are in the record."""


def load_prompts(data: Data, split: str, count: int) -> list[Prompt]:
    """`count` prompts of a split; a gold answer that cannot be read is left out (`cme.grading.answers.gold_answer`).

    Raises Unavailable for data that is not available, BadConfig if there are fewer.
    """
    with as_bad_config(f"data={data.name}"):
        prompts = cast("list[Prompt]", data.source.instantiate(split=split, count=count, seed=data.seed))
    if data.answers == "none":
        return prompts
    readable = [gold_answer(p.answer, data.answers) is not None for p in prompts]
    return [p if known else replace(p, answer=None) for p, known in zip(prompts, readable, strict=True)]


def training_prompts(run: Run) -> list[Prompt]:
    """The prompts that a run trains on. Raises as `load_prompts` does."""
    return load_prompts(run.data, run.data.train_split, run.data.train_prompts)


def evaluation_prompts(run: Run) -> list[Prompt]:
    """The prompts that a run is evaluated on. Raises as `load_prompts` does."""
    return load_prompts(run.data, run.data.eval_split, run.data.eval_prompts)


def load_preferences(run: Run) -> list[Preference]:
    """The preference pairs of a run's training prompts.

    Raises Unavailable if the data is not available, BadConfig for prompts without pairs.
    """
    assert isinstance(run.trainer, Dpo) and run.trainer.pairs is not None
    prompts = training_prompts(run)
    with as_bad_config(f"trainer.pairs with data={run.data.name}"):
        return cast("list[Preference]", run.trainer.pairs.instantiate(prompts=prompts, seed=run.data.seed))


def pair_prompts(pairs: Sequence[Pair]) -> list[Prompt]:
    """The prompts of recorded pairs."""
    return [
        Prompt(p.prompt_id, p.prompt, p.answer, p.reference)
        if p.messages is None
        else Conversation(p.prompt_id, p.prompt, p.answer, p.reference, p.messages)
        for p in pairs
    ]


def data_copies(run: Run) -> list[Copy]:
    """What the prompts of a run are read from if they come from the hub. Raises BadConfig for conflicting settings."""
    with as_bad_config(f"data={run.data.name}"):
        return list(_call_source(run, "copies"))


def file_problems(run: Run) -> list[str]:
    """A sentence for each file of the user's own prompts that cannot be used."""
    return list(_call_source(run, "missing"))


def constraints(run: Run, prompts: Sequence[str]) -> list[ConstrainedPrompt] | None:
    """The verifiable constraints of prompts, given their texts; None for data without constraints."""
    if "constraints" not in _source_module(run):
        return None
    return [_call_source(run, "constraints", prompt) for prompt in prompts]


def _call_source(run: Run, function: str, *arguments: Any) -> Any:
    """The result of an optional function of a data source's module (see `cme.data`); empty if it has none."""
    found = _source_module(run).get(function)
    return () if found is None else found(*arguments, **run.data.source.arguments)


def _source_module(run: Run) -> dict[str, Any]:
    return vars(import_module(run.data.source.target.rpartition(".")[0]))


def training_checkpoints(run: Run) -> list[str]:
    """The distinct names of the checkpoints that the training of a run loads."""
    names = [*run.verifiers, run.generator, run.heldout_verifier]
    names += [judge.arguments.get("checkpoint") for judge in run.reward_judges.values()]
    return list(dict.fromkeys(name for name in names if name))


def resolve_weights(names: Iterable[str], tokenizers_of: Collection[str] = ()) -> dict[str, str]:
    """Make checkpoints loadable, and return what identifies the weights of each by its name.

    That is the commit of a checkpoint on the hub, the name of the folder, which contains a digest, of one that is
    converted here, this name with a digest of the weights for one that is trained here, and the name of a local folder
    itself. Of `tokenizers_of`, only the tokenizers are made loadable. Raises as `cme.checkpoints.ensure` does.
    """
    from cme.checkpoints import RANDOM, ensure
    from cme.miniature.models import weights_identity

    found = {}
    for name, place in ensure(list(names), tokenizers_of).items():
        if name.removeprefix(RANDOM).startswith(("miniature:", "tuned:")):
            found[name] = weights_identity(Path(place))
        else:
            found[name] = name if place == name else Path(place).name
    return found


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
    """The `environment` of a record: this process, the weights, and the commits of the data, which are recorded.

    Raises as `record_commits` does.
    """
    commits = record_commits(run, weights, tasks)
    return environment() | commits | {f"weights of {name}": found for name, found in weights.items()}


def record_commits(run: Run, checkpoints: Iterable[str], tasks: Sequence[str] = ()) -> dict[str, str]:
    """Write the commits of checkpoints and of the run's data to `commits.json`, and return those of the data.

    The file in the folder of the training, which runs share, has what the training depends on, and that of the run has
    all. The data are those of the prompts and of the capability `tasks`. Raises Unavailable for a run that began with
    others.
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
    """The commits in the local cache of those checkpoints, and of the run's data sets, that are on the hub.

    Local data have digests in place of commits; local checkpoints have none.
    """
    from cme.checkpoints import commit as checkpoint_commit

    commits = {f"weights of {name}": checkpoint_commit(name) for name in checkpoints}
    commits |= {f"data of {name}": found for name, found in _data_versions(run).items()}
    return {key: commit for key, commit in commits.items() if commit is not None}


def _data_versions(run: Run) -> dict[str, str | None]:
    """The commit of each data set on the hub, and the digest of each local file, that the run's prompts are read from.

    None for one that is not there. That of the training prompts comes first.
    """
    versions = {copy.source.name: copy.version for copy in data_copies(run)}
    return versions | {path: files.version(path) for path in _call_source(run, "own_files")}


def commits_files(run: Run) -> list[Path]:
    """The files with the commits that a run and its training began with; a probe has no training."""
    folders = [cell.record_path(run).parent, *([Store(run).trained] if trains(run) else [])]
    return [folder / "commits.json" for folder in folders]
