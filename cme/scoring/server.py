"""A verifier behind a completion server: the server's prompt log-probabilities stand in for a forward pass.

vLLM and SGLang report, for every token of a prompt, its log-probability given the tokens before it, each in a
dialect of its own. Prompt and response go there as one prompt of token ids, one request a response.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Literal, TypeVar

import httpx2
import torch

from cme import Unavailable
from cme.scoring.token_scorer import TokenScores

CLAMPED = -9999.0
"""What servers write for minus infinity, which JSON cannot carry; it counts as missing."""

LONGEST_BACKOFF, LONGEST_RETRY_AFTER = 60.0, 3600.0
"""Bounds on a wait between attempts, seconds: on our own, and on one that the server asks for."""

T = TypeVar("T")


class CompletionServer:
    """Scores token ids with the model that a vLLM or SGLang server serves; log-likelihoods only.

    Args:
        url: where the server answers, such as `http://localhost:8000`; with or without `/v1`.
        model: the name under which vLLM serves the model; SGLang serves one and is not asked for it by name.
        dialect: which of the two servers it is.
        concurrency: bound on requests in flight.
        timeout: seconds the server may be silent before an attempt counts as failed.
        retries: attempts after the first, with exponential back-off, where the connection fails or times
            out and on statuses 429 and 5xx. A `Retry-After` in seconds is waited for.
        api_key_variable: environment variable that holds the key, which is read anew for every use.

    Raises ValueError for a url without its scheme and for a vLLM server that does not serve `model`,
    Unavailable where the server does not answer (asked once) or the variable holds no key.
    """

    backoff = 0.5
    """Seconds before the first retry; each further one waits twice as long."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        dialect: Literal["vllm", "sglang"],
        concurrency: int = 16,
        timeout: float = 120.0,
        retries: int = 5,
        api_key_variable: str | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"the server's url {url!r} does not begin with http:// or https://")
        if dialect not in ("vllm", "sglang"):
            raise ValueError(f"dialect {dialect!r} is neither vllm nor sglang")
        self.url = url.rstrip("/").removesuffix("/v1")
        self.model = model
        self.dialect = dialect
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries = retries
        self.api_key_variable = api_key_variable
        with self._client() as client:
            if dialect == "vllm":
                served = self._read(self._ask(client, "GET", "/v1/models"), _model_names)
                if model not in served:
                    raise ValueError(f"{self.url} serves no {model!r} but {', '.join(served) or 'nothing'}")
            else:
                answer = self._ask(client, "GET", "/get_model_info")
                if answer.status_code == 404:  # newer servers' name for it
                    answer = self._ask(client, "GET", "/model_info")
                self._read(answer, dict)

    def score(
        self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], *, entropy: bool = False
    ) -> list[TokenScores]:
        """Score each response's token ids given its prompt's, in nats, float32, on the CPU.

        An empty response gets empty tensors, without a request; a token whose value the server leaves out or
        clamps gets NaN. Raises ValueError for an empty prompt, for `entropy`, for a request that the server
        refuses and for a reply about other tokens or of another shape; Unavailable when the retries run out.
        """
        if entropy:
            raise ValueError("a completion server gives log-probabilities only, not the entropies asked for")
        if not all(prompts):
            raise ValueError("a prompt has no tokens; the first response token needs at least one before it")
        pairs = list(zip(prompts, responses, strict=True))
        stop = threading.Event()
        with self._client() as client, ThreadPoolExecutor(self.concurrency) as pool:
            jobs = [pool.submit(self._values, client, stop, *pair) for pair in pairs]
            try:
                for job in as_completed(jobs):
                    job.result()
            finally:  # after a failure, start no more and wait for no retries
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
            answer = self._ask(client, "POST", "/v1/completions", body | {"prompt_logprobs": 0}, stop)
            return self._read(answer, lambda reply: _vllm_values(reply, ids, tokens))
        body = {"input_ids": ids, "return_logprob": True, "logprob_start_len": len(prompt) - 1}
        body["sampling_params"] = {"max_new_tokens": 0, "temperature": 0}
        answer = self._ask(client, "POST", "/generate", body, stop)
        return self._read(answer, lambda reply: _sglang_values(reply, ids, tokens))

    def _client(self) -> httpx2.Client:
        headers = {}
        if self.api_key_variable is not None:
            key = self._key()
            if not (key and key.isascii() and key.isprintable()):
                raise Unavailable(f"the variable {self.api_key_variable} holds no usable key; set it")
            headers["Authorization"] = f"Bearer {key}"
        timeout = httpx2.Timeout(self.timeout, connect=min(self.timeout, 10.0))
        return httpx2.Client(
            headers=headers, timeout=timeout, limits=httpx2.Limits(max_connections=self.concurrency)
        )

    def _ask(
        self,
        client: httpx2.Client,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        stop: threading.Event | None = None,
    ) -> httpx2.Response:
        """The first answer that is neither 429 nor 5xx; retries unless `stop` is None, until it is set."""
        attempt = 0
        while True:
            wait = min(self.backoff * 2**attempt, LONGEST_BACKOFF)
            try:
                answer = client.request(method, self.url + path, json=body)
            except httpx2.RequestError as error:
                reason = self._quoted(error)
            else:
                if answer.status_code != 429 and answer.status_code < 500:
                    return answer
                reason = f"status {answer.status_code}: {self._quoted(answer.text)}"
                asked = answer.headers.get("Retry-After", "")
                wait = max(wait, min(float(asked), LONGEST_RETRY_AFTER) if asked.isdecimal() else 0.0)
            attempt += 1
            if stop is None or attempt > self.retries or stop.wait(wait):
                raise Unavailable(
                    f"{self.url}{path} did not answer in {attempt} attempt(s), the last one ending with "
                    f"{reason}; start the {self.dialect} server or correct its url"
                )

    def _read(self, answer: httpx2.Response, reader: Callable[[Any], T]) -> T:
        if not answer.is_success:
            said = self._quoted(answer.text)
            raise ValueError(f"{answer.url} refused with status {answer.status_code}: {said}")
        try:
            return reader(answer.json())
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            said = f"{self._quoted(answer.text)} ({self._quoted(error)})"
            raise ValueError(f"{answer.url} answered otherwise than {self.dialect} does: {said}") from None

    def _key(self) -> str:
        return os.environ.get(self.api_key_variable or "", "").strip()

    def _quoted(self, said: str | Exception) -> str:
        """At most 200 characters on one line, without the key, should the server have repeated it."""
        text = said if isinstance(said, str) else f"{type(said).__name__}: {said}"
        key = self._key()
        return " ".join((text.replace(key, "***") if key else text).split())[:200]


