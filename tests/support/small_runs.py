"""Helpers for tests of whole runs on random-weight models."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cme.checkpoints import load
from cme.models.generation import generate
from cme.records import Generation, RunRecord
from experiments.config import composition
from experiments.config.runs import Run
from experiments.run import evaluation

Cell = Callable[..., list[str]]


def composed(arguments: list[str]) -> Run:
    """The one run of a command line."""
    [run] = composition.compose_cells(arguments)
    return run


def never(*_: object, **__: object) -> Any:
    """Stands for what must not be called again."""
    raise AssertionError("this was done before")


def comparable(record: RunRecord) -> RunRecord:
    """A record without what differs between two runs of the same: seconds, and where it lay."""
    config = {k: v for k, v in record.config.items() if k not in ("results_dir", "checkpoint")}
    return replace(record, seconds=dict.fromkeys(record.seconds, 0.0), config=config)


def greedy(name: str, prompts: list[str]) -> list[Generation]:
    """A checkpoint's greedy responses of at most 6 tokens, one prompt at a time."""
    checkpoint = load(name)
    return [
        generate(checkpoint.model, checkpoint.tokenizer, [prompt], max_new_tokens=6, batch_size=1)[0]
        for prompt in prompts
    ]


def count_generations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles of all generations from here on."""
    titles: list[str] = []

    def counted(*arguments: Any, **settings: Any) -> list[Generation]:
        titles.append(settings["progress"])
        return generate(*arguments, **settings)

    monkeypatch.setattr(evaluation, "generate", counted)
    return titles
