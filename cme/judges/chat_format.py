"""What a chat model is asked as a judge, and how its reply is read.

Marker lines around each text carry a digest of all three texts, so that no text can close its own block. A reply
is read whole, never searched: what a response says, and a judge repeats, cannot be taken for a verdict.
"""

import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cme.judges import JudgeVerdict, replace_surrogates, verdict_from_scores
from cme.records import Outcome

FIELDS = ("{instruction}", "{first}", "{second}")
"""What a prompt has, each once: they are where the texts go."""

NAMES = ("instruction", "response A", "response B")
REPLY_FORMAT_VERSION = 1
"""Stands in the key of the verdict log for how a reply is read: one more with any change of that."""

OUTCOMES: dict[str, Outcome] = {"A": "first", "B": "second", "TIE": "tie"}


def judging_prompt(prompt: str, instruction: str, first: str, second: str, max_response_chars: int) -> str:
    """The prompt with its three texts in their blocks; a longer response is cut, with a line that says so."""
    texts = [
        replace_surrogates(text)
        for text in (
            instruction,
            truncate_response(first, max_response_chars),
            truncate_response(second, max_response_chars),
        )
    ]
    mark = digest("\0".join(texts))
    blocks = {
        field: f"[[{name} {mark}]]\n{text}\n[[end of {name} {mark}]]"
        for field, name, text in zip(FIELDS, NAMES, texts, strict=True)
    }
    return re.sub("|".join(map(re.escape, FIELDS)), lambda found: blocks[found[0]], prompt)


def fingerprint(prompt: str, max_response_chars: int) -> str:
    """Digest of all that is sent around the texts, a cut one among them, and of how the reply is read."""
    sent = judging_prompt(
        prompt, "an instruction", "a response", "r" * (max_response_chars + 1), max_response_chars
    )
    return digest(f"{REPLY_FORMAT_VERSION}\0{sent}")


def digest(text: str) -> str:
    """12 hex digits of a text."""
    return hashlib.sha256(replace_surrogates(text).encode()).hexdigest()[:12]


def parse_reply(content: str) -> JudgeVerdict:
    """The ruling of a reply that is one JSON object with `winner` (A, B or tie), bare or in one code fence.

    Its `reason`, if it has one, is the ruling's note. Raises ValueError for any other reply, one that names a field
    twice among them.
    """
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(\{.*\})\s*```\s*", content, re.DOTALL)
    try:
        said = json.loads(fenced[1] if fenced else content, object_pairs_hook=_once_each)
        outcome = OUTCOMES[said["winner"].strip().upper()]
    except (LookupError, RecursionError, TypeError, AttributeError, ValueError):
        raise ValueError(f"the reply is not the JSON asked for: {content}") from None
    note = said.get("reason")
    return JudgeVerdict(outcome, note=note if isinstance(note, str) else None)


def verdict_from_logprobs(
    likeliest: Sequence[Mapping[str, Any]], tie_margin: float, min_mass: float
) -> JudgeVerdict:
    """The ruling by the likeliest first tokens, each a `token` and its `logprob`, with or without a space.

    P(first) = p(A) / (p(A) + p(B)), where a label that is not among them counts as 0; the scores are
    (P(first), P(second)), and up to `tie_margin` between them is a tie. Where A and B have
    less than `min_mass` of the probability, the model did not answer the question: unscored. Raises ValueError
    without either label and for what is no log-probability: above 0 or not finite.
    """
    weight = {"A": 0.0, "B": 0.0}
    for entry in likeliest:
        if (label := entry["token"].strip()) in weight:
            if not -sys.float_info.max <= entry["logprob"] <= 0:
                raise ValueError(f"the log-probability of {label} is {entry['logprob']}")
            weight[label] += math.exp(entry["logprob"])
    total = sum(weight.values())
    if not total:
        raise ValueError(f"neither A nor B is among the likeliest tokens: {[e['token'] for e in likeliest]}")
    if total < min_mass:
        return JudgeVerdict("unscored", f"A and B have {total:.4f} of the probability, below {min_mass:g}")
    ruling = verdict_from_scores(weight["A"] / total, weight["B"] / total, tie_margin)
    return replace(ruling, note=f"A and B have {total:.4f} of the probability")


def _once_each(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for one with a field twice, of which a parser keeps the last unasked."""
    found = dict(fields)
    if len(found) < len(fields):
        raise ValueError("a field is there twice")
    return found


def truncate_response(response: str, limit: int) -> str:
    """The response up to so many characters, with a line that says so where it is longer."""
    if len(response) <= limit:
        return response
    return f"{response[:limit]}\n[only the first {limit} characters are shown]"
