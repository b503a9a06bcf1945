"""The judging prompts of chat models, and how the reply to `ChatEndpoint`'s becomes a verdict.

In `judging_prompt`, each text stands between marker lines that contain a digest of all three texts, so no text can
close its own block. The whole reply must be one JSON object, or one label token. Nothing searches it for a verdict, so
a judge that quotes a response cannot be mistaken for one that agrees with it.
"""

import hashlib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cme.judges.base import JudgeVerdict, replace_surrogates, verdict_from_scores
from cme.records import Outcome, parse_json

FIELDS = ("{instruction}", "{first}", "{second}")
"""Placeholders of a prompt; each must occur exactly once."""

NAMES = ("instruction", "response A", "response B")
REPLY_FORMAT_VERSION = 1
"""Part of the judge's fingerprint. Increase it with every change that gives a scored reply another verdict."""

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
"""The newer and the older name of a request's limit of tokens."""

OUTCOMES: dict[str, Outcome] = {"A": "first", "B": "second", "TIE": "tie"}


def judging_prompt(prompt: str, instruction: str, first: str, second: str, max_response_chars: int) -> str:
    """The prompt with each placeholder replaced by its text between marker lines.

    Responses longer than `max_response_chars` are truncated.
    """
    responses = [truncate_response(response, max_response_chars) for response in (first, second)]
    texts = [replace_surrogates(text) for text in (instruction, *responses)]
    mark = digest("\0".join(texts))
    blocks = {
        field: f"[[{name} {mark}]]\n{text}\n[[end of {name} {mark}]]"
        for field, name, text in zip(FIELDS, NAMES, texts, strict=True)
    }
    return fill(prompt, blocks)


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


def fingerprint(prompt: str, max_response_chars: int) -> str:
    """Digest of the fixed parts of the judging prompt, with a truncated response, and of how replies are read."""
    sent = judging_prompt(
        prompt, "an instruction", "a response", "r" * (max_response_chars + 1), max_response_chars
    )
    return digest(f"{REPLY_FORMAT_VERSION}\0{sent}")


def digest(text: str) -> str:
    """SHA-256 of a text, the first 12 hex digits."""
    return hashlib.sha256(replace_surrogates(text).encode()).hexdigest()[:12]


def without_fence(reply: str) -> str:
    """The JSON object in a reply, without the code fence around it; any other reply as it is."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(\{.*\})\s*```\s*", reply, re.DOTALL)
    return fenced[1] if fenced else reply


def parse_reply(content: str) -> JudgeVerdict:
    """The verdict in a reply that is one JSON object with `winner` (A, B or tie), optionally in a code fence.

    Its `reason`, if it is a string, becomes the verdict's note. Raises ValueError for any other reply, and for an
    object with a duplicate key.
    """

    def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("duplicate key")  # a parser would silently keep the last one
        return dict(pairs)

    try:
        reply = parse_json(without_fence(content), object_pairs_hook=unique_keys)
        outcome = OUTCOMES[reply["winner"].strip().upper()]
    except (LookupError, TypeError, AttributeError, ValueError):
        raise ValueError(f"the reply is not the requested JSON: {content}") from None
    note = reply.get("reason")
    return JudgeVerdict(outcome, note=note if isinstance(note, str) else None)


def verdict_from_logprobs(
    top_logprobs: Sequence[Mapping[str, Any]], tie_margin: float, min_label_mass: float
) -> JudgeVerdict:
    """The verdict in the most likely first tokens of a reply, each with `token` and `logprob`.

    P(first) = p(A) / (p(A) + p(B)), where a label that is not listed counts as 0 and a space around a label is ignored.
    The scores are (P(first), P(second)); they tie if they differ by at most `tie_margin`. The verdict is unscored if A
    and B together have less probability than `min_label_mass`. Raises ValueError if neither label is listed, or for a
    log-probability that is positive or not finite.
    """
    mass = {"A": 0.0, "B": 0.0}
    for entry in top_logprobs:
        if (label := entry["token"].strip()) in mass:
            if not -sys.float_info.max <= entry["logprob"] <= 0:
                raise ValueError(f"the log-probability of {label} is {entry['logprob']}")
            mass[label] += math.exp(entry["logprob"])
    total = sum(mass.values())
    if not total:
        raise ValueError(
            f"neither A nor B is among the most likely tokens: {[e['token'] for e in top_logprobs]}"
        )
    note = f"A and B together have probability {total:.4f}"
    if total < min_label_mass:
        return JudgeVerdict("unscored", f"{note}, below {min_label_mass:g}")
    return replace(verdict_from_scores(mass["A"] / total, mass["B"] / total, tie_margin), note=note)
