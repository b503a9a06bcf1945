"""The prompts and preference pairs of a run."""

from dataclasses import replace
from importlib import import_module
from typing import Any, cast

from cme.data.files import Copy
from cme.grading.answers import gold_answer
from cme.records import Preference, Prompt
from experiments.config.runs import Run
from experiments.config.schema import Data, Dpo
from experiments.config.validation import BadConfig


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


def file_problems(run: Run) -> list[str]:
    """A sentence for each file of the user's own prompts that cannot be used."""
    missing = _source_module(run).get("missing")
    return [] if missing is None else cast("list[str]", missing(**run.data.source.arguments))


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
