"""A chat endpoint on loopback: it judges by length, and fails in every known way at a given rate."""

import json
import math
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from http_stub import StubHandler, StubServer, serving

__all__ = ["FAULTS", "USAGE", "ChatStub", "completion", "serving", "texts", "winner"]

FAULTS = (
    *("rate_limited", "server_error", "silent", "truncated", "prose", "wrong_label", "trickle", "reset"),
)
BLOCK = r"^\[\[{0} (\w+)\]\]\n(.*)\n\[\[end of {0} \1\]\]$"
USAGE = {"prompt_tokens": 100, "completion_tokens": 10}


def texts(question: str) -> tuple[str, str]:
    """The two responses between their markers."""
    first, second = (
        re.search(BLOCK.format(name), question, re.S | re.M) for name in ("response A", "response B")
    )
    assert first and second, question
    return first[2], second[2]


def winner(first: str, second: str) -> str:
    """The label of the longer response."""
    return "tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


def completion(content: str, finish: str = "stop", logprobs: Any = None) -> bytes:
    """A reply in the form of the API."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}
    return json.dumps({"choices": [choice | {"logprobs": logprobs}], "usage": USAGE}).encode()


class ChatStub(StubServer):
    """Answers for the models in `models`; `rates` of faults are drawn by seed, question and attempt alone.

    `asked` counts requests by question, `answered` those that got a true reply, `drawn` the faults by kind.
    """

    def __init__(self, rates: Mapping[str, float] | None = None, seed: int = 0) -> None:
        super().__init__(Handler)
        self.rates = dict(rates or {})
        self.seed = seed
        self.models = {"stub"}
        self.key: str | None = None
        self.retry_after: str | None = "0.01"
        self.reply: str | None = None
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.drawn: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

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
            probabilities = {"A": 0.9 * p, " A": 0.1 * p, "B": 1 - p, "The": 1e-9}
            top = [{"token": t, "logprob": math.log(q)} for t, q in probabilities.items()]
            return completion("A", "length", {"content": [{"token": "A", "top_logprobs": top}]})
        verdict = {"reason": f"{len(first)} against {len(second)}", "winner": winner(first, second)}
        return completion(json.dumps(verdict) if self.reply is None else self.reply)


class Handler(StubHandler):
    server: ChatStub

    def refuse(self, status: int, message: str, **headers: str) -> None:
        code = "insufficient_quota" if status == 402 else None
        error = {"error": {"message": message, "type": "stub", "code": code}}
        self.send(status, json.dumps(error).encode(), **headers)

    def answer(self, body: dict[str, Any]) -> Callable[[], None]:
        stub, key = self.server, self.headers.get("Authorization")
        assert self.path == "/v1/chat/completions"
        if stub.key is not None and key != f"Bearer {stub.key}":
            return partial(self.refuse, 401, f"Incorrect API key provided: {key}")
        if body["model"] not in stub.models:
            return partial(self.refuse, 404, f"The model {body['model']} does not exist")
        question = body["messages"][0]["content"]
        with stub.lock:
            stub.asked[question] += 1
            fault = stub.fault(question)
        if stub.seconds:
            stub.released.wait(stub.seconds)
        if fault:
            return partial(self.fail, fault)
        reply = stub.judged(body, question)
        with stub.lock:
            stub.answered[question] += 1
        return partial(self.send, 200, reply)

    def fail(self, fault: str) -> None:
        stub = self.server
        reply = completion('{"reason": "x", "winner": "tie"}')
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
                self.send(200, reply[: len(reply) // 2])
            case "prose":
                self.send(200, completion('Both are good, but WINNER: A. {"winner": "A"}'))
            case "wrong_label":
                self.send(200, completion('{"reason": "x", "winner": "C"}'))
            case "trickle":
                self.send(200, b"", length=len(reply))
                for byte in reply:
                    self.wfile.write(bytes([byte]))
                    if stub.released.wait(0.05):
                        break
            case "reset":
                self.send(200, reply[:20], length=len(reply))
                self.wfile.flush()
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()
