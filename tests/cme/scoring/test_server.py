"""The completion server against a stub on loopback that speaks both dialects and fails on request."""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
import torch
from completion_stub import (
    CompletionStub,
    Fault,
    Handler,
    broken_json,
    cut_short,
    drop,
    entries_of,
    expected,
    no_log_probabilities,
    other_ids,
    silent,
    status,
    too_few,
    with_last,
)
from verifiers import Tiny

from cme import Unavailable
from cme.rewards import CrossModelEntropy
from cme.scoring.server import CompletionServer
from cme.scoring.token_scorer import TokenScorer

Dialect = Literal["vllm", "sglang"]
KEY = "sk-very-secret-8431"
TLS = httpx2.create_ssl_context()  # unused, and slower to create in every test than the test itself
PROMPTS, RESPONSES = [[5, 6, 7], [8], [5, 6]], [[9, 10], [11, 5, 7, 7], [12]]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompletionStub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SCORING_KEY", KEY)
    monkeypatch.setattr(CompletionServer, "backoff", 0.01)
    monkeypatch.setattr(httpx2, "Client", partial(httpx2.Client, verify=TLS))
    server = CompletionStub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["vllm", "sglang"])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


def connect(stub: CompletionStub, dialect: Dialect, **options: Any) -> CompletionServer:
    return CompletionServer(stub.url, "tiny", dialect=dialect, **options)


def check_scores(server: CompletionServer) -> None:
    scored = server.score(PROMPTS, RESPONSES)
    for one, prompt, response in zip(scored, PROMPTS, RESPONSES, strict=True):
        assert one.log_likelihoods.tolist() == pytest.approx(expected(prompt, response))


def rows_of(model: Any) -> Callable[[list[int]], list[dict[int, float]]]:
    """Log-probabilities by position under a model: of the next token and of the most likely one."""
    lock = threading.Lock()

    @torch.no_grad()
    def rows(ids: list[int]) -> list[dict[int, float]]:
        with lock:
            log_p = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].float(), -1)
        tops = log_p.argmax(-1).tolist()
        return [{top: float(p[top]), t: float(p[t])} for p, top, t in zip(log_p, tops, ids[1:], strict=False)]

    return rows


@pytest.mark.parametrize("settings", [{}, {"pmi": True}])
def test_cross_model_entropy_through_a_server_equals_that_in_process(
    stub: CompletionStub, tiny: Tiny, tiny_folder: Callable[..., Path], settings: dict[str, Any]
) -> None:
    stub.rows, place = rows_of(tiny("qwen").model), str(tiny_folder("qwen"))
    server = {"url": stub.url, "model": "tiny", "dialect": "vllm"}
    completions = ["what is 3 plus 4?", "name two animals."], ["it is 7.", "fox, bear."], [[1], [1]]
    found = CrossModelEntropy(place, server=server, **settings)(*completions)
    assert found == pytest.approx(CrossModelEntropy(place, **settings)(*completions), abs=1e-4)


def test_scores_equal_those_of_the_same_model_in_process(stub: CompletionStub, tiny: Tiny) -> None:
    model = tiny("qwen").model
    stub.rows = rows_of(model)
    rng = random.Random(0)
    lengths = [(1, 1), (3, 20), (70, 7), (5, 0), (12, 40), (2, 1)]
    prompts, responses = (
        [[rng.randrange(6, model.config.vocab_size) for _ in range(pair[side])] for pair in lengths]
        for side in (0, 1)
    )
    truth = TokenScorer(model).score(prompts, responses)
    for dialect in ("vllm", "sglang"):
        scored = CompletionServer(stub.url, "tiny", dialect=dialect).score(prompts, responses)
        for one, other in zip(scored, truth, strict=True):
            assert one.log_likelihoods.dtype == torch.float32
            assert one.log_likelihoods.shape == other.log_likelihoods.shape
            assert one.entropies.shape == (0,)
            assert one.log_likelihoods.tolist() == pytest.approx(other.log_likelihoods.tolist(), abs=1e-4)
    assert len(stub.bodies) == 2 * sum(after > 0 for _, after in lengths), "none for an empty response"


