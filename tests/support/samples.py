"""Small inputs that many tests need: a response, a file of rows, and all prompts of a source."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from cme.miniature import world
from cme.records import Generation, Prompt

Source = Callable[[str, int, int], list[Prompt]]


def response(text: str, finished: bool = True) -> Generation:
    """A response with as many tokens as characters."""
    return Generation(text, finished, len(text))


def write_lines(path: Path, rows: Iterable[Any]) -> str:
    """Write rows as JSON lines; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def all_prompts(load_prompts: Source, split: str) -> list[Prompt]:
    """All prompts of a split, whose size the source's error states; 120 of the miniature world."""
    if load_prompts is world.load_prompts:
        return load_prompts(split, 120, 0)
    with pytest.raises(ValueError) as caught:
        load_prompts(split, 100_000, 0)
    [size] = re.findall(r"has (\d+)", str(caught.value))
    return load_prompts(split, int(size), 0)
