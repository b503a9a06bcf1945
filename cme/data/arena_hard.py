"""Arena-Hard v2.0 (Li et al., arXiv 2406.11939): 500 hard and 250 creative prompts for evaluation.

Training prompts are those of UltraFeedback. The id of an evaluation prompt is `arena_hard-CATEGORY-UID`; its category,
`hard_prompt` or `creative_writing`, decides what the judge is told (`cme.judges.arena_hard`).
"""

from functools import partial, wraps
from typing import Any

from cme.data import files, ultrafeedback
from cme.records import Prompt

SOURCE = files.Source(
    "lmarena-ai/arena-hard-auto",
    "train",
    ("uid", "category", "prompt"),
    750,
    file="data/arena-hard-v2.0/question.jsonl",
)
SPLITS = ultrafeedback.SPLITS
EVALUATION_ARGUMENTS = ultrafeedback.EVALUATION_ARGUMENTS
copies = partial(ultrafeedback.copies, evaluation=SOURCE)
PREFIX = "arena_hard"


@wraps(ultrafeedback.load_prompts, assigned=())  # the configuration is checked against its signature
def load_prompts(split: str, count: int, seed: int, **arguments: Any) -> list[Prompt]:
    """A random sample of `count` prompts: of UltraFeedback for `train`, of Arena-Hard for `eval`.

    The arguments are those of `cme.data.ultrafeedback.load_prompts`; `eval_path` is a local file or folder in the
    released format, `eval_revision` a commit, tag or branch of Arena-Hard on the hub. Raises as it does.
    """
    if split != "eval":
        return ultrafeedback.load_prompts(split, count, seed, **arguments)
    copy = files.Copy(SOURCE, arguments.get("eval_path"), arguments.get("eval_revision"))
    rows = files.read_rows(copy)
    prompts = []
    for i in files.sample_rows(SOURCE, len(rows), count, seed):
        uid, category, text = (files.text(copy.place, i, name, rows[i][name]) for name in SOURCE.columns)
        prompts.append(Prompt(f"{PREFIX}-{category}-{uid}", text))
    return prompts


def category_of(prompt_id: str) -> str | None:
    """The category of a prompt of Arena-Hard, from its id; None for another prompt."""
    prefix, _, rest = prompt_id.partition("-")
    return rest.rpartition("-")[0] if prefix == PREFIX else None
