"""Our own instruction set: short open-ended instructions, those for evaluation with reference answers."""

import json
import random
from importlib.resources import files

from cme.records import Prompt

TUNING = 66
"""The last rows of the training file are kept for choosing hyperparameters."""


def load_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """`count` instructions of `train`, `tune_train`, `tune` or `eval`, shuffled by `seed`.

    The tuning splits have no references. Raises ValueError for another split, or for more rows than there are.
    """
    file = "eval" if split == "eval" else "train"
    lines = (files("cme.data") / "instructions" / f"{file}.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    parts = {
        "train": rows[:-TUNING],
        "tune_train": rows[-TUNING : -TUNING // 2],
        "tune": rows[-TUNING // 2 :],
        "eval": rows,
    }
    if split not in parts:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(parts)}")
    if count > len(parts[split]):
        raise ValueError(f"split {split!r} has {len(parts[split])} instructions, {count} asked for")
    chosen = random.Random(f"{split}:{seed}").sample(parts[split], count)
    return [Prompt(row["id"], row["instruction"], reference=row.get("reference")) for row in chosen]
