"""Keeping secrets out of messages, records and trackers."""

import os
import re
from collections.abc import Iterable

SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


def redact(text: str, variables: Iterable[str] = ()) -> str:
    """Replace secrets in a text: values of environment variables by their names, and what URLs may hide.

    The variables are those whose name marks a secret and those named in `variables`; values shorter than 8 characters
    stay. URLs lose user, password and query.
    """
    named = set(variables)
    for name, value in os.environ.items():
        if (name in named or SECRET_NAME.search(name)) and len(value) >= 8:
            text = text.replace(value, f"${name}")
    text = re.sub(r"://[^/\s@]+@", "://***@", text)
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\")]+", r"\1?***", text)
