"""`cells.jsonl`: every cell that a command line ever asked for, with the words of a command line that run it alone."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cme.records import explain_write_errors
from cme.runtime.files import hold_lock

FILE = "cells.jsonl"


@dataclass(frozen=True)
class Entry:
    """One cell: `run_id` is the name of its folder, `python run.py *words(results_dir)` runs it alone.

    `overrides` say nothing of the results_dir, in which the ledger itself lies: it may be moved.
    `comparators` are the further models that it is to meet, by name: they add to a run without making it another.
    """

    run_id: str
    scale: str
    experiment: str | None
    overrides: list[str]
    comparators: dict[str, str] = field(default_factory=dict)

    def words(self, results_dir: Path) -> list[str]:
        """The words of a command line that ask for the cell, its results in this folder."""
        where = str(results_dir)
        if not re.fullmatch(r"[\w./+-]+", where, re.ASCII):  # Hydra's grammar wants quotes
            where = "'" + where.replace("'", "\\'") + "'"
        return [*self.overrides, f"results_dir={where}"]

    @property
    def key(self) -> str:
        """What makes two entries the same one."""
        return json.dumps([self.run_id, self.experiment, sorted(self.comparators.items())])


def add_entries(results_dir: Path, asked: Iterable[Entry]) -> None:
    """Append those entries that are not there yet. A last line that was cut off when it was written goes.

    Raises Unavailable where nothing can be written, ValueError for a ledger that cannot be read.
    """
    path = results_dir / FILE
    with hold_lock(Path(f"{path}.lock")), explain_write_errors(path):
        _cut_torn(path)
        known = {hash(entry.key) for entry in read_entries(results_dir)}
        with path.open("a") as file:
            for entry in asked:
                if hash(entry.key) not in known:
                    known.add(hash(entry.key))
                    file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_entries(results_dir: Path) -> Iterator[Entry]:
    """Every entry, one at a time; none where nothing was asked for. Raises ValueError for a line that is none."""
    path = results_dir / FILE
    if not path.exists():
        return
    with path.open() as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return  # being written, or cut off
            yield _entry(path, number, line)


def _entry(path: Path, number: int, line: str) -> Entry:
    try:
        raw: dict[str, Any] = json.loads(line)
        return Entry(**raw)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}, line {number} is not a cell: {error}; delete the line") from error


def _cut_torn(path: Path) -> None:
    """Cut off what stands behind the last line's end."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            file.seek(begin := max(0, end - 4096))
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                file.truncate(begin + newline + 1)
                return
            end = begin
        file.truncate(0)
