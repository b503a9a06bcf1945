"""A judge's endpoint on loopback that behaves like the hosted ones, and notes every request.

The paths under its address:

    /openai/v1     gpt-5.2 and gpt-5: while they reason, they refuse any temperature but 1, and logprobs. gpt-5.2 does
                   not reason if reasoning_effort is none, which gpt-5 refuses.
    /anthropic/v1  claude-sonnet-4-6: no JSON mode, so a reply may have a fence or prose around its JSON

The longer response wins, response A where they are nearly equal.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.support.stubs import http_stub

KEY = "dummy"
MODELS = {"openai": ("gpt-5.2", "gpt-5"), "anthropic": ("claude-sonnet-4-6",)}
OPENAI_FIELDS = {
    *("model", "messages", "max_completion_tokens", "max_tokens", "response_format", "temperature", "top_p"),
    *("n", "stream", "seed", "logprobs", "top_logprobs", "reasoning_effort", "verbosity", "stop", "tools"),
    *("service_tier", "store", "user"),
}

BLOCK = re.compile(r"\[\[(instruction|response A|response B) [0-9a-f]+\]\]\n(.*?)\n\[\[end of", re.DOTALL)
A_ADVANTAGE = 1.05  # how much longer than A response B may be and still lose


@dataclass(frozen=True)
class JudgeRequest:
    """A request: its path's first part, the reply's status, the body without messages, and the three texts in it."""

    maker: str
    status: int
    fields: Mapping[str, Any]
    parts: Mapping[str, str]


class _Refused(Exception):
    """A reply other than a verdict: its status, and the fields of its error."""

    def __init__(self, status: int, message: str, **fields: str):
        super().__init__(message)
        self.status = status
        unknown = {"type": "invalid_request_error", "code": None, "param": None}
        self.body = {"error": {"message": message} | unknown | fields}


class JudgeServer(http_stub.StubServer):
    """The endpoint. `requests` has every request in the order of its reply."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.requests: list[JudgeRequest] = []

    def url(self, maker: str) -> str:
        """The base URL of a maker's endpoint."""
        return f"{self.address}/{maker}/v1"

    def reply(self, maker: str, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to a request. Raises _Refused."""
        if key != f"Bearer {KEY}":
            raise _Refused(401, "Incorrect API key provided.", code="invalid_api_key")
        if body["model"] not in MODELS[maker]:
            raise _Refused(404, f"The model `{body['model']}` does not exist.", code="model_not_found")
        message = str(body["messages"][-1]["content"])
        if maker == "openai":
            _check_openai_fields(body, message)
        return completion(body["model"], message, verdict(dict(BLOCK.findall(message))))


class _Handler(http_stub.StubHandler):
    server: JudgeServer

    def answer(self, body: dict[str, Any]) -> Callable[[], None]:
        maker = self.path.strip("/").removesuffix("/v1/chat/completions")
        try:
            status, reply = 200, self.server.reply(maker, self.headers.get("Authorization", ""), body)
        except _Refused as refused:
            status, reply = refused.status, refused.body
        parts = dict(BLOCK.findall(str(body["messages"][-1]["content"])))
        fields = {name: value for name, value in body.items() if name != "messages"}
        self.server.requests.append(JudgeRequest(maker, status, fields, parts))
        return partial(self.send, status, json.dumps(reply).encode())


def completion(model: str, message: str, content: str) -> dict[str, Any]:
    """A reply in the form of the API, with 64 tokens for the model's reasoning."""
    usage = {"prompt_tokens": len(message) // 4, "completion_tokens": len(content) // 4 + 64}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": f"{model}-2025-12-11",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": usage | {"total_tokens": sum(usage.values())},
    }


def verdict(parts: Mapping[str, str]) -> str:
    """The verdict on two responses, as JSON."""
    a, b = parts.get("response A", ""), parts.get("response B", "")
    winner = "tie" if a == b else "A" if len(a) * A_ADVANTAGE >= len(b) else "B"
    return json.dumps({"reason": 'It is the longer of the two, and it says "more".', "winner": winner})


def _check_openai_fields(body: Mapping[str, Any], message: str) -> None:
    """Refuse what OpenAI's endpoint refuses."""
    if unknown := sorted(set(body) - OPENAI_FIELDS):
        raise _Refused(400, f"Unrecognized request argument supplied: {unknown[0]}")
    if "max_tokens" in body:
        text = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        raise _Refused(400, text, code="unsupported_parameter", param="max_tokens")
    effort = body.get("reasoning_effort", "medium")
    if effort == "none" and body["model"] == "gpt-5":
        text = "Unsupported value: 'reasoning_effort' does not support 'none' with this model."
        raise _Refused(400, text, code="unsupported_value", param="reasoning_effort")
    if effort != "none" and body.get("temperature", 1) != 1:
        text = f"Unsupported value: 'temperature' does not support {body['temperature']} with this model."
        raise _Refused(400, text, code="unsupported_value", param="temperature")
    if effort != "none" and body.get("logprobs"):
        raise _Refused(403, "You are not allowed to request logprobs from this model")
    if body.get("response_format") == {"type": "json_object"} and "json" not in message.lower():
        raise _Refused(400, "'messages' must contain the word 'json' in some form.")


def serving() -> AbstractContextManager[JudgeServer]:
    """A server at work while the block lasts."""
    return http_stub.serving(JudgeServer())
