"""The bundled instruction set: short open-ended instructions; those for evaluation have reference answers."""

import json
from importlib.resources import files

from cme.data.files import check_split, sample_split
from cme.records import Prompt

SPLITS = ("train", "eval")


def load_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """A random sample of `count` instructions of `train` or `eval`; those of `eval` have references.

    Raises ValueError for another split, or if the split has fewer instructions.
    """
    check_split(split, SPLITS)
    lines = (files("cme.data") / "instructions" / f"{split}.jsonl").read_text().splitlines()
    rows = sample_split([json.loads(line) for line in lines], count, split, seed, "instructions")
    return [Prompt(row["id"], row["instruction"], reference=row.get("reference")) for row in rows]
