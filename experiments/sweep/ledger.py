"""`cells.jsonl`: every cell that was ever requested, with the command line that runs it alone."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cme.records import Strict, explain_write_errors, from_json
from cme.runtime.files import hold_lock

FILE = "cells.jsonl"


@dataclass(frozen=True)
class Entry(Strict):
    """One cell of the ledger.

    Attributes:
        run_id: Name of the run's folder.
        overrides: The arguments that run the cell alone, without `results_dir`, since that folder may be moved.
        comparators: The further models and the cut start to compare the run with: checkpoint by name. They do not
            change the run.
    """

    run_id: str
    scale: str
    experiment: str | None
    overrides: list[str]
    comparators: dict[str, str] = field(default_factory=dict)

    def words(self, results_dir: Path) -> list[str]:
        """The arguments that run the cell alone with its results in `results_dir`."""
        folder = str(results_dir)
        if not re.fullmatch(r"[\w./+-]+", folder, re.ASCII):  # Hydra's grammar needs quotes
            folder = "'" + folder.replace("'", "\\'") + "'"
        return [*self.overrides, f"results_dir={folder}"]

    @property
    def key(self) -> tuple[object, ...]:
        """The fields that distinguish two entries."""
        return self.run_id, self.experiment, *sorted(self.comparators.items())


def add_entries(results_dir: Path, entries: Iterable[Entry]) -> None:
    """Append the entries that are not in the ledger yet, after removing an incomplete last line.

    Raises Unavailable if the ledger cannot be written, ValueError if it cannot be read.
    """
    path = results_dir / FILE
    with hold_lock(Path(f"{path}.lock")), explain_write_errors(path):
        if path.exists():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        known = {entry.key for entry in read_entries(results_dir)}
        with path.open("a") as file:
            for entry in entries:
                if entry.key not in known:
                    known.add(entry.key)
                    file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_entries(results_dir: Path) -> Iterator[Entry]:
    """Every entry of the ledger, one at a time. Raises ValueError, naming the line, for a malformed one."""
    path = results_dir / FILE
    if not path.exists():
        return
    with path.open() as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return  # incomplete
            try:
                yield from_json(Entry, line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is not a cell: {error}; delete the line") from error
