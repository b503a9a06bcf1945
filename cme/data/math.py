"""The paper's mathematics: MATH for training; MATH-500, AMC 2023 or AIME 2024 for evaluation, with gold answers."""

from typing import Literal

from cme.data import files
from cme.grading.answers import extract_answer
from cme.records import Prompt

EvalSource = Literal["math500", "amc23", "aime24"]
SPLITS = ("train", "eval")
EVALUATION_ARGUMENTS = frozenset({"eval_source", "eval_path", "eval_revision"})
QUESTION = "{}\n\nReason step by step, and put the final answer within \\boxed{{}}."

TRAIN = files.Source("DigitalLearningGmbH/MATH-lighteval", "train", ("problem", "solution"), 7500)
EVAL: dict[EvalSource, files.Source] = {
    "math500": files.Source("HuggingFaceH4/MATH-500", "test", ("problem", "answer"), 500),
    "amc23": files.Source("math-ai/amc23", "test", ("question", "answer"), 40),
    "aime24": files.Source("Maxwell-Jia/AIME_2024", "train", ("Problem", "Answer"), 30),
}


def copies(
    path: str | None = None,
    eval_source: EvalSource = "math500",
    eval_path: str | None = None,
    revision: str | None = None,
    eval_revision: str | None = None,
) -> list[files.Copy]:
    """What the prompts are read from; see `cme.data`."""
    return [files.Copy(TRAIN, path, revision), files.Copy(EVAL[eval_source], eval_path, eval_revision)]


def load_prompts(
    split: str,
    count: int,
    seed: int,
    *,
    path: str | None = None,
    eval_source: EvalSource = "math500",
    eval_path: str | None = None,
    revision: str | None = None,
    eval_revision: str | None = None,
) -> list[Prompt]:
    """A random sample of `count` problems of `train` or `eval` with their gold answers.

    The gold answer of a training problem is the content of the last `\\boxed` in its solution, or None without one.
    Raises ValueError for another split, and as `files.read_rows`, `files.sample_rows` and `files.text`.

    Args:
        path, eval_path: local files or folders to read instead of the hub.
        revision, eval_revision: commits, tags or branches on the hub.
        eval_source: the data set to evaluate on.
    """
    files.check_split(split, SPLITS)
    if eval_source not in EVAL:
        raise ValueError(f"eval_source is {eval_source!r}; it must be one of {', '.join(EVAL)}")
    copy = copies(path, eval_source, eval_path, revision, eval_revision)[SPLITS.index(split)]
    name, source = eval_source if split == "eval" else "math", copy.source
    problem, gold = source.columns
    rows = files.read_rows(copy)
    prompts = []
    for i in files.sample_rows(source, len(rows), count, seed):
        row = rows[i]
        question = QUESTION.format(files.text(copy.place, i, problem, row[problem]))
        value = row[gold]
        if split == "eval" and type(value) in (int, float):  # numbers, as some files have them
            value = None if value != value else str(value)
        answer = files.text(copy.place, i, gold, "" if value is None else value)
        right = extract_answer(answer, "boxed") if split == "train" else answer.strip().removesuffix(".0")
        prompts.append(Prompt(f"{name}-{i}", question, right or None))
    return prompts
