"""From JSON to dataclasses: every field checked against its annotation, by pydantic."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

T = TypeVar("T")


class BadFile(ValueError):
    """A file of this project that is malformed; the message names the file and says what to do."""


class Strict:
    """Base of the dataclasses that are read from files: no unknown field, no conversion between types.

    A field with a default may be absent, as in files that are older than the field.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    def check(self) -> None:
        """Raise ValueError where the fields contradict each other; called after reading."""


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def from_json(kind: type[T], text: str) -> T:
    """The dataclass `kind` from its JSON text. Raises ValueError, naming field and value, where one does not fit."""
    try:
        return cast("T", _adapter(kind).validate_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or kind.__name__
        value = "" if first["type"] == "missing" else f" (the value is {first['input']!r:.80})"
        raise ValueError(f"{field}: {first['msg']}{value}") from error
