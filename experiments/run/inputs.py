"""The prompts and preference pairs of a cell."""

from typing import cast

from cme.records import Preference, Prompt
from experiments.config.runs import Run
from experiments.config.schema import Data, Dpo
from experiments.config.validation import BadConfig


def load_prompts(data: Data, split: str, count: int) -> list[Prompt]:
    """Prompts of a split. Raises Unavailable for data that cannot be had, BadConfig for more than there are."""
    try:
        return cast("list[Prompt]", data.source.instantiate(split=split, count=count, seed=data.seed))
    except ValueError as error:
        raise BadConfig(f"data={data.name}: {error}") from error


def load_preferences(config: Run) -> list[Preference]:
    """The preference pairs of a cell's training prompts.

    Raises Unavailable for data that cannot be had, BadConfig for prompts that have no pairs.
    """
    data = config.data
    assert isinstance(config.trainer, Dpo) and config.trainer.pairs is not None
    prompts = load_prompts(data, data.train_split, data.train_prompts)
    try:
        found = config.trainer.pairs.instantiate(prompts=prompts, seed=data.seed)
    except ValueError as error:
        raise BadConfig(f"trainer.pairs with data={data.name}: {error}") from error
    return cast("list[Preference]", found)
