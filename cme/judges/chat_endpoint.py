"""A language model as judge with a prompt of this project, behind any OpenAI-compatible chat endpoint.

The model answers with one JSON object or, for `reply="label"`, with one token whose log-probabilities are read. Nothing
searches a longer reply for a verdict, so a judge that quotes a response cannot be mistaken for one that agrees with it.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from cme.judges.base import JudgeVerdict, replace_surrogates, verdict_from_scores
from cme.judges.chat_format import FIELDS, check_placeholders, digest, fill, truncate_response, without_fence
from cme.judges.server import ServerJudge
from cme.records import Generation, Outcome, Prompt, parse_json

NAMES = ("instruction", "response A", "response B")
REPLY_FORMAT_VERSION = 1
"""Part of the judge's fingerprint. Increase it with every change that gives a scored reply another verdict."""

OUTCOMES: dict[str, Outcome] = {"A": "first", "B": "second", "TIE": "tie"}


@dataclass(kw_only=True, eq=False, repr=False)
class ChatEndpoint(ServerJudge):
    """Compares two responses by asking a chat model.

    Args:
        prompt: the question, with `{instruction}`, `{first}` and `{second}` each once.
        reply_with: instructions for the reply, appended to the prompt.
        reply: `json`, an object with `winner` (A, B or tie) and `reason`; or `label`, one token, A or B, whose
            `top_logprobs` give P(first) = p(A) / (p(A) + p(B)). The scores are then (P(first), P(second)).
        tie_margin: with `label`, difference of the scores up to which the verdict is a tie.
        min_label_mass: with `label`, the least probability of A and B together; below it the verdict is unscored.
        max_response_chars: longer responses are truncated to this length, with a note that says so.

    The other arguments are those of `ServerJudge`.
    """

    prompt: str
    reply_with: str
    reply: Literal["json", "label"]
    tie_margin: float
    max_response_chars: int
    min_label_mass: float = 0.5

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Raise ValueError for arguments that cannot work. Sends nothing."""
        super().check(**settings)
        check_placeholders(settings["prompt"], FIELDS)
        if settings["reply"] == "label" and not settings["decoding"].get("top_logprobs"):
            raise ValueError(
                "reply=label reads decoding.top_logprobs; set it, and set decoding.logprobs=true"
            )
        if settings["max_response_chars"] <= 0:
            raise ValueError(f"max_response_chars={settings['max_response_chars']}; it must be above 0")
        if settings["tie_margin"] < 0:
            raise ValueError(f"tie_margin={settings['tie_margin']}; it must be at least 0")
        if not 0 <= settings.get("min_label_mass", 0) <= 1:
            raise ValueError(f"min_label_mass={settings['min_label_mass']}; it must be from 0 to 1")

    @staticmethod
    def fingerprint(**settings: Any) -> str:
        """Digest of the fixed parts of the judging prompt, with a truncated response, and of how replies are read."""
        limit = settings["max_response_chars"]
        question = f"{settings['prompt']}\n{settings['reply_with']}"
        sent = judging_prompt(question, "an instruction", "a response", "r" * (limit + 1), limit)
        return digest(f"{REPLY_FORMAT_VERSION}\0{sent}")

    def messages(self, prompt: Prompt, first: Generation, second: Generation) -> list[dict[str, str]]:
        """The judging prompt with both responses between marker lines."""
        question = f"{self.prompt}\n{self.reply_with}"
        shown = prompt.text, first.response, second.response
        return [{"role": "user", "content": judging_prompt(question, *shown, self.max_response_chars)}]

    def read_choice(self, choice: Any) -> JudgeVerdict:
        """The verdict in the text of a choice or, with `label`, in the log-probabilities of its first token.

        Raises ValueError for a choice without a verdict.
        """
        if self.reply == "json":
            return super().read_choice(choice)
        try:
            top_logprobs = choice["logprobs"]["content"][0]["top_logprobs"]
            return verdict_from_logprobs(top_logprobs, self.tie_margin, self.min_label_mass)
        except (LookupError, TypeError, AttributeError):
            raise ValueError(f"the reply has no top_logprobs: {choice}") from None

    def parse(self, reply: str) -> JudgeVerdict:
        """The verdict in a reply that is one JSON object with `winner` (A, B or tie), optionally in a code fence.

        Its `reason`, if it is a string, becomes the verdict's note. Raises ValueError for any other reply, and for an
        object with a duplicate key, of which a parser would silently keep the last one.
        """

        def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            if len(dict(pairs)) < len(pairs):
                raise ValueError("duplicate key")
            return dict(pairs)

        try:
            given = parse_json(without_fence(reply), object_pairs_hook=unique_keys)
            outcome = OUTCOMES[given["winner"].strip().upper()]
        except (LookupError, TypeError, AttributeError, ValueError):
            raise ValueError(f"the reply is not the requested JSON: {reply}") from None
        note = given.get("reason")
        return JudgeVerdict(outcome, note=note if isinstance(note, str) else None)


def judging_prompt(prompt: str, instruction: str, first: str, second: str, max_response_chars: int) -> str:
    """The prompt with each placeholder replaced by its text between marker lines.

    The lines contain a digest of all three texts, so no text can close its own block. Responses longer than
    `max_response_chars` are truncated.
    """
    responses = [truncate_response(response, max_response_chars) for response in (first, second)]
    texts = [replace_surrogates(text) for text in (instruction, *responses)]
    mark = digest("\0".join(texts))
    blocks = {
        field: f"[[{name} {mark}]]\n{text}\n[[end of {name} {mark}]]"
        for field, name, text in zip(FIELDS, NAMES, texts, strict=True)
    }
    return fill(prompt, blocks)


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
