"""Arena-Hard and WildBench: local files in the released formats, what their judges send, and how replies count."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from samples import response, write_lines

from analysis.stats.benchmarks import MEASURES
from cme.data import arena_hard, wildbench
from cme.judges.pairwise import VerdictLog, judge_pairs
from cme.records import Pair, Prompt, Verdict, read_record, scores
from experiments.config import composition
from experiments.config.validation import BadConfig
from experiments.plan.estimate import bounds, judge_calls
from experiments.run import judging, pipeline
from tests.rehearsal.stand_ins.benchmark_server import BenchmarkServer
from tests.support.stubs.http_stub import serving

ARENA = [
    {"uid": f"{n:016x}", "category": category, "subcategory": sub, "prompt": f"task {n}, {{first}}"}
    for n, (category, sub) in enumerate(
        [("hard_prompt", "coding"), ("hard_prompt", "math"), ("creative_writing", "creative_writing")] * 4
    )
]
TURN = {"language": "English", "redacted": False, "timestamp": "2024-01-01", "toxic": False}


WILD = [
    {
        "session_id": f"session{n}",
        "conversation_input": [
            TURN | {"role": role, "content": f"{role} {i} of {n}"}
            for i, role in enumerate(["user", "assistant", "user"][2 * (n % 2 == 0) :])
        ],
        "checklist": [f"Does it answer {n}?", "Is it short?"],
        "primary_tag": "Math",
    }
    for n in range(12)
]
"""Rows of WildBench v2: a conversation of one message, or of three."""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    ultrafeedback = [{"instruction": f"what is {n}?"} for n in range(30)]
    return {
        "train": write_lines(tmp_path / "ultrafeedback.jsonl", ultrafeedback),
        "arena_hard": write_lines(tmp_path / "question.jsonl", ARENA),
        "wildbench": write_lines(tmp_path / "wildbench.jsonl", WILD),
    }


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `datasets` cache in the test's folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BenchmarkServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "dummy")
    with serving(BenchmarkServer()) as one:
        yield one


Words = Callable[[str], list[str]]
Judge = Callable[..., list[Verdict]]


@pytest.fixture
def words(files: dict[str, str], server: BenchmarkServer) -> Words:
    """The words of a command line that choose a judge, its data and the server."""
    return lambda judge: [
        f"data={judge.removesuffix('_score')}",
        f"data.source.path={files['train']}",
        f"data.source.eval_path={files[judge.removesuffix('_score')]}",
        f"judge={judge}",
        f"judge.base_url={server.url('openai')}",
    ]


@pytest.fixture
def judge_with(words: Words, tmp_path: Path) -> Judge:
    """The verdicts of a judge on pairs."""

    def judged(judge: str, pairs: list[Pair], *more: str) -> list[Verdict]:
        arguments = ["scale=paper", "family=llama", "regime=instruct", *words(judge), *more]
        [run] = composition.compose_cells(arguments)
        with VerdictLog(tmp_path / "verdicts.jsonl") as log:
            return judge_pairs(run.judge.instantiate(), pairs, True, log)

    return judged


def pair(prompt_id: str, policy: int, start: int, text: str = "a prompt") -> Pair:
    return Pair(prompt_id, text, None, response("s" * start), response("p" * policy))


def measure(judge: str, verdicts: list[Verdict]) -> float:
    """The benchmark's measure of a run with these verdicts."""
    rows = [("run", v.prompt_id, *scores(v)) for v in verdicts]
    frame = pd.DataFrame(rows, columns=["run_id", "prompt_id", "score_start", "score_policy"])
    return MEASURES[judge].estimate(frame)[0]


UNUSED = {"tokenizer": "none", "max_prompt_tokens": 1}


def test_the_prompts_of_arena_hard(files: dict[str, str]) -> None:
    prompts = arena_hard.load_prompts("eval", 12, 0, eval_path=files["arena_hard"], **UNUSED)
    by_id = {f"arena_hard-{row['category']}-{row['uid']}": row for row in ARENA}
    assert {p.id: p.text for p in prompts} == {key: row["prompt"] for key, row in by_id.items()}
    assert all(arena_hard.category_of(key) == row["category"] for key, row in by_id.items())
    assert arena_hard.category_of("row-1") is None
    with pytest.raises(ValueError, match="12 rows, but 13"):
        arena_hard.load_prompts("eval", 13, 0, eval_path=files["arena_hard"], **UNUSED)