def test_the_url_may_end_in_v1(stub: CompletionStub, dialect: Dialect) -> None:
    for ending in ("/", "/v1", "/v1/"):
        check_scores(CompletionServer(stub.url + ending, "tiny", dialect=dialect))


@pytest.mark.parametrize(
    ("prompts", "responses", "entropy", "message"),
    [
        ([[]], [[5]], False, "a prompt has no tokens"),
        ([[5]], [[5]], True, "log-probabilities only"),
        ([[5], [6]], [[5]], False, "shorter"),
    ],
)
def test_arguments_that_cannot_be_scored_are_refused_before_any_request(
    stub: CompletionStub, prompts: list[list[int]], responses: list[list[int]], entropy: bool, message: str
) -> None:
    server = connect(stub, "vllm")
    assert server.score([], []) == []
    with pytest.raises(ValueError, match=message):
        server.score(prompts, responses, entropy=entropy)
    assert not stub.bodies


@pytest.mark.parametrize(
    "fault",
    [status(429), status(500), status(503, Retry_After="Fri, 31 Dec 2100 23:59:59 GMT"), drop, cut_short],
)
def test_a_passing_failure_is_retried(stub: CompletionStub, dialect: Dialect, fault: Fault) -> None:
    stub.faults = [fault] * 3
    check_scores(connect(stub, dialect))
    assert len(stub.bodies) == 6


def test_retry_after_in_seconds_is_honoured(stub: CompletionStub) -> None:
    stub.faults = [status(429, Retry_After="1")]
    connect(stub, "vllm").score([[5]], [[6]])
    assert stub.times[1] - stub.times[0] >= 1


def test_the_waits_double(stub: CompletionStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CompletionServer, "backoff", 0.03)
    stub.faults = [status(500)] * 3
    connect(stub, "sglang").score([[5]], [[6]])
    waits = [b - a for a, b in pairwise(stub.times)]
    assert len(waits) == 3 and all(wait >= 0.03 * 2**i for i, wait in enumerate(waits))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(500, "out of memory"), "status 500: out of memory"),
        (drop, "RemoteProtocolError|ReadError"),
        (silent, "ReadTimeout"),
    ],
)
def test_a_lasting_failure_says_what_it_was(stub: CompletionStub, fault: Fault, reason: str) -> None:
    stub.always = fault
    server = connect(stub, "vllm", timeout=0.3, retries=1)
    with pytest.raises(Unavailable, match=rf"{stub.url}/\S+ did not answer in 2 attempt.*({reason})"):
        server.score([[5]], [[6]])
    assert len(stub.bodies) == 2


@pytest.mark.parametrize("code", [302, 400])
def test_a_refusal_is_final(stub: CompletionStub, code: int) -> None:
    stub.always = status(code, "not\nallowed " + "x" * 500)
    with pytest.raises(
        ValueError, match=rf"{stub.url}/\S+ refused with status {code}: not allowed x+$"
    ) as caught:
        connect(stub, "vllm", concurrency=1).score(PROMPTS, RESPONSES)
    assert len(str(caught.value)) < 300
    assert len(stub.bodies) <= 2  # the second may have begun before the first one's failure was seen


def test_a_refusal_ends_the_waits_of_the_others(
    stub: CompletionStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CompletionServer, "backoff", 30.0)
    stub.faults = [status(500), status(401)]
    start = time.monotonic()
    with pytest.raises(ValueError, match="401"):
        connect(stub, "vllm", concurrency=2).score(PROMPTS, RESPONSES)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (broken_json, "JSONDecodeError"),
        (other_ids, "token.*4711"),
        (too_few, "were sent"),
        (no_log_probabilities, "null.*TypeError"),
        (lambda _, reply: {"error": "no"}, "error.*KeyError"),
        (with_last("-1.0"), "TypeError"),  # type: ignore[arg-type]
    ],
)
def test_an_unexpected_reply_is_an_error_that_names_it(
    stub: CompletionStub, dialect: Dialect, fault: Fault, message: str
) -> None:
    stub.always = fault
    with pytest.raises(ValueError, match=message) as caught:
        connect(stub, dialect).score([[5, 6, 7]], [[8, 9]])
    assert stub.url in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", [None, -9999.0, float("-inf"), float("nan")])
