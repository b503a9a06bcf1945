"""Arena-Hard v2.0 (Li et al., arXiv 2406.11939): 500 hard and 250 creative prompts for evaluation.

Training prompts are those of UltraFeedback. The id of an evaluation prompt is `arena_hard-CATEGORY-UID`; its category,
`hard_prompt` or `creative_writing`, decides what the judge is told (`cme.judges.arena_hard`).
"""

from functools import partial

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


def load_prompts(
    split: str,
    count: int,
    seed: int,
    *,
    tokenizer: str,
    max_prompt_tokens: int,
    path: str | None = None,
    eval_path: str | None = None,
    revision: str | None = None,
    eval_revision: str | None = None,
) -> list[Prompt]:
    """A random sample of `count` prompts: of UltraFeedback for `train`, of Arena-Hard for `eval`.

    Args:
        tokenizer, max_prompt_tokens, path, revision: of the training prompts, as in `cme.data.ultrafeedback`.
        eval_path: a local file or folder in the released format, instead of the hub.
        eval_revision: a commit, tag or branch of Arena-Hard on the hub.

    Raises ValueError for another split, for too few prompts, and as `files.read_rows` and `files.text`.
    """
    if split != "eval":
        return ultrafeedback.load_prompts(
            split,
            count,
            seed,
            tokenizer=tokenizer,
            max_prompt_tokens=max_prompt_tokens,
            path=path,
            revision=revision,
        )
    copy = files.Copy(SOURCE, eval_path, eval_revision)
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
