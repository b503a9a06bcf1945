"""The paper's open-ended prompts: UltraFeedback's instructions to train on, AlpacaEval 2.0's to evaluate on."""

from cme.data import alpaca_eval, files
from cme.models import chat
from cme.records import Prompt

SOURCE = files.Source("openbmb/UltraFeedback", "train", ("instruction",), 63967)
SPLITS = ("train", "eval")


def missing(path: str | None = None, eval_path: str | None = None, **_: object) -> list[str]:
    """What of it cannot be had here, and what to do."""
    return files.missing(SOURCE, path) + alpaca_eval.missing(eval_path)


def load_prompts(
    split: str,
    count: int,
    seed: int,
    *,
    tokenizer: str,
    max_prompt_tokens: int,
    path: str | None = None,
    eval_path: str | None = None,
) -> list[Prompt]:
    """`count` instructions of `train` or `eval`, drawn by `seed`.

    For `train` a prompt of more than `max_prompt_tokens` is passed over and the next one drawn, which is a draw from
    those that are not longer. It is counted as it is put to the checkpoint `tokenizer`, in its chat template. Raises
    Unavailable for what cannot be had, and ValueError for another split, for fewer prompts than asked for, and as
    `files.read`.
    """
    from cme.checkpoints import load_tokenizer  # here, since torch comes with it

    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    if split == "eval":
        return alpaca_eval.load_prompts(count, seed, eval_path)
    rows, encode = files.read_rows(SOURCE, path), load_tokenizer(tokenizer)
    found: list[Prompt] = []
    for i in files.sample_rows(SOURCE, len(rows), len(rows), seed):
        if len(found) == count:
            break
        text = str(rows[i]["instruction"])
        if len(chat.prompt_ids(encode, text)) <= max_prompt_tokens:
            found.append(Prompt(f"ultrafeedback-{i}", text))
    if len(found) < count:
        raise ValueError(
            f"{SOURCE.name} has {len(found)} instructions of at most {max_prompt_tokens} tokens, {count} asked for"
        )
    return found