def _model_names(reply: Any) -> list[str]:
    return [str(entry["id"]) for entry in reply["data"]]


def _vllm_values(reply: Any, ids: list[int], tokens: int) -> list[float]:
    """Values of the last `tokens` ids; an entry holds its own token and, it may be, the likeliest one."""
    entries = reply["choices"][0]["prompt_logprobs"]
    if len(entries) != len(ids):
        raise ValueError(f"{len(entries)} tokens came back where {len(ids)} were sent")
    values = []
    for token, entry in zip(ids[-tokens:], entries[-tokens:], strict=True):
        if entry is not None and str(token) not in entry:
            raise ValueError(f"token {', '.join(entry)} came back where {token} was sent")
        own = (entry or {}).get(str(token)) or {}
        values.append(_number(own.get("logprob")))
    return values


def _sglang_values(reply: Any, ids: list[int], tokens: int) -> list[float]:
    """Values of the last `tokens` ids; an entry is [value, id, text], and the first lacks its value."""
    entries = reply["meta_info"]["input_token_logprobs"]
    came = [entry[1] for entry in entries]
    if len(came) < tokens or came != ids[-len(came) :]:
        raise ValueError(f"tokens {came} came back where {ids[-tokens:]} were sent")
    return [_number(entry[0]) for entry in entries[-tokens:]]


def _number(value: float | None) -> float:
    """A log-probability as it came, NaN where it is missing or clamped."""
    return float(value) if value is not None and value > CLAMPED else float("nan")
