"""Verifiable constraints on a response, checked by IFEval's own code (Zhou et al., arXiv 2311.07911) in lm-eval.

IFEval grades strictly, the response as it is, and loosely: a constraint is met if any of eight versions of the response
meets it, with or without the first line, the last line and asterisks. An empty response meets none.
"""

import contextlib
import io
import logging
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, cast
from unittest.mock import patch

from cme.records import Strict
from cme.runtime.extras import require

WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
REPEATED_RUN = 5
"""This many words in a row count as repeated: more than an answer has that a prompt lists ("My answer is yes.")."""
REMOVED = "\0"  # marks where words were removed
PACKAGES = ("lm_eval", "langdetect", "nltk", "immutabledict")
NEED_DOWNLOADS = frozenset({"length_constraints:number_sentences", "change_case:capital_word_frequency"})
"""Kinds of IFEval that are not used, because their checkers need data of NLTK that must be downloaded."""


@dataclass(frozen=True)
class ConstrainedPrompt(Strict):
    """A prompt with its constraints, in IFEval's own format.

    Attributes:
        key: Identifies the prompt in its file.
        instruction_id_list: The kinds of the constraints, such as `punctuation:no_comma`.
        kwargs: The settings of each constraint; None counts as absent.
    """

    key: str | int
    prompt: str
    instruction_id_list: list[str]
    kwargs: list[dict[str, Any]]


def check_packages(purpose: str) -> None:
    """Raise Unavailable if a package that the checkers need is not installed; `purpose` is the setting in use."""
    for package in PACKAGES:
        require(package, "capabilities", purpose)


def strictly_met(prompt: ConstrainedPrompt, response: str) -> list[bool]:
    """Whether the response meets each constraint, by IFEval's strict rule."""
    followed = _ifeval().test_instruction_following_strict(prompt, response)
    return cast("list[bool]", followed.follow_instruction_list)


def loosely_met(prompt: ConstrainedPrompt, response: str) -> list[bool]:
    """Whether the response meets each constraint, by IFEval's loose rule."""
    followed = _ifeval().test_instruction_following_loose(prompt, response)
    return cast("list[bool]", followed.follow_instruction_list)


def remove_repeated(prompt: ConstrainedPrompt, response: str) -> str:
    """The response without the words that it repeats of its prompt.

    Words count as repeated if at least `REPEATED_RUN` in a row are in a row in the prompt, too, whatever their capitals
    and punctuation. Words that a constraint demands, such as an end phrase, do not count. A line that keeps no word is
    removed.
    """
    settings = [value for kwargs in prompt.kwargs for value in kwargs.values() if isinstance(value, str)]
    runs = set(_runs(prompt.prompt)).difference(*map(_runs, settings))
    starts = [start for start, run in enumerate(_runs(response)) if run in runs]
    repeated = {start + offset for start in starts for offset in range(REPEATED_RUN)}
    own, end = "", 0
    for number, word in enumerate(WORD.finditer(response)):
        if number in repeated:
            if number - 1 not in repeated:
                own += response[end : word.start()] + REMOVED
            end = word.end()
    own += response[end:]
    return re.sub(rf"^[^\w\n]*{REMOVED}[^\w\n]*$\n?", "", own, flags=re.MULTILINE).replace(REMOVED, "")


def _runs(text: str) -> list[tuple[str, ...]]:
    """The runs of `REPEATED_RUN` words in a row, in small letters, by the place of their first word."""
    words = [word.casefold() for word in WORD.findall(text)]
    return [tuple(words[start : start + REPEATED_RUN]) for start in range(len(words) - REPEATED_RUN + 1)]


def known_kinds() -> list[str]:
    """The kinds of constraints that can be checked without a download."""
    return sorted(_ifeval().instructions_registry.INSTRUCTION_DICT.keys() - NEED_DOWNLOADS)


def find_problem(prompt: ConstrainedPrompt) -> str | None:
    """What is wrong with a prompt's constraints, as a sentence without a full stop; None if nothing is.

    IFEval replaces a missing or impossible setting by a random one, so such settings are refused.
    """
    kinds = prompt.instruction_id_list
    if not prompt.prompt.strip() or not kinds:
        return "it must have a prompt and at least one constraint in `instruction_id_list`"
    if len(kinds) != len(prompt.kwargs):
        return f"`kwargs` has {len(prompt.kwargs)} entries for {len(kinds)} constraints"
    if len(set(kinds)) < len(kinds):
        return "a kind of constraint occurs twice in `instruction_id_list`"
    if unknown := [kind for kind in kinds if kind not in known_kinds()]:
        return f"{unknown[0]!r} is no known kind of constraint; the kinds are {', '.join(known_kinds())}"
    return next(filter(None, map(_find_problem, kinds, prompt.kwargs)), None)


def _find_problem(kind: str, kwargs: Mapping[str, Any]) -> str | None:
    checker = _ifeval().instructions_registry.INSTRUCTION_DICT[kind](kind)
    given = {name: value for name, value in kwargs.items() if value}  # as in IFEval, which drops 0, too
    if given.keys() != (needed := set(checker.get_instruction_args_keys())):
        names = ", ".join(sorted(needed)) or "nothing"
        return f"the `kwargs` of {kind} must have values for {names}, and have {', '.join(sorted(given)) or 'none'}"
    state = random.getstate()
    try:
        checker.build_description(**given)
        checker.check_following("A response.")
    except (TypeError, ValueError, LookupError, AttributeError, re.error) as error:
        return f"the `kwargs` of {kind} cannot be used ({type(error).__name__}: {error})"
    if random.getstate() != state:  # IFEval drew another setting
        return f"the `kwargs` of {kind} are out of range: {given}"
    words = [name for name in ("keywords", "forbidden_words") if not isinstance(given.get(name, []), list)]
    return f"{words[0]} of {kind} must be a list" if words else None


@cache
def _ifeval() -> ModuleType:
    """lm-eval's module of IFEval's checkers, imported without its download, with the detection of languages seeded."""
    import langdetect
    import nltk

    # the import downloads data for sentences, which no kind in use needs, and says so
    with patch.object(nltk, "download"), contextlib.redirect_stdout(io.StringIO()):
        from lm_eval.tasks.ifeval import utils

    langdetect.DetectorFactory.seed = 0  # unseeded, two gradings of one response can differ
    # a text without letters has no language, which counts as right and is no error
    logging.getLogger("lm_eval.tasks.ifeval.instructions").setLevel(logging.CRITICAL)
    return cast("ModuleType", utils)