def test_a_missing_or_clamped_value_is_nan(
    stub: CompletionStub, dialect: Dialect, value: float | None
) -> None:
    stub.always = with_last(value)
    [one] = connect(stub, dialect).score([[5, 6, 7]], [[8, 9]])
    assert one.log_likelihoods[0] == pytest.approx(expected([5, 6, 7], [8, 9])[0])
    assert one.log_likelihoods[1].isnan()


@pytest.mark.parametrize("entry", [None, {"9": None}, {"9": {"rank": 3}}])
def test_an_entry_without_its_value_is_nan(stub: CompletionStub, entry: object) -> None:
    def changed(_: Handler, reply: dict[str, Any]) -> dict[str, Any]:
        entries_of(reply)[-1] = entry
        return reply

    stub.always = changed
    [one] = connect(stub, "vllm").score([[5, 6, 7]], [[8, 9]])
    assert one.log_likelihoods.isnan().tolist() == [False, True]


def test_requests_in_flight_are_bounded(stub: CompletionStub) -> None:
    stub.seconds = 0.03
    server = connect(stub, "vllm", concurrency=4)
    scored = server.score([[5, i] for i in range(24)], [[6, 7]] * 24)
    assert [float(s.log_likelihoods[0]) for s in scored] == pytest.approx(
        [expected([5, i], [6, 7])[0] for i in range(24)]
    )
    assert 1 < stub.most_in_flight <= 4


@pytest.mark.parametrize("missing", ["/get_model_info", "/model_info"])
def test_old_and_new_sglang_servers_are_recognised(stub: CompletionStub, missing: str) -> None:
    stub.missing = {missing}
    check_scores(connect(stub, "sglang"))


def test_another_kind_of_server_is_refused_at_once(stub: CompletionStub, dialect: Dialect) -> None:
    stub.missing = {"/v1/models", "/get_model_info", "/model_info"}
    with pytest.raises(ValueError, match="refused with status 404: no such path"):
        connect(stub, dialect)


def test_a_server_that_does_not_answer_is_unavailable(stub: CompletionStub, dialect: Dialect) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(Unavailable, match=rf"{url}.*ConnectError.*start the {dialect} server"):
            CompletionServer(url, "tiny", dialect=dialect)


def test_arguments_are_refused_by_name(stub: CompletionStub) -> None:
    for url, model, dialect, message in (
        ("localhost:8000", "tiny", "vllm", r"server\.url=localhost:8000.*http://"),
        (stub.url, "tiny", "tgi", r"server\.dialect=tgi.*vllm or sglang"),
        (stub.url, "gemma", "vllm", r"server\.model=gemma.*tiny, other"),
    ):
        with pytest.raises(ValueError, match=message):
            CompletionServer(url, model, dialect=dialect)  # type: ignore[arg-type]


def test_the_key_is_sent_and_never_shown(
    stub: CompletionStub, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCORING_KEY", f" {KEY}\n")  # without the blanks around it
    server = connect(stub, dialect, api_key_variable="SCORING_KEY", retries=1)
    check_scores(server)
    assert stub.keys == {f"Bearer {KEY}"}
    check_scores(connect(stub, dialect))
    assert stub.keys == {None, f"Bearer {KEY}"}, "it is sent only if it is named"
    assert KEY not in repr(server) + repr(vars(server))
    for fault in (status(401, f"bad key {KEY}"), status(500, KEY), lambda _, reply: {"key": KEY}):
        stub.always = fault  # the server repeats the key
        with pytest.raises((ValueError, Unavailable), match=r"\*\*\*") as caught:
            server.score([[5]], [[6]])
        assert KEY not in repr(caught.value)
        assert KEY not in repr(caught.value.__cause__)


@pytest.mark.parametrize("key", ["", "sk-\x07-bell"])
def test_a_key_that_cannot_be_sent_is_unavailable(
    stub: CompletionStub, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCORING_KEY", key)
    with pytest.raises(Unavailable, match="SCORING_KEY holds no usable key") as caught:
        connect(stub, "vllm", api_key_variable="SCORING_KEY")
    assert not key or key not in str(caught.value)
