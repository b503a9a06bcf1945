"""A completion server on loopback with the APIs of vLLM and SGLang, which fails on request."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

from http_stub import StubHandler, StubServer

Rows = list[dict[int, float]]
Fault = Callable[["Handler", dict[str, Any]], dict[str, Any] | None]
"""Turns the true reply into the one that is sent; returns None if it has sent something itself, or nothing."""


def invented(ids: list[int]) -> Rows:
    """Log-probabilities by position that a model could give: of the token itself and of a likelier one."""
    return [{(token + 1) % 50: -0.5, token: -1.0 - i / 8 - token / 32} for i, token in enumerate(ids)][1:]


def expected(prompt: list[int], response: list[int]) -> list[float]:
    ids = [*prompt, *response]
    return [row[token] for row, token in zip(invented(ids), ids[1:], strict=True)][-len(response) :]


class CompletionStub(StubServer):
    """Both kinds of server; each request for scores takes the first of `faults`, or `always` when none is left."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.rows: Callable[[list[int]], Rows] = invented
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.missing: set[str] = set()
        self.times: list[float] = []

    @property
    def url(self) -> str:
        return self.address

    def reply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The true server's answer."""
        if path == "/v1/completions":
            settings = {"model": "tiny", "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
            assert body == body | settings
            rows = self.rows(body["prompt"])
            entries = [{str(k): {"logprob": v, "rank": 1} for k, v in row.items()} for row in rows]
            return {"choices": [{"index": 0, "text": "x", "prompt_logprobs": [None, *entries]}]}
        assert path == "/generate"
        assert body["return_logprob"] is True
        assert body["sampling_params"] == {"max_new_tokens": 0, "temperature": 0}
        ids, start = body["input_ids"], body["logprob_start_len"]
        values = [None, *(row[token] for row, token in zip(self.rows(ids), ids[1:], strict=True))]
        triples = [[value, token, None] for value, token in zip(values, ids, strict=True)][start:]
        triples[0][0] = None
        return {"text": "", "meta_info": {"input_token_logprobs": triples}}


class Handler(StubHandler):
    server: CompletionStub

    def send_text(self, status: int, text: str, length: int | None = None, **headers: str) -> None:
        self.send(status, text.encode(), length, **headers)

    def drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def get(self) -> None:
        self.server.keys.add(self.headers.get("Authorization"))
        replies: dict[str, Any] = {
            "/v1/models": {"data": [{"id": "tiny"}, {"id": "other"}]},
            "/get_model_info": {"model_path": "tiny"},
            "/model_info": {"model_path": "tiny"},
        }
        if self.path in replies and self.path not in self.server.missing:
            self.send_text(200, json.dumps(replies[self.path]))
        else:
            self.send_text(404, "no such path")

    def answer(self, body: dict[str, Any]) -> Callable[[], None]:
        stub = self.server
        with stub.lock:
            stub.times.append(time.monotonic())
            fault = stub.faults.pop(0) if stub.faults else stub.always
        time.sleep(stub.seconds)
        true = stub.reply(self.path, body)

        def deliver() -> None:
            reply = true if fault is None else fault(self, true)
            if reply is not None:
                self.send_text(200, json.dumps(reply))

        return deliver


def status(code: int, text: str = "busy", **headers: str) -> Fault:
    return lambda handler, _: handler.send_text(code, text, **headers)


def drop(handler: Handler, _: dict[str, Any]) -> None:
    handler.drop()


def silent(handler: Handler, _: dict[str, Any]) -> None:
    handler.server.released.wait(20)
    handler.drop()


def cut_short(handler: Handler, reply: dict[str, Any]) -> None:
    """Half of the body that the header announces, then the connection ends."""
    text = json.dumps(reply)
    handler.send_text(200, text[: len(text) // 2], len(text))
    handler.drop()


def broken_json(handler: Handler, reply: dict[str, Any]) -> None:
    text = json.dumps(reply)
    handler.send_text(200, text[: len(text) // 2])


def entries_of(reply: dict[str, Any]) -> list[Any]:
    """The list of log-probabilities in a reply of either kind of server."""
    if "choices" in reply:
        return reply["choices"][0]["prompt_logprobs"]
    return reply["meta_info"]["input_token_logprobs"]


def with_last(value: float | None) -> Fault:
    """The true reply with another value for the last token."""

    def changed(_: Handler, reply: dict[str, Any]) -> dict[str, Any]:
        last = entries_of(reply)[-1]
        if "choices" in reply:
            last[list(last)[-1]]["logprob"] = value
        else:
            last[0] = value
        return reply

    return changed


def other_ids(_: Handler, reply: dict[str, Any]) -> dict[str, Any]:
    entries_of(reply)[-1] = {"4711": {"logprob": -1.0}} if "choices" in reply else [-1.0, 4711, None]
    return reply


def too_few(_: Handler, reply: dict[str, Any]) -> dict[str, Any]:
    del entries_of(reply)[:2]
    return reply


def no_log_probabilities(_: Handler, reply: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"prompt_logprobs": None}], "meta_info": {"input_token_logprobs": None}}
