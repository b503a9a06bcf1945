"""The bundled instruction set: short open-ended instructions; those for evaluation have reference answers."""

import json
import random
from importlib.resources import files

from cme.records import Prompt

SPLITS = ("train", "eval")


def load_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """A random sample of `count` instructions of `train` or `eval`; those of `eval` have references.

    Raises ValueError for another split, or if the split has fewer instructions.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    lines = (files("cme.data") / "instructions" / f"{split}.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    if count > len(rows):
        raise ValueError(f"split {split!r} has {len(rows)} instructions, but {count} were asked for")
    sample = random.Random(f"{split}:{seed}").sample(rows, count)
    return [Prompt(row["id"], row["instruction"], reference=row.get("reference")) for row in sample]
