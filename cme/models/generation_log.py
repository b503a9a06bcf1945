"""What is kept of a stage that is not done, so that the next attempt goes on: the batches of its generation.

A file of JSON lines that only grows, beside the stage's own: first what the stage is made from, then a line a batch.
The random numbers' state goes with a sampled batch, so that those after it are what they would have been.
"""

import base64
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cme.records import explain_write_errors

Ids = list[list[int]]


@dataclass(frozen=True)
class _Batch:
    rows: list[int]
    ids: Ids
    random: dict[str, str] | None
    seconds: float


class GenerationLog:
    """The batches of a stage that is not done, and the seconds that earlier attempts at it took.

    Batches count only for what they were made from and asked for, one after the other: the first that is another, or is
    torn, ends what is used again, and it and all behind it are made anew.
    """

    def __init__(self, path: Path, made_from: str) -> None:
        self.path, self.made_from = path, made_from
        self.seconds = 0.0
        self._asked: str | None = None
        self._found: list[_Batch] = []
        self._sizes: list[int] = []
        self._next = 0
        self._last = time.monotonic()
        self._read()

    def begin(self, asked: str) -> None:
        """Say what is asked for, a digest: batches of another generation are forgotten."""
        if self._asked != asked:
            self._asked, self._found, self._sizes, self.seconds = asked, [], [], 0.0
            with explain_write_errors(self.path):
                self.path.unlink(missing_ok=True)
        self._next, self._last = 0, time.monotonic()

    def again(self, rows: Sequence[int]) -> Ids | None:
        """The token ids of the next batch if it was of these rows; torch's random state is then as it was after it."""
        if self._next >= len(self._found) or self._found[self._next].rows != list(rows):
            return None
        batch = self._found[self._next]
        self._next += 1
        if batch.random is not None:
            _set_random(batch.random)
        return batch.ids

    def add(self, rows: Sequence[int], ids: Ids, *, random: bool) -> None:
        """Keep a batch that was made now, in place of whatever was kept behind those that were used again."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        batch = _Batch(list(rows), ids, _random() if random else None, seconds)
        header = {"made_from": self.made_from, "asked": self._asked}
        with explain_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.truncate(sum(self._sizes[: self._next + 1]))
                lines = [vars(batch)] if self._sizes else [header, vars(batch)]
                written = [json.dumps(line).encode() + b"\n" for line in lines]
                file.writelines(written)
        self._found = [*self._found[: self._next], batch]
        self._sizes = [*self._sizes[: self._next + 1], *map(len, written)]
        self._next += 1

    def done(self) -> None:
        """Forget it all: the stage's own file is whole."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        lines = _lines(self.path)
        header, size = next(lines, ({}, 0))
        if header.get("made_from") != self.made_from:
            return
        self._asked, self._sizes = header.get("asked"), [size]
        for line, size in lines:
            try:
                self._found.append(_Batch(**line))
            except TypeError:
                return
            self._sizes.append(size)
            self.seconds += line["seconds"]


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The objects of a file's whole lines and their bytes, up to the first that is none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                found = json.loads(line)
            except ValueError:
                return
            if not isinstance(found, dict) or not line.endswith(b"\n"):
                return
            yield found, len(line)


def _random() -> dict[str, str]:
    """The state of torch's generators, of the CPU and of the GPU at hand."""
    import torch

    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in states.items()}


def _set_random(states: dict[str, str]) -> None:
    import torch

    for name, setter in (("cpu", torch.set_rng_state), ("cuda", torch.cuda.set_rng_state)):
        if name in states:
            setter(torch.tensor(list(base64.b64decode(states[name])), dtype=torch.uint8))
