"""The 805 instructions of AlpacaEval 2.0, the paper's evaluation of open-ended responses.

The JSON file on the hub is read directly, because `datasets` refuses the data set's loader script.
"""

from cme.data import files
from cme.records import Prompt

SOURCE = files.Source("tatsu-lab/alpaca_eval", "train", ("instruction",), 805, file="alpaca_eval.json")


def load_prompts(count: int, seed: int, path: str | None = None, revision: str | None = None) -> list[Prompt]:
    """A random sample of `count` instructions, from `path` or from the hub at `revision`.

    Raises as `files.read_rows`, `files.sample_rows` and `files.text`.
    """
    copy = files.Copy(SOURCE, path, revision)
    rows = files.read_rows(copy)
    return [
        Prompt(f"alpaca_eval-{i}", files.text(copy.place, i, "instruction", rows[i]["instruction"]))
        for i in files.sample_rows(SOURCE, len(rows), count, seed)
    ]
