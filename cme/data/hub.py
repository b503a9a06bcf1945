"""The paper's open-ended prompts, from the hub or its local cache.

Training: openbmb/UltraFeedback's instructions. Evaluation: AlpacaEval 2.0's 805 instructions, read from the
hub's JSON because `datasets` refuses the data set's loader script.
"""

import json
import logging
import random
from pathlib import Path

from cme import Unavailable
from cme.records import Prompt


def load_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """`count` instructions of `train` or `eval`, drawn with `seed`.

    Raises Unavailable when the hub cannot be reached, and ValueError for another split or when there
    are fewer instructions than asked for.
    """
    if split not in ("train", "eval"):
        raise ValueError(f"split is {split!r}; it must be one of train, eval")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    texts = _ultrafeedback() if split == "train" else _alpaca_eval()
    if count > len(texts):
        raise ValueError(f"split {split!r} has {len(texts)} instructions, {count} asked for")
    chosen = random.Random(f"{split}:{seed}").sample(range(len(texts)), count)
    return [Prompt(f"{split}-{i}", texts[i]) for i in chosen]


def _ultrafeedback() -> list[str]:
    from datasets import load_dataset

    try:
        rows = load_dataset("openbmb/UltraFeedback", split="train")
    except OSError as error:
        raise Unavailable(_unreachable("openbmb/UltraFeedback")) from error
    return [str(text) for text in rows["instruction"]]


def _alpaca_eval() -> list[str]:
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download("tatsu-lab/alpaca_eval", "alpaca_eval.json", repo_type="dataset")
    except OSError as error:
        raise Unavailable(_unreachable("tatsu-lab/alpaca_eval")) from error
    return [str(row["instruction"]) for row in json.loads(Path(path).read_text())]


def _unreachable(name: str) -> str:
    return (
        f"data set {name} is not in the local cache and the hub cannot be reached: connect, or run "
        f"`hf download --repo-type dataset {name}` where there is a connection and copy the cache"
    )
