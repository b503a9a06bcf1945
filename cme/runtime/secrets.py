"""Removal of secrets from messages, records and trackers."""

import os
import re
from collections.abc import Iterable

SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


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
