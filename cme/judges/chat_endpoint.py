"""A language model as judge, behind any OpenAI-compatible chat endpoint.

It answers with one JSON object or, for `reply="label"`, with one token whose log-probabilities are read; see
`cme.judges.chat_format`. A call that failed, or a reply that is anything else, is tried again and then unscored,
never a tie.
"""

import copy
import email.utils
import json
import math
import os
import re
import threading
import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from cme import Unavailable
from cme.judges import JudgeVerdict
from cme.judges.budget import Budget
from cme.judges.chat_format import (
    FIELDS,
    digest,
    fingerprint,
    judging_prompt,
    parse_reply,
    verdict_from_logprobs,
)
from cme.records import Generation, Prompt
from cme.runtime.extras import require

if TYPE_CHECKING:
    import openai

LONGEST_BACKOFF, LONGEST_RETRY_AFTER = 60.0, 3600.0
"""Bounds on a wait between attempts, seconds: on our own, and on one that the server asks for."""

CHARACTERS_PER_TOKEN = 4.0
"""What `tokens` reckons with; English is near it under most tokenizers."""

TEMPLATE_TOKENS = 256
"""Room for what the server's chat template adds to a request, where the most that it can cost is reckoned."""

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
OURS = ("model", "messages", "stream", "n")


class _Failed(Exception):
    """An attempt without a ruling: why, whether another may do better, after how long, and if it may be billed."""

    def __init__(self, reason: str, *, retry: bool = True, wait: float = 0.0, billed: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.retry, self.wait, self.billed = reason, retry, wait, billed


class ChatEndpoint:
    """Compares two responses by asking a chat model.

    Args:
        base_url: where the endpoint is, such as `https://api.openai.com/v1`; without a key or password in it.
        model: the model's name there.
        api_key_variable: environment variable that holds the key, None for a server that wants none. The key
            itself is never kept, and is struck from whatever the server sends.
        prompt: what is asked, with `{instruction}`, `{first}` and `{second}` each once; `reply_with` follows it and
            says how to answer.
        reply: `json`, an object with `winner` (A, B or tie) and `reason`; `label`, one token, A or B, whose
            `top_logprobs` give P(first) = p(A) / (p(A) + p(B)), kept as the scores (P(first), P(second)).
        tie_margin: with `label`, |P(first) - P(second)| up to this is a tie.
        min_label_mass: with `label`, a ruling for which A and B together have less probability is unscored.
        decoding: further fields of the request, as they are; those that are None are left out. It must have
            `max_completion_tokens` or `max_tokens`.
        max_response_chars: a longer response is cut there, with a line that says so, on both sides alike.
        usd_per_million_input, usd_per_million_output: prices of tokens; None where they are unknown.
        max_calls, max_usd: a budget of requests and of money for all of a run's judging, over all restarts. No
            request is sent that could pass it: it counts as the most it can cost until the server says what it
            took, and stays so if it never does (a time-out) or says what no request can take. What was spent is in
            the verdict log, also where judging ends early, and counts at the next start. Not in it are the trial
            call and, after a kill, the rulings that were being made then, with all their attempts.
        concurrency: rulings made at once.
        timeout: seconds that an attempt may take.
        retries: attempts after the first where the server cannot be reached, is silent or too slow, answers 408,
            409, 429 or 5xx, or replies with something else than was asked for; with exponential back-off, or
            after the seconds or the date in `Retry-After`.

    Raises Unavailable, from `probe` and `rule`, where no attempt can do better: no key, a key without rights, no
    such model, no credit.
    """

    backoff = 0.5
    """Seconds before the first retry; each further one waits twice as long."""

    def __init__(
        self,
        base_url: str,
        model: str,
        prompt: str,
        reply_with: str,
        reply: Literal["json", "label"],
        tie_margin: float,
        decoding: dict[str, Any],
        max_response_chars: int,
        api_key_variable: str | None = None,
        usd_per_million_input: float | None = None,
        usd_per_million_output: float | None = None,
        max_calls: int | None = None,
        max_usd: float | None = None,
        concurrency: int = 16,
        timeout: float = 120.0,
        retries: int = 5,
        min_label_mass: float = 0.5,
    ) -> None:
        self.base_url = base_url
        self.model = model
        self.prompt = _whole(prompt, reply_with)
        self.reply = reply
        self.tie_margin = tie_margin
        self.min_label_mass = min_label_mass
        self.decoding = {key: value for key, value in decoding.items() if value is not None}
        self.max_response_chars = max_response_chars
        self.api_key_variable = api_key_variable
        self.prices = (usd_per_million_input, usd_per_million_output)
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries = retries
        self.budget = Budget(max_calls, max_usd)
        self._stopped = threading.Event()
        require("openai", "judge", f"the judge {model}")
        from httpx2 import Timeout  # late, as with openai: validation of a configuration does without them
        from openai import OpenAI

        self._client = OpenAI(
            api_key=self._key,
            base_url=base_url,
            max_retries=0,
            timeout=Timeout(timeout, connect=min(timeout, 10.0)),
        )

    @staticmethod
    def check(**settings: Any) -> None:
        """Raise ValueError, before anything is asked, for settings that cannot work."""
        url = urlsplit(settings["base_url"])
        if "@" in settings["base_url"] or url.query:
            raise ValueError(
                "base_url has a user or a query in it; a key goes into the variable api_key_variable"
            )
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url={settings['base_url']}; it must begin with http:// or https://")
        variable = settings.get("api_key_variable")
        if variable is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
            raise ValueError(  # without its value: it may be the key itself
                "api_key_variable must be the name of an environment variable, in capitals, such as OPENAI_API_KEY"
            )
        if any(settings["prompt"].count(field) != 1 for field in FIELDS):
            raise ValueError(f"prompt must have each of {', '.join(FIELDS)} once")
        decoding = settings["decoding"]
        if not any(decoding.get(limit) for limit in OUTPUT_LIMITS):
            raise ValueError(f"decoding={decoding}; it must have {' or '.join(OUTPUT_LIMITS)}")
        if ours := [field for field in OURS if field in decoding]:
            raise ValueError(f"decoding.{ours[0]} is not for the configuration to set; leave it out")
        if settings["reply"] == "label" and not decoding.get("top_logprobs"):
            raise ValueError("reply=label reads decoding.top_logprobs; set it, and decoding.logprobs=true")
        prices = [settings.get(f"usd_per_million_{side}") for side in ("input", "output")]
        if settings.get("max_usd") is not None and None in prices:
            raise ValueError(
                f"max_usd={settings['max_usd']} needs prices: set usd_per_million_input and usd_per_million_output"
            )
        for key in ("max_response_chars", "concurrency", "timeout", "max_calls", "max_usd"):
            if settings.get(key) is not None and settings[key] <= 0:
                raise ValueError(f"{key}={settings[key]}; it must be above 0")
        if not 0 <= settings.get("min_label_mass", 0) <= 1:
            raise ValueError(f"min_label_mass={settings['min_label_mass']}; it must be from 0 to 1")
        for key in ("retries", "tie_margin"):
            if settings.get(key, 0) < 0:
                raise ValueError(f"{key}={settings[key]}; it must be at least 0")

    @staticmethod
    def fingerprint(**settings: Any) -> str:
        """Digest of what is sent around the texts, markers included, and of how the reply is read."""
        return fingerprint(_whole(settings["prompt"], settings["reply_with"]), settings["max_response_chars"])

    def resume(self, calls: int, usd: float) -> None:
        """Count what was spent so far, by this judge too, against the budget."""
        self.budget.calls = calls
        self.budget.usd = usd

    def stop(self) -> None:
        """Make no more attempts."""
        self._stopped.set()

    def probe(self) -> None:
        """Judge a trial pair, outside the budget. Raises Unavailable where that gives no verdict."""
        trial = copy.copy(self)
        trial.retries, trial.budget = min(self.retries, 2), Budget(None, None)
        blue, chair = Generation("Blue.", True, 2), Generation("A chair.", True, 3)
        ruling = trial.rule(Prompt("trial", "Name a colour."), blue, chair)
        if ruling.outcome == "unscored":
            raise Unavailable(f"{self._where} gives no verdict on a trial pair: {ruling.reason}")

    def tokens(self, prompt: Prompt, first: Generation, second: Generation) -> tuple[int, int]:
        """Tokens of the request, reckoned from its characters, and of the longest reply."""
        return math.ceil(
            len(self._question(prompt, first, second)) / CHARACTERS_PER_TOKEN
        ), self._longest_reply

    def usd(self, tokens_in: int, tokens_out: int) -> float | None:
        """Price of so many tokens; None where prices are unknown."""
        price_in, price_out = self.prices
        if price_in is None or price_out is None:
            return None
        return (tokens_in * price_in + tokens_out * price_out) / 1e6

    def rule(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Ask which response is better, again while attempts fail and retries and budget last."""
        message = self._question(prompt, first, second)
        # no tokenizer makes more tokens than there are bytes; chat templates add a few
        most = self.usd(len(message.encode()) + TEMPLATE_TOKENS, self._longest_reply) or 0.0
        spread = 1 + int(digest(message), 16) % 100 / 100  # calls refused together do not come back together
        calls, usd, wait, reason = 0, 0.0, 0.0, "judging was stopped"
        for attempt in range(self.retries + 1):
            if self._stopped.wait(wait):
                break
            if not self.budget.take(most):
                before = f"; before that: {reason}" if calls else ""
                reason = f"the budget of {self.budget} is spent{before}"
                break
            calls += 1
            took, said = self._attempt(message, most)
            usd += took
            if isinstance(said, JudgeVerdict):
                return replace(said, calls=calls, usd=self._known(usd))
            if isinstance(said, Unavailable):
                said.calls, said.usd = calls, self._known(usd)
                raise said
            reason = f"{said.reason} (attempt {calls})"
            if not said.retry:
                break
            wait = max(said.wait, min(self.backoff * 2**attempt, LONGEST_BACKOFF) * spread)
        return JudgeVerdict("unscored", reason, calls=calls, usd=self._known(usd))

    def _attempt(self, message: str, most: float) -> "tuple[float, JudgeVerdict | _Failed | Unavailable]":
        """What one request cost at most, and what came of it."""
        took = most
        try:
            reply = self._post(message)
            took = self._price(reply, most)
            return took, self._read(reply)
        except _Failed as failed:
            took = took if failed.billed else 0.0
            return took, failed
        except RecursionError:
            return took, _Failed("the reply is nested too deeply to be read")
        except Unavailable as refused:
            took = 0.0
            return took, refused
        finally:
            self.budget.settle(most, took)

    def _post(self, message: str) -> Any:
        import httpx2
        import openai

        deadline, body = time.monotonic() + self.timeout, b""
        chat = self._client.chat.completions.with_streaming_response
        try:
            with chat.create(
                model=self.model, messages=[{"role": "user", "content": message}], extra_body=self.decoding
            ) as answer:
                # a server that trickles is never silent, so the whole time counts too
                for chunk in answer.iter_bytes():
                    body += chunk
                    if time.monotonic() > deadline:
                        raise _Failed(f"the server was still sending after {self.timeout:g} s")
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except (openai.APIConnectionError, httpx2.RequestError) as error:
            cause = error.__cause__ or error
            unreached = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise _Failed(self._quoted(f"{type(cause).__name__}: {cause}"), billed=not unreached) from None
        try:
            return json.loads(body)
        except ValueError:
            raise _Failed(
                f"the server sent no JSON but {self._quoted(body.decode(errors='replace'))}"
            ) from None

    def _refused(self, error: "openai.APIStatusError") -> Exception:
        """What a status other than success means for this attempt, or for all."""
        status, said = error.status_code, self._quoted(str(error))
        if status in (401, 403):
            key = f"the key in {self.api_key_variable}" if self.api_key_variable else "api_key_variable=null"
            return Unavailable(f"{self._where} gives {key} no access: {said}")
        if status == 404:
            return Unavailable(f"{self._where} is not there; correct judge.model or judge.base_url: {said}")
        if status == 402 or error.code == "insufficient_quota":
            return Unavailable(f"{self._where} has no credit left for the key: {said}")
        retry = status in (408, 409, 429) or status >= 500
        return _Failed(said, retry=retry, wait=_retry_after(error.response.headers), billed=False)

    def _price(self, reply: Any, most: float) -> float:
        """What the reply says it took, `most` where it does not say so in whole numbers of tokens."""
        try:
            counts = [reply["usage"][f"{side}_tokens"] for side in ("prompt", "completion")]
            if any(type(count) is not int or count < 0 for count in counts):
                return most
            said = self.usd(*counts) or 0.0
        except (LookupError, OverflowError, TypeError):
            return most
        return said if math.isfinite(said) else most

    def _read(self, reply: Any) -> JudgeVerdict:
        try:
            choice = reply["choices"][0]
            finish = choice.get("finish_reason")
            if finish == "content_filter":
                raise _Failed("the server's content filter cut the reply", retry=False)
            if self.reply == "label":
                likeliest = choice["logprobs"]["content"][0]["top_logprobs"]
                return verdict_from_logprobs(likeliest, self.tie_margin, self.min_label_mass)
            if finish == "length":
                raise _Failed(f"the reply was cut at its limit of {self._longest_reply} tokens")
            ruling = parse_reply(choice["message"]["content"])
        except (LookupError, TypeError, AttributeError):
            wanted = "top_logprobs" if self.reply == "label" else "content"
            raise _Failed(self._quoted(f"the reply has no {wanted}: {json.dumps(reply)}")) from None
        except ValueError as error:
            raise _Failed(self._quoted(str(error))) from None
        return replace(ruling, note=ruling.note and self._without_key(ruling.note))

    def _question(self, prompt: Prompt, first: Generation, second: Generation) -> str:
        return judging_prompt(
            self.prompt, prompt.text, first.response, second.response, self.max_response_chars
        )

    @cached_property
    def _longest_reply(self) -> int:
        return int(next(self.decoding[limit] for limit in OUTPUT_LIMITS if limit in self.decoding))

    @property
    def _where(self) -> str:
        return f"judge model {self.model!r} at {self.base_url}"

    def _known(self, usd: float) -> float | None:
        return None if None in self.prices else usd

    def _key(self) -> str:
        """The key, or a word in its place for a server that wants none: without one the client would look for it."""
        if self.api_key_variable is None:
            return "none"
        key = os.environ.get(self.api_key_variable, "").strip()
        if not (key and key.isascii() and key.isprintable()):
            raise Unavailable(
                f"the variable {self.api_key_variable} holds no usable key for {self._where}; set it"
            )
        return key

    def _without_key(self, text: str) -> str:
        return text if self.api_key_variable is None else text.replace(self._key(), "***")

    def _quoted(self, said: str) -> str:
        """At most 200 characters on one line, without the key, should the server have repeated it."""
        return " ".join(self._without_key(said).split())[:200]


def _whole(prompt: str, reply_with: str) -> str:
    return f"{prompt}\n{reply_with}"


def _retry_after(headers: Any) -> float:
    """Seconds that a server asks to be left alone, given as seconds or as a date; 0 where it does not say."""
    asked = headers.get("Retry-After", "")
    try:
        seconds = float(asked)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(asked).timestamp() - time.time()
        except (OverflowError, TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else 0.0
