"""What the judges of scale=paper send, and what becomes of each reply, on a server that behaves like theirs."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from samples import response

from cme import Unavailable
from cme.judges.pairwise import VerdictLog, judge_pairs
from cme.records import Pair
from experiments.config import composition
from experiments.run import judging
from tests.rehearsal.stand_ins.judge_server import JudgeServer, verdict

CUT = 2500
LENGTHS = [(2600, 100), (100, 2600), (2500, 2501), (0, 40), (30, 30), (3000, 9000)]
PAIRS = [
    Pair(f"p{n}", f"Instruction {n}, 日本語", None, response("s" * start), response("p" * policy))
    for n, (start, policy) in enumerate(LENGTHS)
]
GPT = {"model": "gpt-5.2", "response_format": {"type": "json_object"}, "reasoning_effort": "none"}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "dummy")


def make_judge(*words: str) -> Any:
    """The judge of a cell of scale=paper."""
    [run] = composition.compose_cells(["scale=paper", "family=llama", "regime=instruct", *words])
    return run.judge.instantiate()


def shown(text: str) -> str:
    """A response as the judge must see it."""
    return text if len(text) <= CUT else f"{text[:CUT]}\n[only the first {CUT} characters are shown]"


@pytest.mark.parametrize(
    ("maker", "judge", "fields"),
    [("openai", "gpt_5_2", GPT), ("anthropic", "anthropic", {"model": "claude-sonnet-4-6"})],
)
def test_requests(
    judge_server: JudgeServer, tmp_path: Path, maker: str, judge: str, fields: dict[str, Any]
) -> None:
    """Each pair in both orders, each response cut at 2,500 characters, and the parameters of each request."""
    url = f"judge.base_url={judge_server.url(maker)}"
    with VerdictLog(tmp_path / "verdicts.jsonl") as log:
        verdicts = judge_pairs(make_judge(f"judge={judge}", url), PAIRS, True, log)
    orders = [
        (p, a.response, b.response) for p in PAIRS for a, b in ((p.policy, p.start), (p.start, p.policy))
    ]
    sent = Counter(tuple(request.parts.values()) for request in judge_server.requests)
    # equal responses are one comparison
    assert sent == Counter({(p.prompt, shown(first), shown(second)) for p, first, second in orders})
    for request in judge_server.requests:
        assert (request.maker, request.status) == (maker, 200)
        assert request.fields == {"temperature": 0, "max_completion_tokens": 1024, **fields}
    for one, (_, first, second) in zip(verdicts, orders, strict=True):
        reply = json.loads(verdict({"response A": shown(first), "response B": shown(second)}))
        assert one.outcome == {"A": "first", "B": "second", "tie": "tie"}[reply["winner"]]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("judge=openai", "judge.model=gpt-5"), "judge.decoding.temperature=null"),
        (("judge=gpt_5", "+judge.decoding.reasoning_effort=none"), "judge.decoding.reasoning_effort=null"),
        (("judge=gpt_5", "+judge.decoding.top_k=3"), "judge.decoding.top_k=null"),
        (
            ("judge=gpt_5_2", "judge.decoding.max_completion_tokens=null", "+judge.decoding.max_tokens=500"),
            "judge.decoding.max_tokens=null ++judge.decoding.max_completion_tokens=500",
        ),
    ],
)
def test_a_refused_parameter_is_named_with_the_override_that_works(
    judge_server: JudgeServer, words: tuple[str, ...], remedy: str
) -> None:
    words = (*words, f"judge.base_url={judge_server.url('openai')}")
    with pytest.raises(Unavailable, match=f"; set {re.escape(remedy)}:"):
        make_judge(*words).probe()
    make_judge(*words, *remedy.split()).probe()
    assert [r.status for r in judge_server.requests] == [400, 200]


def test_the_override_is_that_of_the_judge_which_was_refused(judge_server: JudgeServer) -> None:
    """A member of a panel and the judge of a selection have their own fields."""
    url = judge_server.url("openai")
    panel = ["judge=panel", f"judge.members.gpt_5_2.base_url={url}", "judge.members.gpt_5_2.model=gpt-5"]
    panel += [f"judge.members.anthropic.base_url={judge_server.url('anthropic')}"]
    selection = [f"selection.judge.base_url={url}", "+selection.judge.decoding.top_k=3"]
    cell = ["scale=paper", "family=llama", "regime=instruct", *panel, *selection]
    with pytest.raises(Unavailable) as caught:
        judging.probe(composition.compose_cells(cell))
    member, chosen = str(caught.value).splitlines()
    assert "; set judge.members.gpt_5_2.decoding.reasoning_effort=null:" in member
    assert "; set selection.judge.decoding.top_k=null:" in chosen
