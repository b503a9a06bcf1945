"""The chat judge with a real language model behind the endpoint: SmolLM2, from its package, on a CPU."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from samples import response

from cme.availability import ensure
from cme.checkpoints import Checkpoint, load
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


@pytest.fixture(scope="module")
def smollm2() -> Checkpoint:
    return load("package:smollm2-135m-instruct")


def pairs() -> list[Pair]:
    return [
        Pair(f"p{i}", prompt, None, response(bad), response(good))
        for i, (prompt, good, bad) in enumerate(TEXTS)
    ]


def shown(pair: Pair) -> tuple[Prompt, Generation, Generation]:
    return Prompt(pair.prompt_id, pair.prompt), pair.policy, pair.start


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