def test_the_conversations_of_wildbench(files: dict[str, str]) -> None:
    prompts = wildbench.load_prompts("eval", 12, 0, eval_path=files["wildbench"], **UNUSED)
    rows = {f"wildbench-{row['session_id']}": row for row in WILD}
    assert {p.id for p in prompts} == set(rows)
    for prompt in prompts:
        turns = rows[prompt.id]["conversation_input"]
        assert prompt.conversation == [{"role": t["role"], "content": t["content"]} for t in turns]
        assert turns[-1]["content"] in prompt.text


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"conversation_input": [TURN | {"role": "assistant", "content": "x"}]},
            "must end with a message of the user",
        ),
        ({"conversation_input": None}, "'conversation_input' is null; it must be a list of objects"),
        ({"checklist": []}, "'checklist' is empty"),
        ({"session_id": None}, "'session_id' is null"),
    ],
)
def test_a_row_of_wildbench_that_cannot_be_used_is_named(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    path = write_lines(tmp_path / "bad.jsonl", [WILD[0], WILD[1] | change])
    with pytest.raises(ValueError, match=named) as refused:
        wildbench.tasks(path)
    assert "row 2" in str(refused.value)


def test_arena_hard_sends_its_prompts_by_category(judge_with: Judge, server: BenchmarkServer) -> None:
    pairs = [
        pair("arena_hard-hard_prompt-1", 9, 3, "say {first}"),
        pair("arena_hard-creative_writing-2", 4, 4),
        pair("row-3", 4, 5),
    ]
    judge_with("arena_hard", pairs)
    sent = {body["messages"][1]["content"]: body for body in server.bodies}
    text = (
        "<|User Prompt|>\nsay {first}\n\n<|The Start of Assistant A's Answer|>\nppppppppp\n<|The End of Assistant A's "
        "Answer|>\n\n<|The Start of Assistant B's Answer|>\nsss\n<|The End of Assistant B's Answer|>"
    )
    body = sent[text]
    assert body["model"] == "gpt-4.1" and (body["temperature"], body["max_tokens"]) == (0.0, 16000)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    own_answer = "generating your own answer to the prompt"
    hard = [own_answer in body["messages"][0]["content"] for body in server.bodies]
    creative = ["\npppp\n" in text and "\nssss\n" in text for text in sent]
    assert hard.count(False) == creative.count(True) == 2, "in both orders"


def test_labels_of_arena_hard_are_verdicts_and_points(judge_with: Judge) -> None:
    pairs = [pair("a", 10, 2), pair("b", 5, 4), pair("c", 4, 4), pair("d", 3, 4)]
    verdicts = judge_with("arena_hard", pairs)
    points = [(v.prompt_id, v.policy_first, v.outcome, v.scores) for v in verdicts]
    assert points == [
        ("a", True, "first", (3.0, 0.0)),
        ("a", False, "second", (0.0, 3.0)),
        ("b", True, "first", (1.0, 0.0)),
        ("b", False, "second", (0.0, 1.0)),
        ("c", True, "tie", (0.5, 0.5)),
        ("c", False, "tie", (0.5, 0.5)),
        ("d", True, "second", (0.0, 1.0)),
        ("d", False, "first", (1.0, 0.0)),
    ]
    assert measure("arena_hard", verdicts) == pytest.approx(100 * (6 + 2 + 1 + 0) / (6 + 2 + 2 + 2))


def test_wildbench_sends_history_query_and_checklist(judge_with: Judge, server: BenchmarkServer) -> None:
    long = " ".join(["word"] * 1001)
    pairs = [Pair("wildbench-session1", "text", None, response(long), response("short"))]
    judge_with("wildbench", pairs)
    sent = [body["messages"][0]["content"] for body in server.bodies]
    [message] = [text for text in sent if "\n\nshort\n\n<|end_of_response_A|>" in text]
    history = "USER: user 0 of 1\n\nASSISTANT: assistant 1 of 1\n\n"
    assert f"<|begin_of_history|>\n\n{history}\n\n<|end_of_history|>" in message
    assert "<|begin_of_query|>\n\nuser 2 of 1\n\n<|end_of_query|>" in message
    assert "- Does it answer 1?\n- Is it short?\n" in message
    assert f"{' '.join(['word'] * 1000)}... (truncated)\n" in message
    assert "{" not in message.split("# Evaluation")[0]
    assert all(body["response_format"] == {"type": "json_object"} for body in server.bodies)


def test_choices_of_wildbench_are_rewards(judge_with: Judge, server: BenchmarkServer) -> None:
    lengths = [(10, 2), (5, 4), (4, 4), (1400, 800), (1300, 800), (0, 7)]
    pairs = [pair(f"wildbench-session{n}", *both) for n, both in enumerate(lengths)]
    verdicts = judge_with("wildbench", pairs)
    rewards = [v.scores[0] if v.policy_first else v.scores[1] for v in verdicts if v.scores]
    # the fourth is slightly better, and longer by more than 500 characters
    expected = [1, 0.5, 0, 0, 0.5, -1]
    assert rewards == [value for value in expected for _ in range(2)]
    outcomes = [v.outcome for v in verdicts if v.policy_first]
    assert outcomes == ["first", "first", "tie", "tie", "first", "second"]
    assert measure("wildbench", verdicts) == pytest.approx(100 * sum(expected) / 6)
    assert len(server.bodies) == 2 * 5, "no call for an empty response"


def test_grades_of_wildbench(judge_with: Judge, server: BenchmarkServer) -> None:
    lengths = [(7, 3), (0, 3), (4, 4)]
    verdicts = judge_with(
        "wildbench_score", [pair(f"wildbench-session{n}", *two) for n, two in enumerate(lengths)]
    )
    assert [(v.outcome, v.scores) for v in verdicts if v.policy_first] == [
        ("first", (8.0, 4.0)),
        ("second", (1.0, 4.0)),
        ("tie", (5.0, 5.0)),
    ]
    assert measure("wildbench_score", verdicts) == pytest.approx(10 * ((8 - 5) * 2 + (1 - 5) * 2 + 0) / 3)
    assert "begin_of_response_A" not in server.bodies[0]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("judge", "reply"),
    [
        ("arena_hard", "I cannot decide."),
        ("arena_hard", "[[A>>>B]]"),
        ("wildbench", '{"choice": "A"}'),
        ("wildbench", "A++"),
        ("wildbench_score", '{"score": "11"}'),
    ],
)
def test_a_reply_without_a_verdict_is_unscored(
    judge_with: Judge, monkeypatch: pytest.MonkeyPatch, judge: str, reply: str
) -> None:
    monkeypatch.setattr(BenchmarkServer, "verdict", staticmethod(lambda model, lengths: reply))
    [verdict, _] = judge_with(judge, [pair("wildbench-session0", 5, 4)], "judge.retries=0")
    assert verdict.outcome == "unscored" and verdict.scores is None
    assert isnan(measure(judge, [verdict]))


