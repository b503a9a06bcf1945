"""From JSON to dataclasses: every field checked against its annotation, by pydantic."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

T = TypeVar("T")

LARGEST_COUNT = 2**53
"""Larger integers are not exact where numbers are floating-point."""
LARGEST_NUMBER = 1e100
"""No measurement in float32 is beyond it, and its square is still finite."""


def _check_numbers(value: Any, path: str = "") -> Any:
    """The value. Raises ValueError for a number in nested mappings and lists that is too large, or NaN."""
    if isinstance(value, Mapping | list):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            _check_numbers(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, int | float):
        limit = LARGEST_COUNT if isinstance(value, int) else LARGEST_NUMBER
        if not abs(value) <= limit:
            raise ValueError(f"{path}={str(value)[:40]}; it must be from {-limit:g} to {limit:g}")
    return value


Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Number = Annotated[float, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER, allow_inf_nan=False)]
Cost = Annotated[float, Field(ge=0, le=LARGEST_NUMBER, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Settings = Annotated[dict[str, Any], AfterValidator(_check_numbers)]
"""A configuration, whose numbers have the same bounds wherever they are in it."""


class BadFile(ValueError):
    """A malformed file of this project; the message names the file and says what to do."""


def parse_json(text: str | bytes, **options: Any) -> Any:
    """The value of a JSON text; `options` are those of `json.loads`.

    Raises ValueError for a text that is not JSON or is nested too deeply.
    """
    try:
        return json.loads(text, **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class Strict:
    """Base of the dataclasses that are read from files. Unknown fields and values of another type are errors.

    A field with a default may be absent, as it is in files that are older than the field.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    def check(self) -> None:
        """Raise ValueError if fields contradict each other. `read_record` calls it."""


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def from_json(kind: type[T], text: str | bytes) -> T:
    """The dataclass `kind` from its JSON text. Raises ValueError that names the first field with a wrong value."""
    try:
        return cast("T", _adapter(kind).validate_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or kind.__name__
        value = "" if first["type"] == "missing" else f" (the value is {first['input']!r:.80})"
        raise ValueError(f"{field}: {first['msg'].removeprefix('Value error, ')}{value}") from error


def find_unwritable(value: Any, path: str = "") -> str | None:
    """A sentence on the first part of nested mappings and lists that a JSON file cannot hold; None without any.

    These are numbers that are not finite, and text with a lone surrogate, which UTF-8 cannot encode.
    """
    if isinstance(value, Mapping):
        parts = [(f"{path}.{key}" if path else str(key), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{path}[{i}]", part) for i, part in enumerate(value)]
    elif isinstance(value, float) and not math.isfinite(value):
        return f"{path}={value}; it must be a finite number"
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        return f"{path}={value!a}; it must be text without lone surrogates, which UTF-8 cannot encode"
    else:
        return None
    return next(filter(None, (find_unwritable(part, name) for name, part in parts)), None)


def check_lengths(columns: Mapping[str, Sequence[Any] | None], count: int, rows: str) -> None:
    """Raise ValueError unless every column has `count` entries. `rows` says what they belong to; None is no column."""
    for name, column in columns.items():
        if column is not None and len(column) != count:
            raise ValueError(f"{name} has {len(column)} entries for {count} {rows}")
