"""What a run reads: prompts, preference pairs and checkpoints."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from cme.data.files import Copy
from cme.grading.answers import gold_answer
from cme.grading.constraints import ConstrainedPrompt
from cme.records import Conversation, Pair, Preference, Prompt
from experiments.config.runs import Run
from experiments.config.schema import Data
from experiments.config.trainers import Dpo
from experiments.config.validation import as_bad_config


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
    """The prompts that a run trains on."""
    return load_prompts(run.data, run.data.train_split, run.data.train_prompts)


def evaluation_prompts(run: Run) -> list[Prompt]:
    """The prompts that a run is evaluated on."""
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


def own_files(run: Run) -> list[str]:
    """The paths of the files of the user's own prompts that a run reads."""
    return list(_call_source(run, "own_files"))


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
    """Make checkpoints, and tokenizers, loadable; return what identifies the weights of each checkpoint by its name.

    That is the commit of a checkpoint on the hub, the name of the folder (with a digest) of one that is converted or
    trained here, and the name of a local folder itself. Raises as `cme.availability.ensure` does.
    """
    from cme.availability import RANDOM, ensure
    from cme.miniature.models import weights_identity

    found = {}
    for name, place in ensure(list(names), tokenizers_of).items():
        if name.removeprefix(RANDOM).startswith(("miniature:", "tuned:")):
            found[name] = weights_identity(Path(place))
        else:
            found[name] = name if place == name else Path(place).name
    return found
