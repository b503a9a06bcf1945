"""A client of OpenAI-compatible chat endpoints that never spends more than its budget.

The openai client builds, sends and retries the requests. The HTTP client below it reserves each request in the budget
before it is sent, and reads the reply, so that a malformed reply is retried like a broken connection.
"""

import math
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import httpx2
import openai
from openai._constants import MAX_RETRY_AFTER_DELAY

from cme import Unavailable
from cme.judges.base import JudgeVerdict
from cme.judges.budget import Budget
from cme.judges.chat_format import OUTPUT_LIMITS
from cme.records import parse_json
from cme.runtime.replies import read_reply
from cme.runtime.secrets import quote, read_key

CONNECT_SECONDS = 10.0

_UNSUPPORTED = re.compile(
    "not support|unsupported|unrecognized|not permitted|not allowed|unexpected|unknown|deprecated",
    re.IGNORECASE,
)


class FinalFailure(Exception):
    """A failure that another attempt would repeat; the message says why."""


class MalformedReply(httpx2.DecodingError):
    """A reply without a verdict. The openai client retries it, as it does every `RequestError`."""


@dataclass
class Exchange:
    """One question, its requests, and their result.

    Attributes:
        budget: pays for the requests.
        most_usd: the most that one request can cost, in US dollars.
        cost: returns the cost of a reply in US dollars, given its JSON.
        read: returns the verdict in a reply, given its JSON and its text. Raises MalformedReply or FinalFailure.
        calls: requests sent.
        usd: upper bound on their cost in US dollars. A request counts as `most_usd` unless the server reports its
            usage or refuses the request.
        failure: why the last request gave no verdict.
        verdict: the verdict, if there is one.
    """

    budget: Budget
    most_usd: float
    cost: Callable[[Any], float]
    read: Callable[[Any, str], JudgeVerdict]
    calls: int = 0
    usd: float = 0.0
    failure: str = ""
    verdict: JudgeVerdict | None = None


_exchange: ContextVar[Exchange] = ContextVar("exchange")  # the exchange of the current thread


@dataclass(eq=False, repr=False)
class ChatClient:
    """Sends questions to a chat model. The arguments are those of `cme.judges.server.ServerJudge`.

    Attributes:
        stopped: once set, no further request is sent.
    """

    base_url: str
    model: str
    api_key_variable: str | None
    decoding: dict[str, Any]
    timeout: float

    def __post_init__(self) -> None:
        self.where = f"judge model {self.model!r} at {self.base_url}"
        self.stopped = threading.Event()
        self._openai = _OpenAI(
            # without a key, the openai client would read OPENAI_API_KEY
            api_key=lambda: read_key(self.api_key_variable, self.where) or "none",
            base_url=self.base_url,
            timeout=httpx2.Timeout(self.timeout, connect=min(self.timeout, CONNECT_SECONDS)),
            http_client=_HttpClient(self),
        )

    def ask(self, messages: Sequence[Mapping[str, str]], exchange: Exchange, retries: int) -> None:
        """Send requests until there is a verdict, or no attempt or budget is left. The result is in `exchange`.

        Raises Unavailable if no attempt can succeed: no key, no access, no such model, no credit.
        """
        token = _exchange.set(exchange)
        try:
            self._openai.with_options(max_retries=retries).chat.completions.with_raw_response.create(
                model=self.model, messages=cast("Any", list(messages)), extra_body=self.decoding
            )
        except FinalFailure as error:
            exchange.failure = self.redact(str(error))
        except openai.APIError:
            pass  # `exchange.failure` says why the last attempt failed
        finally:
            _exchange.reset(token)

    def refusal(self, response: httpx2.Response) -> Unavailable | None:
        """The error for a status that every further request would get too; None for any other status."""
        message, status = self.redact(response.text), response.status_code
        if response.has_redirect_location:
            to = self.redact(response.headers["location"])
            return Unavailable(f"{self.where} redirects to {to}; set judge.base_url to where the endpoint is")
        if status in (400, 403, 422) and _UNSUPPORTED.search(message):
            fields = [word for word in re.findall(r"\w+", message) if word in self.decoding]
            if fields:
                return Unavailable(f"{self._refused_field(fields[0])}: {message}")
        if status in (401, 403):
            key = f"the key in {self.api_key_variable}" if self.api_key_variable else "api_key_variable=null"
            return Unavailable(f"{self.where} gives {key} no access: {message}")
        if status == 404:
            return Unavailable(
                f"{self.where} does not exist; correct judge.model or judge.base_url: {message}"
            )
        if status == 402 or (status == 429 and "insufficient_quota" in response.text):
            return Unavailable(f"{self.where} has no credit left for the key: {message}")
        return None

    def _refused_field(self, field: str) -> str:
        """A sentence that names the overrides for a field of `decoding` that the server refuses."""
        value = self.decoding[field]
        remedy = f"set judge.decoding.{field}=null"
        if field in OUTPUT_LIMITS:
            [other] = set(OUTPUT_LIMITS) - {field}
            remedy += f" ++judge.decoding.{other}={value}"
        elif field in ("logprobs", "top_logprobs"):
            remedy = "use judge=openai, which reads no log-probabilities"
        return f"{self.where} does not accept {field}={value}; {remedy}"

    def redact(self, text: str) -> str:
        """At most 200 characters of a text on one line, with `***` in place of the key."""
        return quote(text, read_key(self.api_key_variable, self.where))

    def without_key(self, text: str) -> str:
        """The text with `***` in place of the key."""
        key = read_key(self.api_key_variable, self.where)
        return text.replace(key, "***") if key else text


