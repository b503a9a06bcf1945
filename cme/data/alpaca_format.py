"""AlpacaEval's outputs format: objects with `instruction`, `output` and `generator`, in a JSON list or one a line.

It is how generations travel: `alpaca_eval --model_outputs` takes the files that a finished run leaves beside its
record, and whatever others have released in it can be read here.
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
    """A file or a row that cannot be used; the message says which, why, and what would do."""


def read_outputs(path: Path) -> list[Row]:
    """Every row of a file, at least one, each with an `instruction` and an `output` that are strings.

    Raises BadOutputs for anything else, OSError for a file that cannot be opened.
    """
    with path.open("rb") as file:
        return list(
            checked_rows(file, dict.fromkeys(("instruction", "output"), "AlpacaEval's outputs have it"))
        )


def write_outputs(path: Path, said: Iterable[tuple[str, str]], generator: str, dataset: str) -> None:
    """Write instructions, each with what `generator` said to it, atomically."""
    rows = [
        {"instruction": instruction, "output": output, "generator": generator, "dataset": dataset}
        for instruction, output in said
    ]
    write_json(path, rows)


def checked_rows(file: BinaryIO, fields: Mapping[str, str]) -> Iterator[Row]:
    """The rows, at least one, each checked when it is reached: lines are read as they come, a list whole.

    `fields` are those that must be strings, each with what to do where it is missing. NaN, which is not JSON, is
    None. Raises BadOutputs, naming the file and the line or row.
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
        what = getattr(error, "msg", None) or getattr(error, "reason", error)
        raise BadOutputs(
            f"{where} is not JSON ({what}): write one object a line, or one list of objects"
        ) from error


def _checked(row: Any, where: str, fields: Mapping[str, str]) -> Row:
    if not isinstance(row, dict):
        raise BadOutputs(f"{where} is not an object: it must be one with {' and '.join(fields)}")
    for field, remedy in fields.items():
        if field not in row:
            has = ", ".join(row) or "nothing"
            raise BadOutputs(f"{where} has no field {field!r} but {has}: {remedy}")
        if not isinstance(row[field], str):
            raise BadOutputs(f"{where}: {field!r} is {json.dumps(row[field])[:40]}: it must be a string")
        if any("\ud800" <= c <= "\udfff" for c in row[field]):
            raise BadOutputs(
                f"{where}: {field!r} has half a surrogate pair, which no tokenizer reads: take it out"
            )
    return row
