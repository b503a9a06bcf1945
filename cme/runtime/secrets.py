"""Removal of secrets from messages, records and trackers."""

import os
import re
from collections.abc import Iterable

from cme import Unavailable

SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


def read_key(variable: str | None, owner: str) -> str:
    """The API key in an environment variable; empty without a variable.

    Raises Unavailable, which names the server that the key is for, if the variable holds none that can be sent.
    """
    key = "" if variable is None else os.environ.get(variable, "").strip()
    if variable is not None and not (key and key.isascii() and key.isprintable()):
        raise Unavailable(f"the environment variable {variable} holds no usable key for {owner}; set it")
    return key


def quote(text: str, key: str) -> str:
    """At most 200 characters of what a server sent, on one line, with `***` in place of the key."""
    return " ".join((text.replace(key, "***") if key else text).split())[:200]


def redact(text: str, variables: Iterable[str] = ()) -> str:
    """Replace secrets in a text: values of variables by their names; user, password and query of URLs by `***`.

    The environment variables are those in `variables` and those whose name says that it is a secret. Values of fewer
    than 8 characters stay.
    """
    names = set(variables)
    for name, value in os.environ.items():
        if (name in names or SECRET_NAME.search(name)) and len(value) >= 8:
            text = text.replace(value, f"${name}")
    text = re.sub(r"://[^/\s@]+@", "://***@", text)
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\")]+", r"\1?***", text)
