"""The generated batches of an unfinished stage, so that the next attempt continues from them.

A generation log is an append-only file of JSON lines beside the result of the stage. The first line says what it is
made from, every further line has one batch. A sampled batch includes the state of the random generators, so that later
batches are what they would have been without the interruption.
"""

import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cme.records import Number, Strict, explain_write_errors, from_json, parse_json

Ids = list[list[int]]


@dataclass(frozen=True)
class _Batch(Strict):
    rows: list[int]
    ids: Ids
    random: dict[str, str] | None
    seconds: Number


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
        try:
            content = path.read_bytes() if path.exists() else b""
            lines = (line for line in content.splitlines(keepends=True) if line.endswith(b"\n"))
            first = next(lines, b"{}")
            header = parse_json(first)
            if not isinstance(header, dict) or header.get("made_from") != made_from:
                return
            self._request, self._sizes = header.get("request"), [len(first)]
            for line in lines:
                self._batches.append(from_json(_Batch, line))
                self._sizes.append(len(line))
                self.seconds += self._batches[-1].seconds
        except ValueError:  # the first damaged line ends the reuse
            return

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


def _random_state() -> dict[str, str]:
    """The state of torch's generators on the CPU and the current GPU."""
    import torch

    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in states.items()}