@pytest.mark.parametrize(
    ("judge", "calls"),
    [
        pytest.param("arena_hard", 1, marks=pytest.mark.slow),
        pytest.param("wildbench", 1, marks=pytest.mark.slow),
        ("wildbench_score", 2),
    ],
)
def test_a_run_is_planned_and_evaluated(
    cell: Callable[..., list[str]], words: Words, judge: str, calls: int
) -> None:
    sizes = ("data.train_prompts=16", "data.eval_prompts=8", "evaluation.cut_start=false")
    prices = ("judge.usd_per_million_input=1", "judge.usd_per_million_output=1")
    own = [word for word in cell(*words(judge)) if not word.startswith(("data.train", "data.eval"))]
    [run] = composition.compose_cells([*own, *sizes, *prices])
    number, usd = judge_calls(run, bounds(run)[0], with_start=False)
    assert number == 2 * 8 * calls and usd > 0
    record = read_record(pipeline.run(run))
    assert record.judge == judge and len(record.verdicts) == 16
    assert all(v.outcome != "unscored" for v in record.verdicts), [v.reason for v in record.verdicts]


def test_wildbench_refuses_other_prompts(cell: Callable[..., list[str]]) -> None:
    [config] = composition.compose_cells(cell("judge=wildbench"))
    with pytest.raises(BadConfig, match="no checklist of WildBench"):
        judging.check_prompts("judge", config.judge, [Prompt("row-1", "a prompt")], "the prompts")


RELEASED = {
    "arena_hard": {"{instruction}": "{QUESTION}", "{first}": "{ANSWER_A}", "{second}": "{ANSWER_B}"},
    "wildbench": {"{first}": "{$candidate_A}", "{second}": "{$candidate_B}"},
    "wildbench_score": {"{first}": "{$model_output}"},
}
SHARED = {"{history}": "{$history}", "{query}": "{$user_query}", "{checklist}": "{$checklist}"}


@pytest.mark.parametrize(
    ("judge", "digests"),
    [
        ("arena_hard", ["80fb20ab2eaae6d3", "03f68010febd7a64", "171489efbca7f19f"]),
        ("wildbench", ["ccd57bd8c4c73f4f"]),
        ("wildbench_score", ["c5984ae77b009f8d"]),
    ],
)
def test_the_prompts_are_those_of_the_repositories(judge: str, digests: list[str]) -> None:
    """SHA-256 of the files at the commits that the YAML names, with their own placeholders."""
    [run] = composition.compose_cells(["scale=paper", "family=llama", "regime=instruct", f"judge={judge}"])
    prompt = run.judge.arguments["prompt"]
    for ours, theirs in (RELEASED[judge] | SHARED).items():
        prompt = prompt.replace(ours, theirs)
    texts = [prompt, *run.judge.arguments.get("system_prompts", {}).values()]
    assert [sha256(text.encode()).hexdigest()[:16] for text in texts] == digests
