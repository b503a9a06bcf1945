"""What the judges of scale=paper send, and what becomes of each reply, on a server that behaves like theirs."""

import json
import re
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from scripted import policy_ending_at

from cme import Unavailable
from cme.judges.pairwise import VerdictLog, judge_pairs
from cme.records import Generation, Pair, Verdict
from experiments.config import composition
from experiments.run import judging
from tests.rehearsal.stand_ins.judge_server import JudgeServer, verdict

CUT = 2500
CUT_NOTE = f"\n[only the first {CUT} characters are shown]"
GPT = "judge=gpt_5_2"
CLAUDE = "judge=anthropic"
LENGTHS = [(2600, 100), (100, 2600), (2500, 2501), (0, 40), (30, 30), (3000, 9000)]
PAIRS = [
    Pair(
        prompt_id=f"p{n}",
        prompt=f"Instruction {n}, 日本語",
        reference=None,
        start=Generation("s" * start, True, start // 4 + 1),
        policy=Generation("p" * policy, True, policy // 4 + 1),
    )
    for n, (start, policy) in enumerate(LENGTHS)
]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "dummy")


def make_judge(*words: str) -> Any:
    """The judge of a cell of scale=paper."""
    [run] = composition.compose_cells(["scale=paper", "family=llama", "regime=instruct", *words])
    return run.judge.instantiate()


def judge_all(folder: Path, *words: str) -> list[Verdict]:
    with VerdictLog(folder / "verdicts.jsonl") as log:
        return judge_pairs(make_judge(*words), PAIRS, True, log)


def shown(response: str) -> str:
    """A response as the judge must see it."""
    return response if len(response) <= CUT else response[:CUT] + CUT_NOTE


def expected_outcome(first: str, second: str) -> str:
    winner = json.loads(verdict({"response A": shown(first), "response B": shown(second)}))["winner"]
    return {"A": "first", "B": "second", "tie": "tie"}[winner]


@pytest.mark.parametrize(("maker", "judge"), [("openai", GPT), ("anthropic", CLAUDE)])
def test_requests(judge_server: JudgeServer, tmp_path: Path, maker: str, judge: str) -> None:
    """Each pair in both orders, each response cut at 2,500 characters, and the parameters of each request."""
    verdicts = judge_all(tmp_path, judge, f"judge.base_url={judge_server.url(maker)}")
    sent = Counter(
        (r.parts["instruction"], r.parts["response A"], r.parts["response B"]) for r in judge_server.requests
    )
    orders = [
        (p.prompt, shown(a.response), shown(b.response))
        for p in PAIRS
        for a, b in ((p.policy, p.start), (p.start, p.policy))
    ]
    assert sent == Counter(dict.fromkeys(orders, 1))  # equal responses are one comparison
    gpt = {"model": "gpt-5.2", "response_format": {"type": "json_object"}, "reasoning_effort": "none"}
    own = gpt if maker == "openai" else {"model": "claude-sonnet-4-6"}
    for request in judge_server.requests:
        assert (request.maker, request.status) == (maker, 200)
        assert request.fields == {"temperature": 0, "max_completion_tokens": 1024, **own}
    for one, pair in zip(verdicts, [p for p in PAIRS for _ in range(2)], strict=True):
        sides = (pair.policy, pair.start) if one.policy_first else (pair.start, pair.policy)
        assert one.outcome == expected_outcome(sides[0].response, sides[1].response)


@pytest.mark.parametrize(("maker", "judge"), [("openai", "gpt_5_2"), ("anthropic", "anthropic")])
def test_a_judge_as_reward(judge_server: JudgeServer, tmp_path: Path, maker: str, judge: str) -> None:
    """All pairs of a group of three in both orders, once; the reward is the share of the others that it beats."""
    words = [
        "scale=paper",
        "family=llama",
        "regime=instruct",
        "reward=pairwise_judge",
        f"judge@reward.judge={judge}",
    ]
    words += [f"reward.judge.base_url={judge_server.url(maker)}", "trainer.num_generations=2"]
    words += ["reward.judge.max_calls=100000"]
    [run] = composition.compose_cells(words)
    reward = run.reward.instantiate(num_generations=3)
    reward.bind(policy_ending_at(9))
    reward.keep_in(tmp_path)
    texts = ["s" * 100, "m" * 1000, "l" * 9000]
    for _ in range(2):
        found = reward(
            ["Instruction, 日本語"] * 3, texts, [[1, 9]] * 3, prompt_text=["Instruction, 日本語"] * 3
        )
    assert found == [0.0, 0.5, 1.0]
    sent = Counter((r.parts["response A"], r.parts["response B"]) for r in judge_server.requests)
    assert sent == Counter({(shown(a), shown(b)): 1 for a, b in permutations(texts, 2)})
    assert {r.parts["instruction"] for r in judge_server.requests} == {"Instruction, 日本語"}


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("judge=openai", "judge.model=gpt-5"), "judge.decoding.temperature=null"),
        (("judge=gpt_5", "+judge.decoding.reasoning_effort=none"), "judge.decoding.reasoning_effort=null"),
        (("judge=gpt_5", "+judge.decoding.top_k=3"), "judge.decoding.top_k=null"),
        (
            (GPT, "judge.decoding.max_completion_tokens=null", "+judge.decoding.max_tokens=500"),
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


def test_a_judge_by_labels_needs_log_probabilities(judge_server: JudgeServer) -> None:
    url = f"judge.base_url={judge_server.url('openai')}"
    judge = make_judge("judge=openai_logprobs", "judge.model=gpt-5", "judge.decoding.temperature=null", url)
    with pytest.raises(Unavailable, match="does not accept logprobs=True; use judge=openai"):
        judge.probe()


def test_a_judge_that_cannot_be_reached_is_one_sentence_with_a_remedy() -> None:
    judge = make_judge(GPT, "judge.base_url=http://127.0.0.1:9/v1", "judge.retries=0")
    with pytest.raises(Unavailable, match=r"127.0.0.1:9/v1 .*ConnectError.*; correct that .*another judge$"):
        judge.probe()
