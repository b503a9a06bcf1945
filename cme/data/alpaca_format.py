"""AlpacaEval's format for outputs: objects with `instruction`, `output` and `generator`, as a JSON list or JSON lines.

Generations are exchanged in it: `alpaca_eval --model_outputs` reads the files that a finished run writes beside its
record, and outputs that others have released can be read here.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from cme.records import write_json

_BLANK = b"\xef\xbb\xbf \t\r\n"  # with the byte order mark

Row = dict[str, Any]


class BadOutputs(ValueError):
    """A file or a row that cannot be used; the message says which, why, and how to correct it."""


def read_outputs(path: Path) -> list[Row]:
    """The rows of a file, each with an `instruction` and an `output` that are strings.

    Raises BadOutputs for any other content or no rows, and OSError for a file that cannot be opened.
    """
    with path.open("rb") as file:
        return list(
            checked_rows(file, dict.fromkeys(("instruction", "output"), "AlpacaEval's format needs it"))
        )


def write_outputs(path: Path, outputs: Iterable[tuple[str, str]], generator: str, dataset: str) -> None:
    """Write pairs of an instruction and the output of `generator`, atomically."""
    rows = [
        {"instruction": instruction, "output": output, "generator": generator, "dataset": dataset}
        for instruction, output in outputs
    ]
    write_json(path, rows)


def checked_rows(file: BinaryIO, fields: Mapping[str, str]) -> Iterator[Row]:
    """The rows of a JSON list or of JSON lines. Lines are read and checked one at a time.

    Args:
        fields: the fields that must be strings, each with a remedy to print if it is missing.

    NaN, which JSON does not allow, becomes None. Raises BadOutputs, naming the file and the line or row, for a bad row
    or no rows.
    """
    lines = ((f"line {n}", line) for n, line in enumerate(file, start=1) if line.strip(_BLANK))
    where, first = next(lines, ("", b""))
    found: Iterator[tuple[str, Any]]
    if first.lstrip(_BLANK).startswith(b"["):
        listed = _parsed(first + file.read(), file.name)
        found = ((f"row {n}", row) for n, row in enumerate(listed, start=1))
    else:
        every = chain([(where, first)] if first else [], lines)
        found = ((at, _parsed(line, f"{file.name}, {at}")) for at, line in every)
    empty = True
    for at, row in found:
        yield _checked(row, f"{file.name}, {at}", fields)
        empty = False
    if empty:
        raise BadOutputs(f"{file.name} has no rows: it must have objects with {' and '.join(fields)}")


def _parsed(raw: bytes, where: str) -> Any:
    try:
        return json.loads(raw, parse_constant=lambda _: None)
    except ValueError as error:
        raise BadOutputs(
            f"{where} is not JSON ({error}): write one object per line, or one list of objects"
        ) from error


def _checked(row: Any, where: str, fields: Mapping[str, str]) -> Row:
    if not isinstance(row, dict):
        raise BadOutputs(f"{where} is not an object: it must have {' and '.join(fields)}")
    for field, remedy in fields.items():
        if field not in row:
            has = ", ".join(row) or "no fields"
            raise BadOutputs(f"{where} has no field {field!r}, only {has}: {remedy}")
        if not isinstance(row[field], str):
            raise BadOutputs(f"{where}: {field!r} is {json.dumps(row[field])[:40]}: it must be a string")
        if any("\ud800" <= c <= "\udfff" for c in row[field]):
            raise BadOutputs(
                f"{where}: {field!r} contains a lone surrogate, which cannot be encoded: remove it"
            )
    return row
