"""The 805 instructions of AlpacaEval 2.0, the paper's evaluation of open-ended responses.

The JSON file on the hub is read directly, because `datasets` refuses the data set's loader script.
"""

from cme.data import files
from cme.records import Prompt

SOURCE = files.Source("tatsu-lab/alpaca_eval", "train", ("instruction",), 805, file="alpaca_eval.json")


def missing(path: str | None = None) -> list[str]:
    """A sentence for data that is not available; see `cme.data`."""
    return files.missing(SOURCE, path)


def load_prompts(count: int, seed: int, path: str | None = None) -> list[Prompt]:
    """A random sample of `count` instructions, from `path` or the hub.

    Raises as `files.read_rows` and `files.sample_rows`.
    """
    texts = [str(row["instruction"]) for row in files.read_rows(SOURCE, path)]
    return [Prompt(f"alpaca_eval-{i}", texts[i]) for i in files.sample_rows(SOURCE, len(texts), count, seed)]
