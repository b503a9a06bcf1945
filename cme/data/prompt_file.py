"""Prompts of your own: JSON lines, or a JSON list, with one object per prompt.

Each object has either `instruction` (a string) and perhaps `system`, or `messages` as chat models take them. It may
have `output`, a reference answer, and `answer`, a gold answer for mathematics.
"""

import hashlib
import json
import random
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from cme.data import files
from cme.data.alpaca_format import BadOutputs, located_rows
from cme.records import Conversation, Prompt, Strict, from_json

SPLITS = ("train", "eval")
EVAL_SHARE = 0.2
own_files = files.own_files


@dataclass(frozen=True)
class _Message(Strict):
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class _Instruction(Strict):
    instruction: str
    system: str | None = None
    output: str | None = None
    answer: str | int | float | None = None


@dataclass(frozen=True)
class _Chat(Strict):
    messages: list[_Message]
    output: str | None = None
    answer: str | int | float | None = None


def missing(path: str, eval_path: str | None = None) -> list[str]:
    """A sentence for each file that does not exist or has a row that cannot be used; see `cme.data`."""
    sentences = []
    for place in own_files(path, eval_path):
        try:
            read_prompts(place)
        except ValueError as error:
            sentences.append(str(error))
    return sentences


def load_prompts(
    split: str, count: int, seed: int, *, path: str, eval_path: str | None = None
) -> list[Prompt]:
    """A random sample of `count` prompts of `train` or `eval`.

    Without `eval_path`, a fifth of the distinct prompts in `path` are for evaluation, and the others for training.

    Raises ValueError for another split, for too few prompts, and as `read_prompts`.
    """
    files.check_split(split, SPLITS)
    if eval_path is None:
        place, rows = path, read_prompts(path)
        # independent of the order of the rows
        texts = sorted({p.text for p in rows}, key=lambda t: hashlib.sha256(f"{seed} {t}".encode()).digest())
        evaluation = set(texts[: round(EVAL_SHARE * len(texts))])
        prompts = [p for p in rows if (p.text in evaluation) == (split == "eval")]
    elif split == "train":
        place, prompts = path, read_prompts(path, "train-row")
    else:
        place, prompts = eval_path, read_prompts(eval_path, "eval-row")
    if count > len(prompts):
        purpose = {"train": "training", "eval": "evaluation"}[split]
        raise ValueError(
            f"{place} has {len(prompts)} prompts for {purpose}, but {count} were asked for (data.{split}_prompts, and "
            "selection.prompts if a checkpoint is selected)"
        )
    return random.Random(f"{split}:{seed}").sample(prompts, count)


def read_prompts(path: str, name: str = "row") -> list[Prompt]:
    """The prompts of a file, with ids such as `row-3`.

    Raises ValueError that names the first row that cannot be used, and for a file that cannot be read or has no rows.
    """
    try:
        with Path(path).open("rb") as file:
            prompts = [
                _prompt(f"{name}-{n}", where, row)
                for n, (where, row) in enumerate(located_rows(file), start=1)
            ]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not prompts:
        raise ValueError(f"{path} has no rows; it must have objects with `instruction` or `messages`")
    return prompts


def _prompt(key: str, where: str, value: object) -> Prompt:
    given = {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else {}
    if ("instruction" in given) == ("messages" in given):
        raise BadOutputs(f"{where} must be an object with either `instruction` or `messages`")
    kind: type[_Instruction | _Chat] = _Chat if "messages" in given else _Instruction
    known = [field.name for field in fields(kind)]
    if unknown := sorted(given.keys() - set(known)):
        raise BadOutputs(
            f"{where} has the field {unknown[0]!r}, which is not used with `{known[0]}`: remove it, or rename it to "
            f"one of {', '.join(known)}"
        )
    try:
        row = from_json(kind, json.dumps(given))
    except ValueError as error:
        raise BadOutputs(f"{where}: {error}") from error
    reference = row.output
    if isinstance(row, _Chat):
        messages = [{"role": m.role, "content": m.content} for m in row.messages]
        if messages and messages[-1]["role"] == "assistant" and reference is None:
            reference = messages.pop()["content"]
        turns = [m["role"] for m in messages if m["role"] != "system" or m is not messages[0]]
        if len(turns) % 2 == 0 or turns != [("user", "assistant")[n % 2] for n in range(len(turns))]:
            raise BadOutputs(
                f"{where}: the roles of `messages` are {', '.join(m.role for m in row.messages)}; after at most one "
                "system message they must alternate, and begin and end with user (a last one from assistant is the "
                "reference)"
            )
    elif row.instruction.strip():
        system = [] if row.system is None else [{"role": "system", "content": row.system}]
        messages = [*system, {"role": "user", "content": row.instruction}]
    else:
        raise BadOutputs(f"{where}: `instruction` is empty")
    answer = None if row.answer is None else str(row.answer)
    return Conversation.from_messages(key, messages, answer, reference)
