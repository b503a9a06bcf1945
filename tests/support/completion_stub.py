"""A completion server on loopback that speaks the dialects of vLLM and SGLang and fails on request."""

import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Handler", dict[str, Any]], dict[str, Any] | None]
"""Turns the true reply into the one that is sent; returns None if it has sent something itself, or nothing."""


def invented(ids: list[int]) -> list[dict[int, float]]:
    """Log-probabilities by position that a model could give: of the token itself and of a likelier one."""
    rows = [{(token + 1) % 50: -0.5, token: -1.0 - i / 8 - token / 32} for i, token in enumerate(ids)]
    return rows[1:]


def expected(prompt: list[int], response: list[int]) -> list[float]:
    ids = [*prompt, *response]
    return [row[token] for row, token in zip(invented(ids), ids[1:], strict=True)][-len(response) :]


class CompletionStub(ThreadingHTTPServer):
    """A server of both dialects; `faults` are used up in order, one a request for scores."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rows: Callable[[list[int]], list[dict[int, float]]] = invented
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.missing: set[str] = set()
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.keys: set[str | None] = set()
        self.seconds = 0.0
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def reply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the true server answers."""
        if path == "/v1/completions":
            assert {k: body[k] for k in ("model", "max_tokens", "temperature", "prompt_logprobs")} == {
                "model": "tiny",
                "max_tokens": 1,
                "temperature": 0,
                "prompt_logprobs": 0,
            }
            entries = [
                {str(k): {"logprob": v, "rank": 1} for k, v in r.items()} for r in self.rows(body["prompt"])
            ]
            return {"choices": [{"index": 0, "text": "x", "prompt_logprobs": [None, *entries]}]}
        assert path == "/generate"
        assert body["return_logprob"] is True
        assert body["sampling_params"] == {"max_new_tokens": 0, "temperature": 0}
        ids, start = body["input_ids"], body["logprob_start_len"]
        values = [None, *(row[token] for row, token in zip(self.rows(ids), ids[1:], strict=True))]
        triples = [[value, token, None] for value, token in zip(values, ids, strict=True)][start:]
        triples[0][0] = None
        return {"text": "", "meta_info": {"input_token_logprobs": triples}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CompletionStub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def send(
        self, status: int, text: str, headers: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        self.server.keys.add(self.headers.get("Authorization"))
        replies: dict[str, Any] = {
            "/v1/models": {"data": [{"id": "tiny"}, {"id": "other"}]},
            "/get_model_info": {"model_path": "tiny"},
            "/model_info": {"model_path": "tiny"},
        }
        if self.path in replies and self.path not in self.server.missing:
            self.send(200, json.dumps(replies[self.path]))
        else:
            self.send(404, "no such path")

    def do_POST(self) -> None:
        stub = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with stub.lock:
            stub.times.append(time.monotonic())
            stub.bodies.append(body)
            stub.keys.add(self.headers.get("Authorization"))
            stub.in_flight += 1
            stub.most_in_flight = max(stub.most_in_flight, stub.in_flight)
            fault = stub.faults.pop(0) if stub.faults else stub.always
        time.sleep(stub.seconds)
        reply: dict[str, Any] | None = stub.reply(self.path, body)
        with stub.lock:
            stub.in_flight -= 1
        if fault is not None:
            assert reply is not None
            reply = fault(self, reply)
        if reply is not None:
            self.send(200, json.dumps(reply))


def status(code: int, text: str = "busy", **headers: str) -> Fault:
    return lambda handler, _: handler.send(code, text, {k.replace("_", "-"): v for k, v in headers.items()})


def drop(handler: Handler, _: dict[str, Any]) -> None:
    handler.drop()


def silent(handler: Handler, _: dict[str, Any]) -> None:
    handler.server.released.wait(20)
    handler.drop()


def cut_short(handler: Handler, reply: dict[str, Any]) -> None:
    """Half of the body that the header announces, then the connection ends."""
    text = json.dumps(reply)
    handler.send(200, text[: len(text) // 2], length=len(text))
    handler.drop()


def broken_json(handler: Handler, reply: dict[str, Any]) -> None:
    text = json.dumps(reply)
    handler.send(200, text[: len(text) // 2])


def entries_of(reply: dict[str, Any]) -> list[Any]:
    """The list of log-probabilities in a reply of either dialect."""
    found = (
        reply["choices"][0]["prompt_logprobs"]
        if "choices" in reply
        else reply["meta_info"]["input_token_logprobs"]
    )
    assert isinstance(found, list)
    return found


def with_last(value: float | None) -> Fault:
    """The true reply but for the value of the last token."""

    def changed(_: Handler, reply: dict[str, Any]) -> dict[str, Any]:
        entries = entries_of(reply)
        if "choices" in reply:
            entries[-1][list(entries[-1])[-1]]["logprob"] = value
        else:
            entries[-1][0] = value
        return reply

    return changed


def other_ids(_: Handler, reply: dict[str, Any]) -> dict[str, Any]:
    entries = entries_of(reply)
    entries[-1] = {"4711": {"logprob": -1.0}} if "choices" in reply else [-1.0, 4711, None]
    return reply


def too_few(_: Handler, reply: dict[str, Any]) -> dict[str, Any]:
    del entries_of(reply)[0]
    del entries_of(reply)[0]
    return reply


def no_log_probabilities(_: Handler, reply: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"prompt_logprobs": None}], "meta_info": {"input_token_logprobs": None}}
