"""Prompts with verifiable constraints, such as a number of words, and the share of them that a response meets.

Bundled are prompts of this project's own; files of the user's own have IFEval's format, one object per line with `key`,
`prompt`, `instruction_id_list` and `kwargs`. The key of a bundled evaluation prompt begins with `new` if one of its
kinds of constraints is in no training prompt, else with `seen`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path

from cme.data import files
from cme.data.alpaca_format import located_rows
from cme.grading.constraints import (
    REPEATED_RUN,
    ConstrainedPrompt,
    check_packages,
    find_problem,
    remove_repeated,
    strictly_met,
)
from cme.records import Grade, Prompt, from_json

SPLITS = ("train", "eval")
EVALUATION_ARGUMENTS = frozenset({"eval_path"})
own_files = files.own_files


class UnknownPrompt(ValueError):
    """A prompt that is in none of the files, so that its constraints are unknown."""


def missing(path: str | None = None, eval_path: str | None = None) -> list[str]:
    """A sentence for the first file of the user's own that cannot be used; see `cme.data`.

    Raises Unavailable if the checkers' packages are not installed.
    """
    check_packages("data=instruction_following")
    try:
        _by_text(_place("train", path), _place("eval", eval_path))
    except ValueError as error:
        return [str(error)]
    return []


def load_prompts(
    split: str, count: int, seed: int, *, path: str | None = None, eval_path: str | None = None
) -> list[Prompt]:
    """A random sample of `count` prompts of `train` or `eval`.

    Args:
        path, eval_path: files to read in place of the bundled training and evaluation prompts.

    Raises Unavailable if the checkers' packages are not installed, and ValueError for another split, for too few
    prompts, and for a file that cannot be used.
    """
    check_packages("data=instruction_following")
    files.check_split(split, SPLITS)
    rows = _read(_place(split, path if split == "train" else eval_path))
    return [
        Prompt(str(row.key), row.prompt) for row in files.sample_split(rows, count, split, seed, "prompts")
    ]


def constraints(prompt: str, path: str | None = None, eval_path: str | None = None) -> ConstrainedPrompt:
    """The constraints of a prompt, given its text. Raises UnknownPrompt, or ValueError for a file with a bad row."""
    found = _by_text(_place("train", path), _place("eval", eval_path)).get(prompt)
    if found is None:
        raise UnknownPrompt(
            f"the constraints of the prompt {prompt[:60]!r} are unknown: give its file as data.eval_path"
        )
    return found


def fingerprint(path: str | None = None, eval_path: str | None = None, own_words: bool = False) -> str:
    """Digest of all prompts with their constraints, of the checkers' version and of our rules on repeated prompts.

    Raises as `constraints`.
    """
    by_text = _by_text(_place("train", path), _place("eval", eval_path))
    known = [[row.prompt, row.instruction_id_list, row.kwargs] for row in by_text.values()]
    rules = ["without copies of the prompt"]
    if own_words:
        rules.append(f"without {REPEATED_RUN} words of the prompt in a row")
    parts = [version("lm-eval"), *rules, known]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def grade(
    prompt: str,
    response: str,
    finished: bool,
    path: str | None = None,
    eval_path: str | None = None,
    own_words: bool = False,
) -> Grade:
    """The share of the prompt's constraints that a response strictly meets, as its quality, and each one as a part.

    Any copy of the whole prompt is removed first. It contains the words and formats that the constraints ask for, so
    IFEval's checkers find nearly half of the bundled constraints met by the prompt alone, which answers nothing.
    With `own_words`, all else that the response repeats of its prompt is removed, too, by
    `cme.grading.constraints.remove_repeated`.
    Whether the response ended by itself does not count. The fault is `some unmet`, `all unmet` or `none`. Raises as
    `constraints`.
    """
    constrained = constraints(prompt, path, eval_path)
    copy = r"\s+".join(map(re.escape, prompt.split()))  # whatever its white space and capitals
    response = re.sub(copy, "", response, flags=re.IGNORECASE)
    if own_words:
        response = remove_repeated(constrained, response)
    met = strictly_met(constrained, response)
    fault = "none" if all(met) else "some_unmet" if any(met) else "all_unmet"
    return Grade(sum(met) / len(met), fault, dict(zip(constrained.instruction_id_list, met, strict=True)))


def _place(split: str, path: str | None) -> str:
    return (
        str(resources.files("cme.data") / "instruction_following" / f"{split}.jsonl")
        if path is None
        else path
    )


@cache
def _by_text(*places: str) -> Mapping[str, ConstrainedPrompt]:
    """The prompts of some files by their texts."""
    by_text: dict[str, ConstrainedPrompt] = {}
    for row in (row for place in dict.fromkeys(places) for row in _read(place)):
        other = by_text.setdefault(row.prompt, row)
        if (other.instruction_id_list, other.kwargs) != (row.instruction_id_list, row.kwargs):
            raise ValueError(
                f"the prompts {other.key} and {row.key} have the same text and different constraints"
            )
    return by_text


@cache
def _read(place: str) -> list[ConstrainedPrompt]:
    """The prompts of a file. Raises ValueError that names the first row that cannot be used."""
    rows: list[ConstrainedPrompt] = []
    keys: set[str] = set()
    try:
        with Path(place).open("rb") as file:
            for where, value in located_rows(file):
                try:
                    row = from_json(ConstrainedPrompt, json.dumps(value))
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from error
                problem = f"the key {row.key!r} occurs twice" if str(row.key) in keys else find_problem(row)
                if problem is not None:
                    raise ValueError(f"{where}: {problem}")
                keys.add(str(row.key))
                rows.append(row)
    except OSError as error:
        raise ValueError(f"{place} cannot be read: {error.strerror}") from error
    if not rows:
        raise ValueError(f"{place} has no rows; each must have `prompt`, `instruction_id_list` and `kwargs`")
    return rows