class _OpenAI(openai.OpenAI):
    """The openai client, except that `ChatClient.stopped` ends its wait before a retry."""

    def _calculate_retry_timeout(self, *arguments: Any, **settings: Any) -> float:
        seconds = super()._calculate_retry_timeout(*arguments, **settings)
        cast("_HttpClient", self._client).chat.stopped.wait(seconds)
        return 0.0

    def _should_retry(self, response: httpx2.Response) -> bool:
        seconds = self._parse_retry_after_header(response.headers)
        if seconds is not None and MAX_RETRY_AFTER_DELAY < seconds < math.inf:
            _exchange.get().failure += (
                f"; not retried, because the server asks to wait {seconds:.0f} s (Retry-After) and a retry waits at "
                f"most {MAX_RETRY_AFTER_DELAY} s: repeat the command later, which judges what is unscored"
            )
        return super()._should_retry(response)


class _HttpClient(httpx2.Client):
    """Sends a request if the budget of the current exchange allows it, and reads the reply within the timeout."""

    def __init__(self, chat: ChatClient) -> None:
        # the requests of a redirect would not be counted in the budget
        super().__init__(limits=openai.DEFAULT_CONNECTION_LIMITS, follow_redirects=False)
        self.chat = chat

    def send(self, request: httpx2.Request, **settings: Any) -> httpx2.Response:
        exchange = _exchange.get()
        if self.chat.stopped.is_set():
            raise FinalFailure(exchange.failure or "judging was stopped")
        if not exchange.budget.reserve(exchange.most_usd):
            before = f"; before that: {exchange.failure}" if exchange.failure else ""
            raise FinalFailure(f"the budget of {exchange.budget} is spent{before}")
        exchange.calls += 1
        usd = exchange.most_usd
        try:
            response = self._receive(request, settings)
            if response.is_success:
                try:
                    reply = parse_json(response.content)
                except ValueError as error:
                    raise MalformedReply(f"the server sent no JSON ({error}) but {response.text}") from None
                usd = exchange.cost(reply)
                exchange.verdict = exchange.read(reply, response.text)
            else:
                usd = 0.0
                if (refusal := self.chat.refusal(response)) is not None:
                    raise refusal
                self._note(exchange, f"the server answered {response.status_code}: {response.text}")
            return response
        except (httpx2.RequestError, ssl.SSLError) as error:
            if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                usd = 0.0
            malformed = isinstance(error, MalformedReply)
            self._note(exchange, str(error) if malformed else f"{type(error).__name__}: {error}")
            raise
        finally:
            exchange.budget.settle(exchange.most_usd, usd)
            exchange.usd += usd

    def _receive(self, request: httpx2.Request, settings: dict[str, Any]) -> httpx2.Response:
        """The complete response, for which one request was sent. The time limit includes the reply."""
        deadline = time.monotonic() + self.chat.timeout
        settings = {**settings, "stream": True, "follow_redirects": False}
        with closing(super().send(request, **settings)) as response:
            return read_reply(response, deadline)

    def _note(self, exchange: Exchange, failure: str) -> None:
        exchange.failure = f"{self.chat.redact(failure)} (attempt {exchange.calls})"
