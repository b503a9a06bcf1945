"""WildBench v2 (Lin et al., arXiv 2406.04770): 1,024 conversations of real users, each with a checklist for its judge.

Training prompts are those of UltraFeedback. The id of an evaluation prompt is `wildbench-SESSION_ID`, by which a judge
finds the conversation and the checklist (`tasks`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial, wraps
from typing import Any

from cme.data import files, ultrafeedback
from cme.records import Conversation, Prompt

SOURCE = files.Source(
    "allenai/WildBench",
    "test",
    ("session_id", "conversation_input", "checklist"),
    1024,
    file="v2/test-00000-of-00001.parquet",
)
SPLITS = ultrafeedback.SPLITS
EVALUATION_ARGUMENTS = ultrafeedback.EVALUATION_ARGUMENTS
copies = partial(ultrafeedback.copies, evaluation=SOURCE)
PREFIX = "wildbench-"


@dataclass(frozen=True)
class Task:
    """A conversation whose last message, of the user, is to be answered, and what to check in the answer."""

    messages: list[dict[str, str]]
    checklist: tuple[str, ...]


@wraps(ultrafeedback.load_prompts, assigned=())  # the configuration is checked against its signature
def load_prompts(split: str, count: int, seed: int, **arguments: Any) -> list[Prompt]:
    """A random sample of `count` prompts: of UltraFeedback for `train`, of WildBench for `eval`.

    The arguments are those of `cme.data.ultrafeedback.load_prompts`; `eval_path` is a local file or folder in the
    released format, `eval_revision` a commit, tag or branch of WildBench on the hub. Raises as it does, and as `tasks`.
    """
    if split != "eval":
        return ultrafeedback.load_prompts(split, count, seed, **arguments)
    known = list(tasks(arguments.get("eval_path"), arguments.get("eval_revision")).items())
    drawn = [known[i] for i in files.sample_rows(SOURCE, len(known), count, seed)]
    return [Conversation.from_messages(key, task.messages) for key, task in drawn]


@cache
def tasks(path: str | None = None, revision: str | None = None) -> Mapping[str, Task]:
    """All tasks by the ids of their prompts, in the order of the rows.

    Raises ValueError for a row whose conversation does not end with the user or whose checklist is empty, and as
    `files.read_rows` and `files.text`.
    """
    copy = files.Copy(SOURCE, path, revision)
    return dict(_task(copy.place, i, row) for i, row in enumerate(files.read_rows(copy)))


def _task(place: str, index: int, row: Mapping[str, Any]) -> tuple[str, Task]:
    session = files.text(place, index, "session_id", row["session_id"])
    field, keys = "conversation_input", ("role", "content")
    turns = files.objects(place, index, field, row[field], set(keys))
    messages = [
        {key: files.text(place, index, f"{field}.{key}", turn[key]) for key in keys} for turn in turns
    ]
    items = row["checklist"]
    if not isinstance(items, list) or not items:
        raise ValueError(f"{place}, row {index + 1}: 'checklist' is empty; it must be a list of texts")
    checklist = tuple(files.text(place, index, "checklist", item) for item in items)
    if not messages or messages[-1]["role"] != "user":
        raise ValueError(
            f"{place}, row {index + 1}: 'conversation_input' must end with a message of the user"
        )
    return f"{PREFIX}{session}", Task(messages, checklist)
