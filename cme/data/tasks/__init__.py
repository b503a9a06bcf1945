"""The bundled lm-eval tasks: one YAML file each, and their items here.

The tasks of the miniature world ask for completions of plain statements like those in its models' pretraining text
(`cme.miniature.corpus`). No prompt of any split has this form, so they measure what a policy retains of abilities that
it is not trained on.
"""

import itertools
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from cme.miniature.vocabulary import ANIMALS, VALUES, fact_name
from cme.miniature.vocabulary import facts as true_facts

if TYPE_CHECKING:
    from datasets import DatasetDict

STATEMENTS = {"color": "the {} is", "home": "a {} lives in the", "food": "the {} eats"}
"""The beginning of a statement of a fact, by attribute."""


def facts(**_: Any) -> "DatasetDict":
    """The color, home and food of each animal: 36 statements with six possible endings each."""
    return _test(
        [
            {
                "text": beginning.format(animal),
                "choices": list(VALUES[attribute]),
                "label": VALUES[attribute].index(true_facts()[fact_name(animal, attribute)]),
            }
            for attribute, beginning in STATEMENTS.items()
            for animal in ANIMALS
        ]
    )


def sums(**_: Any) -> "DatasetDict":
    """Sums of two numbers up to five: 30 statements with eleven possible results."""
    results = [str(n) for n in range(11)]
    return _test(
        [
            {"text": f"{a} plus {b} is", "choices": results, "label": a + b}
            for a, b in itertools.product(range(6), range(1, 6))
        ]
    )


def steps(**_: Any) -> "DatasetDict":
    """30 calculations of two steps, whose last result is to be generated."""
    return _test(
        [
            {"text": f"{a} plus {b} is {a + b} and {a + b} plus {c} is", "answer": f"{a + b + c}."}
            for a, b, c in itertools.product(range(1, 6), range(1, 4), range(1, 3))
        ]
    )


def questions(**_: Any) -> "DatasetDict":
    """Questions of common knowledge with four answers each."""
    lines = (files("cme.data.tasks") / "questions.jsonl").read_text().splitlines()
    return _test([json.loads(line) for line in lines])


def _test(rows: list[dict[str, Any]]) -> "DatasetDict":
    from datasets import Dataset, DatasetDict

    return DatasetDict({"test": Dataset.from_list(rows)})
