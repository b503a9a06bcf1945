"""Checkpoints that this project fine-tunes from packaged models: their names, recipes, and place in the cache.

`answers/NAME.jsonl` has the text: prompts of the training split of `data=instructions`, with answers written for this
project. No verifier wrote them, so none meets its own words in the fine-tuned model. `python -m cme.training.fine_tune`
builds the weights; `build.json` beside them has the recipe and the SHA-256 of what was built.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from cme.models import packages
from cme.models.chat import PLAIN_TEMPLATE

ANSWERS = Path(__file__).parent / "answers"


@dataclass(frozen=True)
class Recipe:
    """How a packaged model is fine-tuned: AdamW on the answers' tokens, with a linear decay of the learning rate."""

    package: str
    epochs: int
    batch: int
    learning_rate: float
    seed: int
    minutes: int
    """On two cores."""


RECIPES = {"gemma-3-270m-sft": Recipe("gemma-3-270m", 3, 8, 2e-5, 0, 10)}


def recipe(name: str) -> Recipe:
    """The recipe of a checkpoint. Raises ValueError for an unknown name."""
    if name not in RECIPES:
        raise ValueError(f"checkpoint is 'tuned:{name}'; fine-tuned are {', '.join(RECIPES)}")
    return RECIPES[name]


def pairs(name: str) -> list[tuple[str, str]]:
    """The prompts and answers that a checkpoint is trained on."""
    rows = map(json.loads, (ANSWERS / f"{name}.jsonl").read_text().splitlines())
    return [(row["prompt"], row["response"]) for row in rows]


def recipe_digest(name: str) -> str:
    """8 hex digits over what determines a checkpoint: the model's file, the recipe, the text and its template."""
    fields = {key: value for key, value in asdict(recipe(name)).items() if key != "minutes"}
    parts = [packages.PACKAGES[RECIPES[name].package].sha256, fields, pairs(name), PLAIN_TEMPLATE]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def folder(name: str) -> Path:
    """The folder of a checkpoint, whether it is there or not. Raises ValueError as `recipe`."""
    return packages.cache_dir() / "tuned" / f"{name}-{recipe_digest(name)}"


def missing_weights(name: str) -> str | None:
    """Why a checkpoint cannot be loaded, in one sentence with the remedy; None if it can. Raises as `recipe`."""
    if folder(name).exists():
        return None
    return (
        f"tuned:{name} is not built yet: python -m cme.training.fine_tune {name} (about {recipe(name).minutes} min on "
        "two cores)"
    )


def facts(name: str) -> dict[str, Any]:
    """What was recorded when a checkpoint was built."""
    return cast("dict[str, Any]", json.loads((folder(name) / "build.json").read_text()))
