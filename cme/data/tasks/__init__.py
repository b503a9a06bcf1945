"""The bundled lm-eval tasks: one YAML file each, and their items here.

The tasks of the miniature world ask for completions of plain statements like those in its models' pretraining text
(`cme.miniature.corpus`). No prompt of any split has this form, so they measure what a policy retains of abilities that
it is not trained on.
"""

import itertools
import json
import random
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from cme.miniature.problems import ANIMALS, COLORS, FACTS, FOODS, NOUNS, PLACES

if TYPE_CHECKING:
    from datasets import DatasetDict

STATEMENTS = (("the {} is", COLORS, 0), ("a {} lives in the", PLACES, 1), ("the {} eats", FOODS, 2))
"""The beginning of a statement, its possible endings, and the index of the true ending in FACTS."""


def facts(**_: Any) -> "DatasetDict":
    """The color, home and food of each animal: 36 statements with six possible endings each."""
    return _test(
        [
            {"text": beginning.format(animal), "choices": list(ends), "label": ends.index(FACTS[animal][i])}
            for beginning, ends, i in STATEMENTS
            for animal in ANIMALS
        ]
    )


def sums(**_: Any) -> "DatasetDict":
    """Sums of two digits up to five: 36 statements with eleven possible results."""
    results = [str(n) for n in range(11)]
    return _test(
        [
            {"text": f"{a} plus {b} is", "choices": results, "label": a + b}
            for a, b in itertools.product(range(6), repeat=2)
        ]
    )


def backwards(**_: Any) -> "DatasetDict":
    """60 random triples of words to reverse."""
    rng = random.Random("backwards")
    draws = [rng.sample(NOUNS, 3) for _ in range(60)]
    return _test(
        [{"text": f"{' '.join(d)}, backwards", "answer": f"{' '.join(reversed(d))}."} for d in draws]
    )


def questions(**_: Any) -> "DatasetDict":
    """Questions of common knowledge with four answers each."""
    lines = (files("cme.data.tasks") / "questions.jsonl").read_text().splitlines()
    return _test([json.loads(line) for line in lines])


def _test(rows: list[dict[str, Any]]) -> "DatasetDict":
    from datasets import Dataset, DatasetDict

    return DatasetDict({"test": Dataset.from_list(rows)})
