"""The 805 instructions of AlpacaEval 2.0, the paper's evaluation of open-ended following.

The hub's JSON file is read, because `datasets` refuses the data set's loader script.
"""

from cme.data import files
from cme.records import Prompt

SOURCE = files.Source("tatsu-lab/alpaca_eval", "train", ("instruction",), 805, file="alpaca_eval.json")


def missing(path: str | None = None) -> list[str]:
    """What of it cannot be had here, and what to do."""
    return files.missing(SOURCE, path)


def load_prompts(count: int, seed: int, path: str | None = None) -> list[Prompt]:
    """`count` instructions drawn by `seed`, from `path` or the hub. Raises as `files.read` and `files.draw`."""
    texts = [str(row["instruction"]) for row in files.read_rows(SOURCE, path)]
    return [Prompt(f"alpaca_eval-{i}", texts[i]) for i in files.sample_rows(SOURCE, len(texts), count, seed)]
