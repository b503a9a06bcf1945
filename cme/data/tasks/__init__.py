"""Our own lm-eval tasks: a YAML each, and here the items that they ask about.

Those of the miniature world are the plain statements that its models read (`cme.miniature.corpus`), to be completed:
no prompt of any split has their form, so a policy that still completes them has kept what it was never trained on.
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
"""How a statement begins, how it may end, and the position of the true ending in FACTS."""


def facts(**_: Any) -> "DatasetDict":
    """The colour, home and food of each animal: 36 beginnings with six endings each."""
    return _test(
        [
            {"text": beginning.format(animal), "choices": list(ends), "label": ends.index(FACTS[animal][i])}
            for beginning, ends, i in STATEMENTS
            for animal in ANIMALS
        ]
    )


def sums(**_: Any) -> "DatasetDict":
    """The sums of two digits up to five: 36 beginnings with the eleven possible results."""
    results = [str(n) for n in range(11)]
    return _test(
        [
            {"text": f"{a} plus {b} is", "choices": results, "label": a + b}
            for a, b in itertools.product(range(6), repeat=2)
        ]
    )


def backwards(**_: Any) -> "DatasetDict":
    """60 draws of three words to say backwards."""
    rng = random.Random("backwards")
    draws = [rng.sample(NOUNS, 3) for _ in range(60)]
    return _test(
        [{"text": f"{' '.join(d)}, backwards", "answer": f"{' '.join(reversed(d))}."} for d in draws]
    )


def questions(**_: Any) -> "DatasetDict":
    """Our questions of common knowledge, four answers each."""
    lines = (files("cme.data.tasks") / "questions.jsonl").read_text().splitlines()
    return _test([json.loads(line) for line in lines])


def _test(rows: list[dict[str, Any]]) -> "DatasetDict":
    from datasets import Dataset, DatasetDict

    return DatasetDict({"test": Dataset.from_list(rows)})
