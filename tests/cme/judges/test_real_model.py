"""The chat judge with a real language model behind the endpoint: SmolLM2, from its package, on a CPU."""

import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_stub import FAULTS, ChatStub, completion, serving
from samples import response
from stub_judges import judge

from cme.checkpoints import Checkpoint, ensure, load
from cme.judges.chat_endpoint import ChatEndpoint
from cme.judges.pairwise import VerdictLog, judge_pairs
from cme.models import chat
from cme.records import Generation, Pair, Prompt

pytestmark = pytest.mark.slow

TEXTS = [
    ("Name a colour.", "Blue.", "The quick brown fox jumps over the lazy dog."),
    ("What is two plus two?", "Two plus two is four.", "Fish."),
    ("Say something kind.", "You have a good heart, and it shows.", "No no no no no no no no."),
]


class ServedModel(ChatStub):
    """The model's own words, greedily, or the log-probabilities of its first token."""

    def __init__(self, checkpoint: Checkpoint, **settings: Any) -> None:
        super().__init__(**settings)
        self.checkpoint = checkpoint
        self.one_at_a_time = threading.Lock()

    @torch.no_grad()
    def judged(self, body: dict[str, Any], question: str) -> bytes:
        model, tokenizer = self.checkpoint.model, self.checkpoint.tokenizer
        ids = torch.tensor([chat.prompt_ids(tokenizer, question)])
        limit = body.get("max_completion_tokens") or body["max_tokens"]
        with self.one_at_a_time:
            if body.get("logprobs"):
                top = model(ids).logits[0, -1].log_softmax(-1).topk(body["top_logprobs"])
                tokens = [
                    {"token": tokenizer.decode(int(i)), "logprob": float(p)}
                    for p, i in zip(top.values, top.indices, strict=True)
                ]
                first = tokens[0]["token"]
                return completion(first, "length", {"content": [{"token": first, "top_logprobs": tokens}]})
            out = model.generate(ids, max_new_tokens=limit, do_sample=False)[0, ids.shape[1] :]
            ended = int(out[-1]) == chat.end_of_turn_id(tokenizer)
            words = tokenizer.decode(out, skip_special_tokens=True)
            return completion(words, "stop" if ended else "length")


@pytest.fixture(scope="module")
def smollm2() -> Checkpoint:
    return load("package:smollm2-135m-instruct")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    yield


def pairs() -> list[Pair]:
    return [
        Pair(f"p{i}", prompt, None, response(bad), response(good))
        for i, (prompt, good, bad) in enumerate(TEXTS)
    ]


def test_label_probabilities_are_the_models_own_with_and_without_faults(
    smollm2: Checkpoint, tmp_path: Path
) -> None:
    rates = {f: 0.3 / 7 for f in FAULTS if f not in ("silent", "trickle")}
    results = []
    for name, settings in (("clean", {}), ("faulty", {"rates": rates, "seed": 3})):
        with serving(ServedModel(smollm2, **settings)) as server, VerdictLog(tmp_path / name) as log:
            chat_judge = judge(
                server, "openai_logprobs", timeout=60.0, retries=15, concurrency=4, min_label_mass=0.0
            )
            results.append(judge_pairs(chat_judge, pairs(), True, log))
            assert set(server.answered.values()) == {1}
            assert bool(server.drawn) == (name == "faulty")
    assert results[0] == results[1]
    tokenizer = smollm2.tokenizer
    labels = {x: [i for i in range(len(tokenizer)) if tokenizer.decode(i).strip() == x] for x in "AB"}
    for verdict, pair in zip(results[0][::2], pairs(), strict=True):
        [message] = chat_judge.messages(*shown(pair))
        question = message["content"]
        with torch.no_grad():
            logits = smollm2.model(torch.tensor([chat.prompt_ids(tokenizer, question)])).logits[0, -1]
        top = logits.softmax(-1) * (logits >= logits.topk(20).values[-1])
        a, b = (float(top[labels[x]].sum()) for x in "AB")
        assert verdict.scores == pytest.approx((a / (a + b), b / (a + b)), abs=1e-4)
        gap = (a - b) / (a + b)
        assert verdict.outcome == ("tie" if abs(gap) <= 0.1 else "first" if gap > 0 else "second")


def shown(pair: Pair) -> tuple[Prompt, Generation, Generation]:
    return Prompt(pair.prompt_id, pair.prompt), pair.policy, pair.start


def test_a_reply_is_a_verdict_or_unscored_with_its_reason(smollm2: Checkpoint, tmp_path: Path) -> None:
    """A model this small seldom replies in the requested form; any other reply is never a verdict."""
    with serving(ServedModel(smollm2)) as server, VerdictLog(tmp_path / "log") as log:
        decoding = {"max_tokens": 48}
        chat_judge = judge(server, decoding=decoding, timeout=120.0, retries=0, concurrency=2)
        found = judge_pairs(chat_judge, pairs()[:2], True, log)
    assert len(found) == 4
    for verdict in found:
        if verdict.outcome == "unscored":
            assert verdict.reason and ("JSON" in verdict.reason or "limit of 48 tokens" in verdict.reason)
        else:
            assert verdict.note is not None


@pytest.fixture
def served_by_transformers(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address and model of `transformers serve`, an independent OpenAI-compatible server, with SmolLM2."""
    model = ensure(["package:smollm2-135m-instruct"])["package:smollm2-135m-instruct"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", model]
    with (
        (tmp_path / "serve.log").open("w") as output,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=output, stderr=output
        ) as server,
    ):
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                    break
                except (urllib.error.URLError, TimeoutError):
                    time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1", model
        finally:
            server.terminate()


def test_another_openai_compatible_server_is_understood(
    smollm2: Checkpoint, served_by_transformers: tuple[str, str], tmp_path: Path
) -> None:
    """Its replies, as the judge quotes them, are the model's own greedy words to the same question."""
    url, model = served_by_transformers
    chat_judge = ChatEndpoint(
        base_url=url,
        model=model,
        prompt="{instruction} {first} {second}",
        reply_with="Answer with the better one.",
        reply="json",
        tie_margin=0.0,
        decoding={"max_tokens": 200, "temperature": 0},
        max_response_chars=1000,
        timeout=120.0,
        retries=0,
        concurrency=2,
    )
    with VerdictLog(tmp_path / "log") as log:
        found = judge_pairs(chat_judge, pairs(), True, log)
    assert len(found) == 6 and log.calls[None] == 6
    quoted = 0
    for verdict, pair in zip(found[::2], pairs(), strict=True):
        [message] = chat_judge.messages(*shown(pair))
        ids = torch.tensor([chat.prompt_ids(smollm2.tokenizer, message["content"])])
        with torch.no_grad():
            out = smollm2.model.generate(ids, max_new_tokens=200, do_sample=False)[0, ids.shape[1] :]
        words = smollm2.tokenizer.decode(out, skip_special_tokens=True)
        assert verdict.outcome == "unscored" and verdict.reason is not None
        if "not the requested JSON" in verdict.reason:
            quoted += 1
            assert " ".join(words.split())[:80] in verdict.reason
        else:
            assert "cut at its limit of 200 tokens" in verdict.reason and len(out) == 200
    assert quoted
