"""The generated batches of an unfinished stage, so that the next attempt continues from them.

A generation log is an append-only file of JSON lines beside the result of the stage. The first line says what it is
made from, every further line has one batch. A sampled batch includes the state of the random generators, so that later
batches are what they would have been without the interruption.
"""

import base64
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cme.records import explain_write_errors, parse_json

Ids = list[list[int]]


@dataclass(frozen=True)
class _Batch:
    rows: list[int]
    ids: Ids
    random: dict[str, str] | None
    seconds: float


class GenerationLog:
    """The batches of an unfinished stage, and the seconds that earlier attempts spent on it.

    Batches are reused in order, and only for the same inputs and the same request. The first batch that differs or is
    damaged ends the reuse: it and all later ones are generated again.

    Args:
        path: the file.
        made_from: digest of the stage's inputs.
    """

    def __init__(self, path: Path, made_from: str) -> None:
        self.path, self.made_from = path, made_from
        self.seconds = 0.0
        self._request: str | None = None
        self._batches: list[_Batch] = []
        self._sizes: list[int] = []  # bytes of the header and of each batch
        self._next = 0
        self._last = time.monotonic()
        lines = _lines(path)
        header, size = next(lines, ({}, 0))
        if header.get("made_from") != made_from:
            return
        self._request, self._sizes = header.get("request"), [size]
        for line, size in lines:
            try:
                self._batches.append(_Batch(**line))
            except TypeError:
                return
            self._sizes.append(size)
            self.seconds += line["seconds"]

    def begin(self, request: str) -> None:
        """Start a generation, given a digest of what it is to generate. Batches of another one are discarded."""
        if self._request != request:
            self._request, self._batches, self._sizes, self.seconds = request, [], [], 0.0
            with explain_write_errors(self.path):
                self.path.unlink(missing_ok=True)
        self._next, self._last = 0, time.monotonic()

    def replay(self, rows: Sequence[int]) -> Ids | None:
        """Token ids of the next batch if it has these rows, else None. Sets torch's random state to that after it."""
        if self._next >= len(self._batches) or self._batches[self._next].rows != list(rows):
            return None
        import torch

        batch = self._batches[self._next]
        self._next += 1
        for name, state in (batch.random or {}).items():
            setter = torch.cuda.set_rng_state if name == "cuda" else torch.set_rng_state
            setter(torch.tensor(list(base64.b64decode(state)), dtype=torch.uint8))
        return batch.ids

    def add(self, rows: Sequence[int], ids: Ids, *, random: bool) -> None:
        """Save a new batch, in place of any that were saved behind the reused ones."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        batch = _Batch(list(rows), ids, _random_state() if random else None, seconds)
        header = {"made_from": self.made_from, "request": self._request}
        with explain_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.truncate(sum(self._sizes[: self._next + 1]))
                lines = [vars(batch)] if self._sizes else [header, vars(batch)]
                written = [json.dumps(line).encode() + b"\n" for line in lines]
                file.writelines(written)
        self._batches = [*self._batches[: self._next], batch]
        self._sizes = [*self._sizes[: self._next + 1], *map(len, written)]
        self._next += 1

    def delete(self) -> None:
        """Delete the file, once the stage's result is saved."""
        self.path.unlink(missing_ok=True)


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The objects of a file's complete lines and their size in bytes, up to the first damaged line."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                content = parse_json(line)
            except ValueError:
                return
            if not isinstance(content, dict) or not line.endswith(b"\n"):
                return
            yield content, len(line)


def _random_state() -> dict[str, str]:
    """The state of torch's generators on the CPU and the current GPU."""
    import torch

    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in states.items()}
