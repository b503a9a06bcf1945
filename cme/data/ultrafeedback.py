"""The paper's open-ended prompts: instructions of UltraFeedback for training, of AlpacaEval 2.0 for evaluation.

AlpacaEval's JSON file on the hub is read directly, because `datasets` refuses the data set's loader script.
"""

from cme.data import files
from cme.models import chat
from cme.records import Prompt

SOURCE = files.Source("openbmb/UltraFeedback", "train", ("instruction",), 63967)
ALPACA_EVAL = files.Source("tatsu-lab/alpaca_eval", "train", ("instruction",), 805, file="alpaca_eval.json")
SPLITS = ("train", "eval")
EVALUATION_ARGUMENTS = frozenset({"eval_path", "eval_revision"})


def copies(
    path: str | None = None,
    eval_path: str | None = None,
    revision: str | None = None,
    eval_revision: str | None = None,
    evaluation: files.Source = ALPACA_EVAL,
    **_: object,
) -> list[files.Copy]:
    """What the prompts are read from; see `cme.data`. `evaluation` has the evaluation prompts."""
    return [files.Copy(SOURCE, path, revision), files.Copy(evaluation, eval_path, eval_revision)]


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
    """A random sample of `count` instructions of `train` or `eval`.

    Args:
        tokenizer: the checkpoint whose tokenizer and chat template count the tokens of a training prompt.
        max_prompt_tokens: training prompts with more tokens are skipped.
        path, eval_path: local files or folders to read instead of the hub.
        revision, eval_revision: commits, tags or branches on the hub.

    Raises ValueError for another split or if there are too few prompts, and as `files.read_rows` and `files.text`.
    """
    from cme.checkpoints import load_tokenizer  # imports torch

    files.check_split(split, SPLITS)
    copy = files.Copy(ALPACA_EVAL, eval_path, eval_revision)
    if split == "train":
        copy = files.Copy(SOURCE, path, revision)
    rows = files.read_rows(copy)

    def instruction(i: int) -> str:
        return files.text(copy.place, i, "instruction", rows[i]["instruction"])

    if split == "eval":
        drawn = files.sample_rows(ALPACA_EVAL, len(rows), count, seed)
        return [Prompt(f"alpaca_eval-{i}", instruction(i)) for i in drawn]
    encode = load_tokenizer(tokenizer, {"close_thought": True})
    prompts: list[Prompt] = []
    for i in files.sample_rows(SOURCE, len(rows), len(rows), seed):
        if len(prompts) == count:
            break
        if len(chat.prompt_ids(encode, instruction(i))) <= max_prompt_tokens:
            prompts.append(Prompt(f"ultrafeedback-{i}", instruction(i)))
    if len(prompts) < count:
        raise ValueError(
            f"{SOURCE.name} has {len(prompts)} instructions of at most {max_prompt_tokens} tokens, but {count} "
            "were asked for"
        )
    return prompts
