"""`cells.jsonl`: every cell that was ever requested, with the command line that runs it alone.

The file may come from elsewhere, so a line can set fields of a run and nothing else: it names no package to trust, no
setting of Hydra, and no folder outside the one that it lies in.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cme.records import Strict, explain_write_errors, from_json
from cme.runtime.files import check_name, hold_lock
from cme.runtime.terminal import plain
from experiments.config.composition import configures_hydra

FILE = "cells.jsonl"
COMMAND_FIELDS = ("plan", "fail_fast", "results_dir", "trusted_packages")
"""Fields that configure the command, not the run; the ledger omits them."""


@dataclass(frozen=True)
class Entry(Strict):
    """One cell of the ledger.

    Attributes:
        run_id: Name of the run's folder.
        overrides: The arguments that run the cell alone, without COMMAND_FIELDS: the folder of the results may be
            moved, and whoever runs the cell decides which packages to trust.
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
        # a ledger may come from elsewhere: what it trusts is not trusted here
        overrides = [word for word in self.overrides if field_of(word) not in COMMAND_FIELDS]
        return [*overrides, f"results_dir={folder}"]

    def check(self) -> None:
        """Raise ValueError for a run id that is not a name, and for an argument that is no override of a field."""
        check_name("run_id", self.run_id)
        for word in self.overrides:
            is_override = re.match(r"([+~]|\+\+)?\w[\w./@:-]*(=|$)", word) and plain(word) == word
            if not is_override or configures_hydra(word):
                raise ValueError(f"overrides has {word!r}, which sets no field of a run")

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
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # incomplete
            try:
                entry = from_json(Entry, line)
                entry.check()
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is not a cell: {error}; delete the line") from error
            yield entry


def field_of(override: str) -> str:
    """The top-level field or group that an override sets, such as `trainer` of `+trainer.max_steps=2`."""
    return re.split("[=.@]", override.lstrip("+~"), maxsplit=1)[0]
