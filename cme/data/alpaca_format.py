"""AlpacaEval's format for outputs: objects with `instruction`, `output` and `generator`, as a JSON list or JSON lines.

A finished run writes its generations in this format, for `alpaca_eval --model_outputs`. Published outputs in this
format can be read.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from cme.records import parse_json, write_json

_BLANK = b"\xef\xbb\xbf \t\r\n"  # with the byte order mark

Row = dict[str, Any]


class BadOutputs(ValueError):
    """A file or a row that cannot be used; the message names it, the reason and the remedy."""


def read_outputs(path: Path) -> list[Row]:
    """The rows of a file, each with the strings `instruction` and `output`.

    Raises BadOutputs for any other content or no rows, and OSError for a file that cannot be opened.
    """
    fields = dict.fromkeys(("instruction", "output"), "AlpacaEval's format needs it")
    with path.open("rb") as file:
        return list(checked_rows(file, fields))


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
        fields: the fields that must be strings, each with the remedy that the error for a missing one names.

    NaN, which JSON does not allow, becomes None. Raises BadOutputs, naming the file and the line or row, for a bad row
    or no rows.
    """
    empty = True
    for where, row in located_rows(file):
        empty = False
        if not isinstance(row, dict):
            raise BadOutputs(f"{where} is not an object: it must have {' and '.join(fields)}")
        for field, remedy in fields.items():
            if field not in row:
                present = ", ".join(row) or "no fields"
                raise BadOutputs(f"{where} has no field {field!r}, only {present}: {remedy}")
            if not isinstance(row[field], str):
                raise BadOutputs(f"{where}: {field!r} is {json.dumps(row[field])[:40]}: it must be a string")
            if any("\ud800" <= c <= "\udfff" for c in row[field]):
                raise BadOutputs(
                    f"{where}: {field!r} has a lone surrogate, which UTF-8 cannot encode: remove it"
                )
        yield row
    if empty:
        raise BadOutputs(f"{file.name} has no rows: it must have objects with {' and '.join(fields)}")


def located_rows(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """The values of a JSON list or of JSON lines, each with its place, such as `mine.jsonl, line 3`.

    Lines are read one at a time. Raises BadOutputs for text that is not JSON.
    """
    lines = ((f"line {n}", line) for n, line in enumerate(file, start=1) if line.strip(_BLANK))
    first = next(lines, None)
    if first is None:
        return
    if first[1].lstrip(_BLANK).startswith(b"["):
        values = _parse(first[1] + file.read(), file.name)
        yield from ((f"{file.name}, row {n}", row) for n, row in enumerate(values, start=1))
    else:
        for name, line in chain([first], lines):
            yield f"{file.name}, {name}", _parse(line, f"{file.name}, {name}")


def _parse(raw: bytes, where: str) -> Any:
    try:
        return parse_json(raw, parse_constant=lambda _: None)
    except ValueError as error:
        remedy = "write one object per line, or one list of objects"
        raise BadOutputs(f"{where} is not JSON ({error}): {remedy}") from error
