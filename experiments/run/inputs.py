"""What a run reads: prompts, preference pairs and checkpoints; and the versions of them that it began with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from cme import Unavailable
from cme.data import files
from cme.data.files import Copy
from cme.grading.answers import gold_answer
from cme.grading.constraints import ConstrainedPrompt
from cme.records import Preference, Prompt, read_json, write_json
from experiments.config import identity, schema
from experiments.config.runs import Run
from experiments.config.schema import Data, Dpo
from experiments.config.validation import BadConfig
from experiments.run import cell
from experiments.run.store import Store


def load_prompts(data: Data, split: str, count: int) -> list[Prompt]:
    """`count` prompts of a split; a gold answer that cannot be read is left out (`cme.grading.answers.gold_answer`).

    Raises Unavailable for data that is not available, BadConfig if there are fewer.
    """
    try:
        prompts = cast("list[Prompt]", data.source.instantiate(split=split, count=count, seed=data.seed))
    except ValueError as error:
        raise BadConfig(f"data={data.name}: {error}") from error
    if data.answers == "none":
        return prompts
    readable = [gold_answer(p.answer, data.answers) is not None for p in prompts]
    return [p if known else replace(p, answer=None) for p, known in zip(prompts, readable, strict=True)]


def data_copies(run: Run) -> list[Copy]:
    """What the prompts of a run are read from if they come from the hub. Raises BadConfig for conflicting settings."""
    copies = _source_module(run).get("copies")
    try:
        return [] if copies is None else cast("list[Copy]", copies(**run.data.source.arguments))
    except ValueError as error:
        raise BadConfig(f"data={run.data.name}: {error}") from error


def data_versions(run: Run) -> dict[str, str | None]:
    """The commit of each data set on the hub, and the digest of each local file, that the run's prompts are read from.

    None for one that is not there. That of the training prompts comes first.
    """
    own_files = _source_module(run).get("own_files")
    paths = [] if own_files is None else cast("list[str]", own_files(**run.data.source.arguments))
    versions = {copy.source.name: copy.version for copy in data_copies(run)}
    return versions | {path: files.version(path) for path in paths}


def file_problems(run: Run) -> list[str]:
    """A sentence for each file of the user's own prompts that cannot be used."""
    missing = _source_module(run).get("missing")
    return [] if missing is None else cast("list[str]", missing(**run.data.source.arguments))


def constraints(run: Run, prompts: Sequence[str]) -> list[ConstrainedPrompt] | None:
    """The verifiable constraints of prompts, given their texts; None for data without constraints."""
    find = _source_module(run).get("constraints")
    return None if find is None else [find(prompt, **run.data.source.arguments) for prompt in prompts]


def _source_module(run: Run) -> dict[str, Any]:
    """The names in the module of a run's data source, which may have the functions that `cme.data` describes."""
    return vars(import_module(run.data.source.target.rpartition(".")[0]))


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
    try:
        pairs = run.trainer.pairs.instantiate(prompts=prompts, seed=run.data.seed)
    except ValueError as error:
        raise BadConfig(f"trainer.pairs with data={run.data.name}: {error}") from error
    return cast("list[Preference]", pairs)


def training_checkpoints(run: Run) -> list[str]:
    """The distinct names of the checkpoints that the training of a run loads."""
    names = [*identity.verifiers(run), run.generator, identity.heldout_verifier(run)]
    return list(dict.fromkeys(name for name in names if name))


def changed_commits(run: Run, commits: Mapping[str, str]) -> list[str]:
    """A sentence for each of these commits that is not the one which the run, or its training, began with."""
    recorded = {path.parent: read_json(path) for path in _commits_paths(run) if path.exists()}
    sentences = []
    for key, commit in commits.items():
        others = {folder: own[key] for folder, own in recorded.items() if own.get(key, commit) != commit}
        if others:
            kind, _, name = key.partition(" of ")
            recorded_as = f"at commit {next(iter(others.values()))}"
            found_as = f"at {commit}"
            pin = (
                f"data.source.revision={commit}"
                if kind == "data"
                else f"the name {name.partition('@')[0]}@{commit}"
            )
            if commit.startswith("sha256:"):
                recorded_as, found_as = "with other contents", "not as it was then"
                pin = "another name for the new contents"
            sentences.append(
                f"{next(iter(others)).name} was made with {name} {recorded_as}, and {name} is {found_as} here, which "
                f"is another run: use {pin}, or another results_dir, or move {' and '.join(map(str, others))} away"
            )
    return sentences


def record_commits(run: Run, checkpoints: Iterable[str], tasks: Sequence[str] = ()) -> dict[str, str]:
    """Write the commits of checkpoints and of the run's data to `commits.json`, and return those of the data.

    The file in the folder of the training, which runs share, has what the training depends on, and that of the run has
    all. The data are those of the prompts and of the capability `tasks`. Local data have digests in place of commits;
    local checkpoints have none. Raises Unavailable for a run that began with others.
    """
    commits = cached_commits(run, checkpoints)
    if tasks:
        from cme.evaluation.capabilities import data_commits

        commits |= {f"data of {name}": commit for name, commit in data_commits(tasks).items()}
    if problems := changed_commits(run, commits):
        raise Unavailable("\n".join(problems))
    training = {f"weights of {name}" for name in training_checkpoints(run)}
    training |= {f"data of {name}" for name in list(data_versions(run))[:1]}
    for path in _commits_paths(run):
        shared = path.parent == Store.of(run).trained
        own = {key: commit for key, commit in commits.items() if key in training or not shared}
        recorded = read_json(path) if path.exists() else {}
        if not own.items() <= recorded.items():
            write_json(path, recorded | own)
    return {key: commit for key, commit in commits.items() if key.startswith("data of ")}


def has_commits(run: Run) -> bool:
    """Whether a run, or its training, has begun."""
    return any(path.exists() for path in _commits_paths(run))


def _commits_paths(run: Run) -> list[Path]:
    """The files with the commits that a run and its training began with; a probe has no training."""
    folders = [cell.record_path(run).parent]
    if run.experiment.run == schema.Experiment.run:
        folders.append(Store.of(run).trained)
    return [folder / "commits.json" for folder in folders]


def cached_commits(run: Run, checkpoints: Iterable[str]) -> dict[str, str]:
    """The commits in the local cache of those checkpoints, and of the run's data sets, that are on the hub.

    Local data have digests in their place.
    """
    from cme.checkpoints import commit as checkpoint_commit

    commits = {f"weights of {name}": checkpoint_commit(name) for name in checkpoints}
    commits |= {f"data of {name}": version for name, version in data_versions(run).items()}
    return {key: commit for key, commit in commits.items() if commit is not None}
