"""The base of judges that are a language model behind an OpenAI-compatible chat endpoint.

A failed call or a malformed reply is retried and then unscored, never a tie. A reply that is cut at its limit of tokens
or that is empty is paid for, and another attempt would repeat it: it is unscored at once.
"""

import copy
import math
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from cme import Unavailable
from cme.judges.base import Judge, JudgeVerdict
from cme.judges.budget import Budget
from cme.judges.chat_format import OUTPUT_LIMITS
from cme.models.thoughts import split_thoughts
from cme.records import Generation, Prompt
from cme.runtime.extras import require

CHARACTERS_PER_TOKEN = 4.0
"""For estimates; close to English text under most tokenizers."""

TEMPLATE_TOKENS = 256
"""Allowance for the tokens of the server's chat template, in the most that a request can cost."""

RESERVED_FIELDS = ("model", "messages", "stream", "n")
"""Fields of a request that `decoding` may not set."""


@dataclass(kw_only=True, eq=False, repr=False)
class ServerJudge(Judge):
    """Asks a chat model. A subclass writes the messages of a request and parses the reply.

    Args:
        base_url: address of the endpoint, such as `https://api.openai.com/v1`, without a key or password in it.
        model: name of the model there.
        decoding: further fields of the request; None leaves a field out. It must have `max_completion_tokens` or
            `max_tokens`.
        api_key_variable: environment variable that holds the key; None for a server that needs none. The key is never
            stored, and is removed from everything the server sends.
        usd_per_million_input, usd_per_million_output: prices of tokens in US dollars; None if unknown.
        max_calls, max_usd: budget of requests and US dollars for all judging of a run, over all restarts. A request is
            sent only if the most it can cost fits. It counts as that much unless the server reports its usage. The
            verdict log keeps the spending, also if judging ends early. The trial call does not count, and neither do
            the requests in flight when a run is killed.
        concurrency: the number of comparisons made at the same time.
        timeout: time limit of a request, in seconds.
        retries: further attempts by the openai client if the server cannot be reached, exceeds `timeout`, answers 408,
            409, 429 or 5xx, or sends a malformed reply that is neither cut nor empty. It waits with exponential
            back-off, or as long as `Retry-After` says; if that is above 120 seconds, it does not retry.
    """

    NEUTRAL = frozenset(
        {
            "base_url",  # `model` identifies the model; experiments add `base_url` for a server without a key
            "api_key_variable",
            "usd_per_million_input",
            "usd_per_million_output",
            "max_calls",
            "max_usd",
            "concurrency",
            "timeout",
            "retries",
        }
    )
    asks_server = True

    base_url: str
    model: str
    decoding: dict[str, Any]
    api_key_variable: str | None = None
    usd_per_million_input: float | None = None
    usd_per_million_output: float | None = None
    max_calls: int | None = None
    max_usd: float | None = None
    concurrency: int = 16
    timeout: float = 120.0
    retries: int = 5

    def __post_init__(self) -> None:
        require("openai", "judge", f"the judge {self.model}")
        from cme.judges.chat_client import ChatClient  # imports openai, which validation does not need

        decoding = {key: value for key, value in self.decoding.items() if value is not None}
        self.output_limit = next(limit for limit in OUTPUT_LIMITS if limit in decoding)
        self.max_reply_tokens = int(decoding[self.output_limit])
        self.budget = Budget(self.max_calls, self.max_usd)
        self._client = ChatClient(self.base_url, self.model, self.api_key_variable, decoding, self.timeout)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Raise ValueError for arguments that cannot work. Sends nothing."""
        url = urlsplit(settings["base_url"])
        if "@" in settings["base_url"] or url.query:
            raise ValueError(
                "base_url contains a user or a query; set the environment variable api_key_variable to the key"
            )
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url={settings['base_url']}; it must begin with http:// or https://")
        variable = settings.get("api_key_variable")
        if variable is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
            raise ValueError(  # without its value: it may be the key itself
                "api_key_variable must be the name of an environment variable, in capitals, such as OPENAI_API_KEY"
            )
        decoding = settings["decoding"]
        if not any(decoding.get(limit) for limit in OUTPUT_LIMITS):
            raise ValueError(f"decoding={decoding}; it must have {' or '.join(OUTPUT_LIMITS)}")
        for limit in OUTPUT_LIMITS:
            most = decoding.get(limit)
            if most is not None and (type(most) is not int or most < 1):
                raise ValueError(f"decoding.{limit}={most}; it must be a number of tokens, at least 1")
        if reserved := [field for field in RESERVED_FIELDS if field in decoding]:
            raise ValueError(f"decoding.{reserved[0]} is set by the judge; leave it out")
        prices = [settings.get(f"usd_per_million_{side}") for side in ("input", "output")]
        if settings.get("max_usd") is not None and None in prices:
            raise ValueError(
                f"max_usd={settings['max_usd']} needs prices: set usd_per_million_input and usd_per_million_output"
            )
        for key in ("concurrency", "timeout", "max_calls", "max_usd"):
            if settings.get(key) is not None and settings[key] <= 0:
                raise ValueError(f"{key}={settings[key]}; it must be above 0")
        if settings.get("retries", 0) < 0:
            raise ValueError(f"retries={settings['retries']}; it must be at least 0")

    def messages(self, prompt: Prompt, first: Generation, second: Generation) -> list[dict[str, str]]:
        """The messages of a request."""
        raise NotImplementedError

    def parse(self, reply: str) -> JudgeVerdict:
        """The verdict in a reply without its thoughts. Raises ValueError if there is none."""
        raise NotImplementedError

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Ask the model which response is better. Raises Unavailable if no attempt can succeed."""
        from cme.judges.chat_client import Exchange

        messages = self.messages(prompt, first, second)
        # no tokenizer makes more tokens than there are bytes
        sent = sum(len(message["content"].encode()) for message in messages)
        most = self.price(sent + TEMPLATE_TOKENS, self.max_reply_tokens)
        exchange = Exchange(
            self.budget, most or 0.0, lambda reply: self._cost(reply, most or 0.0), self._read
        )
        try:
            self._client.ask(messages, exchange, self.retries)
        except Unavailable as error:
            error.calls, error.usd = exchange.calls, None if most is None else exchange.usd
            raise
        verdict = exchange.verdict or JudgeVerdict("unscored", exchange.failure)
        return replace(verdict, calls=exchange.calls, usd=None if most is None else exchange.usd)

    def probe(self) -> None:
        """Judge a trial pair, outside the budget. Raises Unavailable if that gives no verdict."""
        trial = copy.copy(self)
        trial.retries, trial.budget = min(self.retries, 2), Budget(None, None)
        blue, chair = Generation("Blue.", True, 2), Generation("A chair.", True, 3)
        verdict = trial.compare(Prompt("trial", "Name a colour."), blue, chair)
        if verdict.outcome == "unscored":
            raise Unavailable(
                f"{self._client.where} gives no verdict on a trial pair: {verdict.reason}; correct that and repeat the "
                "command, or use another judge"
            )

    def resume(self, calls: int, usd: float) -> None:
        """Count the spending of earlier runs against the budget."""
        self.budget.calls = calls
        self.budget.usd = usd

    def stop(self) -> None:
        """Send no further requests."""
        self._client.stopped.set()

    def estimate_tokens(self, prompt: Prompt, first: Generation, second: Generation) -> tuple[int, int]:
        """Tokens of the request, estimated from its characters, and of the longest reply."""
        characters = sum(len(message["content"]) for message in self.messages(prompt, first, second))
        return math.ceil(characters / CHARACTERS_PER_TOKEN), self.max_reply_tokens

    def price(self, tokens_in: int, tokens_out: int) -> float | None:
        """Cost in US dollars; None if prices are unknown."""
        if self.usd_per_million_input is None or self.usd_per_million_output is None:
            return None
        return (tokens_in * self.usd_per_million_input + tokens_out * self.usd_per_million_output) / 1e6

    def read_choice(self, choice: Any) -> JudgeVerdict:
        """The verdict in a choice of a reply's JSON.

        Raises FinalFailure for a reply that another attempt would repeat, ValueError for one without a verdict, and
        LookupError, TypeError or AttributeError for one without content.
        """
        from cme.judges.chat_client import FinalFailure

        if choice.get("finish_reason") == "length":
            raise FinalFailure(
                f"the reply was cut at its limit of {self.max_reply_tokens} tokens; "
                f"set a larger judge.decoding.{self.output_limit}"
            )
        thoughts = split_thoughts(choice["message"]["content"] or "")
        if not thoughts.closed:
            raise FinalFailure("the reply ends inside a thought, before a verdict")
        if not thoughts.response.strip():
            raise FinalFailure("the reply is empty")
        return self.parse(thoughts.response)

    def _read(self, reply: Any, text: str) -> JudgeVerdict:
        """The verdict in a reply, given its JSON and its text. Raises MalformedReply or FinalFailure."""
        from cme.judges.chat_client import FinalFailure, MalformedReply

        try:
            choice = reply["choices"][0]
            if choice.get("finish_reason") == "content_filter":
                raise FinalFailure("the server's content filter cut the reply")
            verdict = self.read_choice(choice)
        except (LookupError, TypeError, AttributeError):
            raise MalformedReply(f"the reply has no content: {text}") from None
        except ValueError as error:
            raise MalformedReply(str(error)) from None
        return replace(verdict, note=verdict.note and self._client.without_key(verdict.note))

    def _cost(self, reply: Any, most: float) -> float:
        """Cost in US dollars of the tokens that a reply reports; `most` if it reports none or impossible ones."""
        try:
            counts = [reply["usage"][f"{side}_tokens"] for side in ("prompt", "completion")]
            if any(type(count) is not int or count < 0 for count in counts):
                return most
            usd = self.price(*counts) or 0.0
        except (LookupError, OverflowError, TypeError):
            return most
        return usd if math.isfinite(usd) else most
