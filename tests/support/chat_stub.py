"""A chat endpoint on loopback: it judges by length, and misbehaves in every known way at a stated rate."""

import json
import math
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = (
    "rate_limited",
    "server_error",
    "silent",
    "truncated",
    "prose",
    "wrong_label",
    "trickle",
    "reset",
    "cut_reply",
)
BLOCK = r"^\[\[{} (\w+)\]\]\n(.*)\n\[\[end of {} \1\]\]$"
USAGE = {"prompt_tokens": 100, "completion_tokens": 10}


def texts(question: str) -> tuple[str, str]:
    """The two responses as they stand between their markers."""
    found = [re.search(BLOCK.format(n, n), question, re.S | re.M) for n in ("response A", "response B")]
    assert found[0] and found[1], question
    return found[0][2], found[1][2]


def winner(first: str, second: str) -> str:
    """The longer response wins."""
    return "tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


def completion(content: str, finish: str = "stop", logprobs: Any = None) -> bytes:
    """A reply in the form of the API."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}
    return json.dumps({"choices": [choice | {"logprobs": logprobs}], "usage": USAGE}).encode()


class ChatStub(ThreadingHTTPServer):
    """Answers for the models it has; `rates` are of faults, drawn by seed, question and attempt alone.

    `asked` counts requests by question, `answered` those that got a true reply, `drawn` the faults by kind.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, rates: Mapping[str, float] | None = None, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rates = dict(rates or {})
        self.seed = seed
        self.models = {"stub"}
        self.key: str | None = None
        self.seconds = 0.0
        self.retry_after: str | None = "0.01"
        self.reply: str | None = None
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.drawn: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def fault(self, question: str) -> str | None:
        draw = random.Random(f"{self.seed}/{question}/{self.asked[question]}").random()
        for kind, rate in self.rates.items():
            draw -= rate
            if draw < 0:
                self.drawn[kind] += 1
                return kind
        return None

    def judged(self, body: dict[str, Any], question: str) -> bytes:
        """The true reply."""
        first, second = texts(question)
        if body.get("logprobs"):
            p = 1 / (1 + math.exp((len(second) - len(first)) / 10))
            likely = {"A": 0.9 * p, " A": 0.1 * p, "B": 1 - p, "The": 1e-9}
            top = [{"token": t, "logprob": math.log(q)} for t, q in likely.items()]
            return completion("A", "length", {"content": [{"token": "A", "top_logprobs": top}]})
        said = {"reason": f"{len(first)} against {len(second)}", "winner": winner(first, second)}
        return completion(json.dumps(said) if self.reply is None else self.reply)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is no matter."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatStub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, message: str, **headers: str) -> None:
        code = "insufficient_quota" if status == 402 else None
        error = {"error": {"message": message, "type": "stub", "code": code}}
        self.send(status, json.dumps(error).encode(), **headers)

    def do_POST(self) -> None:
        stub = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with stub.lock:
            stub.in_flight += 1
            stub.most_in_flight = max(stub.most_in_flight, stub.in_flight)
        try:
            self.answer(stub, body)
        finally:
            with stub.lock:
                stub.in_flight -= 1

    def answer(self, stub: ChatStub, body: dict[str, Any]) -> None:
        assert self.path == "/v1/chat/completions"
        key = self.headers.get("Authorization")
        with stub.lock:
            stub.bodies.append(body)
            stub.keys.add(key)
        if stub.key is not None and key != f"Bearer {stub.key}":
            return self.refuse(401, f"Incorrect API key provided: {key}")
        if body["model"] not in stub.models:
            return self.refuse(404, f"The model {body['model']} does not exist")
        question = body["messages"][0]["content"]
        with stub.lock:
            stub.asked[question] += 1
            fault = stub.fault(question)
        if stub.seconds:
            stub.released.wait(stub.seconds)
        if fault:
            return self.misbehave(stub, fault)
        reply = stub.judged(body, question)
        with stub.lock:
            stub.answered[question] += 1
        return self.send(200, reply)

    def misbehave(self, stub: ChatStub, fault: str) -> None:
        whole = completion('{"reason": "x", "winner": "tie"}')
        match fault:
            case "rate_limited":
                headers = {} if stub.retry_after is None else {"Retry_After": stub.retry_after}
                self.refuse(429, "slow down", **headers)
            case "server_error":
                self.refuse(503, "overloaded")
            case "silent":
                stub.released.wait(5)
                self.close_connection = True
            case "truncated":
                self.send(200, whole[: len(whole) // 2])
            case "prose":
                self.send(200, completion('Both are good, but WINNER: A. {"winner": "A"}'))
            case "wrong_label":
                self.send(200, completion('{"reason": "x", "winner": "C"}'))
            case "trickle":
                self.send_response(200)
                self.send_header("Content-Length", str(len(whole)))
                self.end_headers()
                for byte in whole:
                    self.wfile.write(bytes([byte]))
                    if stub.released.wait(0.05):
                        break
            case "reset":
                self.send_response(200)
                self.send_header("Content-Length", str(len(whole)))
                self.end_headers()
                self.wfile.write(whole[:20])
                self.wfile.flush()
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()
            case "cut_reply":
                self.send(200, completion('{"reason": "so far', "length"))


@contextmanager
def serving(stub: ChatStub) -> Iterator[ChatStub]:
    """The stub at work in a thread."""
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.released.set()
        stub.shutdown()
        stub.server_close()
        thread.join()
