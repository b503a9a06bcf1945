"""What the prompts of judges share: placeholders, truncation and digests."""

import hashlib
import re
from collections.abc import Mapping, Sequence

from cme.judges.base import replace_surrogates

FIELDS = ("{instruction}", "{first}", "{second}")
"""Placeholders of a prompt; each must occur exactly once."""

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
"""The newer and the older name of a request's limit of tokens."""


def check_placeholders(prompt: str, placeholders: Sequence[str]) -> None:
    """Raise ValueError unless a prompt has each placeholder exactly once."""
    if any(prompt.count(placeholder) != 1 for placeholder in placeholders):
        raise ValueError(f"prompt must contain each of {', '.join(placeholders)} once")


def fill(prompt: str, texts: Mapping[str, str]) -> str:
    """The prompt with each placeholder replaced by its text; a placeholder within a text stays as it is."""
    filled = re.sub("|".join(map(re.escape, texts)), lambda match: texts[match[0]], prompt)
    return replace_surrogates(filled)


def truncate_response(response: str, limit: int) -> str:
    """The first `limit` characters of a longer response, followed by a line that says so."""
    if len(response) <= limit:
        return response
    return f"{response[:limit]}\n[only the first {limit} characters are shown]"


def digest(text: str) -> str:
    """SHA-256 of a text, the first 12 hex digits."""
    return hashlib.sha256(replace_surrogates(text).encode()).hexdigest()[:12]


def without_fence(reply: str) -> str:
    """The JSON object in a reply, without the code fence around it; any other reply as it is."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(\{.*\})\s*```\s*", reply, re.DOTALL)
    return fenced[1] if fenced else reply
