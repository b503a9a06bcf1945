"""A verifier behind a completion server: the server's prompt log-probabilities replace a forward pass here.

vLLM and SGLang report the log-probability of every prompt token given the tokens before it, each in its own format.
Prompt and response are sent together as one prompt of token ids, one request per response.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, TypeVar

import httpx2
import torch

from cme import Unavailable
from cme.records import parse_json
from cme.runtime.replies import read_reply
from cme.runtime.secrets import quote, read_key
from cme.scoring.token_scorer import TokenScores

CLAMPED = -9999.0
"""Servers write this for minus infinity, which JSON cannot express; it counts as missing."""

LONGEST_BACKOFF, LONGEST_RETRY_AFTER = 60.0, 3600.0
"""Bounds in seconds on the wait between attempts: on our back-off, and on a wait that the server requests."""

T = TypeVar("T")


@dataclass(eq=False, repr=False)
class CompletionServer:
    """Scores token ids with the model that a vLLM or SGLang server serves; log-likelihoods only.

    Args:
        url: address of the server, such as `http://localhost:8000`, with or without `/v1`.
        model: the name under which vLLM serves the model; SGLang serves a single model and ignores the name.
        dialect: the kind of server.
        concurrency: bound on the number of simultaneous requests.
        timeout: seconds without an answer after which an attempt counts as failed.
        retries: attempts after the first, with exponential back-off, after a failed connection, a timeout, or status
            429 or 5xx. A `Retry-After` in seconds is honoured.
        api_key_variable: environment variable that holds the API key, read at every use.

    Raises ValueError for a url without a scheme and for a vLLM server that does not serve `model`, Unavailable where
    the server does not answer the first request or the variable holds no key.
    """

    backoff = 0.5
    """Seconds before the first retry; the wait doubles with every further one."""

    url: str
    model: str
    _: KW_ONLY
    dialect: Literal["vllm", "sglang"]
    concurrency: int = 16
    timeout: float = 120.0
    retries: int = 5
    api_key_variable: str | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"server.url={self.url}; it must begin with http:// or https://")
        if self.dialect not in ("vllm", "sglang"):
            raise ValueError(f"server.dialect={self.dialect}; it must be vllm or sglang")
        self.url = self.url.rstrip("/").removesuffix("/v1")
        with self._client() as client:
            if self.dialect == "vllm":
                answer = self._request(client, "GET", "/v1/models")
                served = self._read(answer, lambda reply: [str(entry["id"]) for entry in reply["data"]])
                if self.model not in served:
                    raise ValueError(
                        f"server.model={self.model}; {self.url} serves {', '.join(served) or 'no model'}"
                    )
            else:
                answer = self._request(client, "GET", "/get_model_info")
                if answer.status_code == 404:  # the path of newer servers
                    answer = self._request(client, "GET", "/model_info")
                self._read(answer, dict)

    def score(
        self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], *, entropy: bool = False
    ) -> list[TokenScores]:
        """Score each response's token ids given its prompt's, in nats, float32, on the CPU.

        An empty response gets empty tensors without a request. A token whose value the server omits or clamps gets NaN.
        Raises ValueError for an empty prompt, for `entropy`, for a request that the server refuses, and for a reply
        about other tokens or in another format; Unavailable when all retries have failed.
        """
        if entropy:
            raise ValueError(
                "a completion server returns log-probabilities only; entropies need a verifier in this process"
            )
        if not all(prompts):
            raise ValueError("a prompt has no tokens; the first response token needs at least one before it")
        pairs = list(zip(prompts, responses, strict=True))
        stop = threading.Event()
        with self._client() as client, ThreadPoolExecutor(self.concurrency) as pool:
            jobs = [pool.submit(self._values, client, stop, *pair) for pair in pairs]
            try:
                for job in as_completed(jobs):
                    job.result()
            finally:  # after a failure, start no more requests and wait for no retries
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
        return [TokenScores(torch.tensor(job.result(), dtype=torch.float32), torch.empty(0)) for job in jobs]

    def _values(
        self, client: httpx2.Client, stop: threading.Event, prompt: Sequence[int], response: Sequence[int]
    ) -> list[float]:
        if not response:
            return []
        ids, tokens = [*prompt, *response], len(response)
        if self.dialect == "vllm":
            body = {"model": self.model, "prompt": ids, "max_tokens": 1, "temperature": 0}
            answer = self._request(client, "POST", "/v1/completions", body | {"prompt_logprobs": 0}, stop)
            return self._read(answer, lambda reply: _vllm_values(reply, ids, tokens))
        body = {"input_ids": ids, "return_logprob": True, "logprob_start_len": len(prompt) - 1}
        body["sampling_params"] = {"max_new_tokens": 0, "temperature": 0}
        answer = self._request(client, "POST", "/generate", body, stop)
        return self._read(answer, lambda reply: _sglang_values(reply, ids, tokens))

    def _client(self) -> httpx2.Client:
        key = read_key(self.api_key_variable, self.url)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx2.Timeout(self.timeout, connect=min(self.timeout, 10.0))
        return httpx2.Client(
            headers=headers, timeout=timeout, limits=httpx2.Limits(max_connections=self.concurrency)
        )

    def _request(
        self,
        client: httpx2.Client,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        stop: threading.Event | None = None,
    ) -> httpx2.Response:
        """The first answer with a status other than 429 and 5xx; retries until `stop` is set, never if it is None."""
        attempt = 0
        while True:
            wait = min(self.backoff * 2**attempt, LONGEST_BACKOFF)
            try:
                with client.stream(method, self.url + path, json=body) as response:
                    answer = read_reply(response, time.monotonic() + self.timeout)
            except httpx2.RequestError as error:
                reason = self._quoted(error)
            else:
                if answer.status_code != 429 and answer.status_code < 500:
                    return answer
                reason = f"status {answer.status_code}: {self._quoted(answer.text)}"
                requested = answer.headers.get("Retry-After", "")
                if requested.isdecimal():
                    wait = max(wait, min(float(requested), LONGEST_RETRY_AFTER))
            attempt += 1
            if stop is None or attempt > self.retries or stop.wait(wait):
                raise Unavailable(
                    f"{self.url}{path} did not answer in {attempt} attempt(s), the last one ended with "
                    f"{reason}; start the {self.dialect} server or correct its url"
                )

    def _read(self, answer: httpx2.Response, reader: Callable[[Any], T]) -> T:
        if not answer.is_success:
            raise ValueError(
                f"{answer.url} refused with status {answer.status_code}: {self._quoted(answer.text)}"
            )
        try:
            return reader(parse_json(answer.content))
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            quoted = f"{self._quoted(answer.text)} ({self._quoted(error)})"
            raise ValueError(f"{answer.url} did not answer as a {self.dialect} server: {quoted}") from None

    def _quoted(self, message: str | Exception) -> str:
        text = message if isinstance(message, str) else f"{type(message).__name__}: {message}"
        return quote(text, read_key(self.api_key_variable, self.url))


def _vllm_values(reply: Any, ids: list[int], tokens: int) -> list[float]:
    """Values of the last `tokens` ids. An entry has the token itself and possibly the most likely one."""
    entries = reply["choices"][0]["prompt_logprobs"]
    if len(entries) != len(ids):
        raise ValueError(f"{len(ids)} tokens were sent and {len(entries)} came back")
    values = []
    for token, entry in zip(ids[-tokens:], entries[-tokens:], strict=True):
        if entry is not None and str(token) not in entry:
            raise ValueError(f"token {token} was sent and {', '.join(entry)} came back")
        value = ((entry or {}).get(str(token)) or {}).get("logprob")
        values.append(_log_probability(value))
    return values


def _sglang_values(reply: Any, ids: list[int], tokens: int) -> list[float]:
    """Values of the last `tokens` ids. An entry is [value, id, text]; the first has no value."""
    entries = reply["meta_info"]["input_token_logprobs"]
    returned = [entry[1] for entry in entries]
    if len(returned) < tokens or returned != ids[-len(returned) :]:
        raise ValueError(f"tokens {ids[-tokens:]} were sent and {returned} came back")
    return [_log_probability(entry[0]) for entry in entries[-tokens:]]


def _log_probability(value: float | None) -> float:
    """The log-probability; NaN where it is missing or clamped."""
    return float(value) if value is not None and value > CLAMPED else float("nan")
