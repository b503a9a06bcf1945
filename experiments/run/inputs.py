"""The prompts and preference pairs of a cell."""

from typing import cast

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from cme import Unavailable
from cme.records import Preference, Prompt
from experiments.config.validation import BadConfig


def load_prompts(data: DictConfig, split: str, count: int) -> list[Prompt]:
    """Prompts of a split. Raises Unavailable for data that cannot be had, BadConfig for more than there are."""
    try:
        return cast("list[Prompt]", instantiate(data.source, split=split, count=count, seed=data.seed))
    except InstantiationException as error:
        if isinstance(error.__cause__, Unavailable):
            raise error.__cause__ from None
        raise BadConfig(f"data={data.name}: {error.__cause__}") from error


def load_preferences(config: DictConfig) -> list[Preference]:
    """The preference pairs of a cell's training prompts.

    Raises Unavailable for data that cannot be had, BadConfig for prompts that have no pairs.
    """
    data = config.data
    load_pairs = instantiate(config.trainer.pairs, _partial_=True)
    try:
        found = load_pairs(prompts=load_prompts(data, data.train_split, data.train_prompts), seed=data.seed)
    except ValueError as error:
        raise BadConfig(f"trainer.pairs with data={data.name}: {error}") from error
    return cast("list[Preference]", found)
