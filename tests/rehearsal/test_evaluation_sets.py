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
from tests.rehearsal.benchmark_server import BenchmarkServer
from tests.rehearsal.stand_ins.judge_server import running

ARENA = [
    {"uid": f"{n:016x}", "category": category, "subcategory": sub, "prompt": f"task {n}, {{first}}"}
    for n, (category, sub) in enumerate(
        [("hard_prompt", "coding"), ("hard_prompt", "math"), ("creative_writing", "creative_writing")] * 4
    )
]
TURN = {"language": "English", "redacted": False, "timestamp": "2024-01-01", "toxic": False}


def wild_row(n: int, turns: int) -> dict[str, Any]:
    """A row of WildBench v2, with its columns and as many messages."""
    roles = ["user", "assistant"] * turns
    return {
        "id": str(n),
        "session_id": f"session{n}",
        "conversation_input": [
            TURN | {"role": r, "content": f"{r} {i} of {n}"} for i, r in enumerate(roles[:turns])
        ],
        "references": {"gpt-4": "an answer"},
        "length": 10,
        "checklist": [f"Does it answer {n}?", "Is it short?"],
        "intent": "to learn",
        "primary_tag": "Math",
        "secondary_tags": ["Planning"],
    }


WILD = [wild_row(n, turns=1 + 2 * (n % 2)) for n in range(12)]


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
    with running(BenchmarkServer()) as one:
        yield one


def words(files: dict[str, str], server: BenchmarkServer, judge: str) -> list[str]:
    data = judge.removesuffix("_score")
    return [
        f"data={data}",
        f"data.source.path={files['train']}",
        f"data.source.eval_path={files[data]}",
        f"judge={judge}",
        f"judge.base_url={server.url('openai')}",
    ]


def judged(
    files: dict[str, str], server: BenchmarkServer, judge: str, pairs: list[Pair], folder: Path, *more: str
) -> list[Verdict]:
    arguments = ["scale=paper", "family=llama", "regime=instruct", *words(files, server, judge), *more]
    [run] = composition.compose_cells(arguments)
    with VerdictLog(folder / "verdicts.jsonl") as log:
        return judge_pairs(run.judge.instantiate(), pairs, True, log)


def pair(prompt_id: str, policy: int, start: int, text: str = "a prompt") -> Pair:
    return Pair(prompt_id, text, None, response("s" * start), response("p" * policy))


def measure(judge: str, verdicts: list[Verdict]) -> float:
    """The benchmark's measure of a run with these verdicts."""
    rows = [("run", v.prompt_id, *scores(v)) for v in verdicts]
    frame = pd.DataFrame(rows, columns=["run_id", "prompt_id", "score_start", "score_policy"])
    return MEASURES[judge].estimate(frame)[0]


def test_the_prompts_of_arena_hard(files: dict[str, str]) -> None:
    unused = {"tokenizer": "none", "max_prompt_tokens": 1}
    prompts = arena_hard.load_prompts("eval", 12, 0, eval_path=files["arena_hard"], **unused)
    by_id = {f"arena_hard-{row['category']}-{row['uid']}": row for row in ARENA}
    assert {p.id: p.text for p in prompts} == {key: row["prompt"] for key, row in by_id.items()}
    assert all(arena_hard.category_of(key) == row["category"] for key, row in by_id.items())
    assert arena_hard.category_of("row-1") is None
    some = arena_hard.load_prompts("eval", 5, 1, eval_path=files["arena_hard"], **unused)
    assert [p.id for p in some] != [p.id for p in prompts[:5]] and len({p.id for p in some}) == 5
    with pytest.raises(ValueError, match="12 rows, but 13"):
        arena_hard.load_prompts("eval", 13, 0, eval_path=files["arena_hard"], **unused)


def test_the_conversations_of_wildbench(files: dict[str, str]) -> None:
    unused = {"tokenizer": "none", "max_prompt_tokens": 1}
    prompts = wildbench.load_prompts("eval", 12, 0, eval_path=files["wildbench"], **unused)
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
        ({"checklist": None}, "'checklist' is empty"),
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


def test_training_prompts_are_those_of_ultrafeedback(
    files: dict[str, str], tiny_folder: Callable[..., Path]
) -> None:
    for module in (arena_hard, wildbench):
        settings = {"tokenizer": str(tiny_folder("qwen")), "max_prompt_tokens": 64, "path": files["train"]}
        prompts = module.load_prompts("train", 10, 0, **settings)
        assert len(prompts) == 10 and all(p.id.startswith("ultrafeedback-") for p in prompts)


def test_arena_hard_sends_its_prompts_by_category(
    files: dict[str, str], server: BenchmarkServer, tmp_path: Path
) -> None:
    pairs = [
        pair("arena_hard-hard_prompt-1", 9, 3, "say {first}"),
        pair("arena_hard-creative_writing-2", 4, 4),
        pair("row-3", 4, 5),
    ]
    judged(files, server, "arena_hard", pairs, tmp_path)
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


def test_labels_of_arena_hard_are_verdicts_and_points(
    files: dict[str, str], server: BenchmarkServer, tmp_path: Path
) -> None:
    pairs = [pair("a", 10, 2), pair("b", 5, 4), pair("c", 4, 4), pair("d", 3, 4)]
    verdicts = judged(files, server, "arena_hard", pairs, tmp_path)
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


def test_wildbench_sends_history_query_and_checklist(
    files: dict[str, str], server: BenchmarkServer, tmp_path: Path
) -> None:
    long = " ".join(["word"] * 1001)
    pairs = [Pair("wildbench-session1", "text", None, response(long), response("short"))]
    judged(files, server, "wildbench", pairs, tmp_path)
    [message] = [
        b["messages"][0]["content"]
        for b in server.bodies
        if "\n\nshort\n\n<|end_of_response_A|>" in b["messages"][0]["content"]
    ]
    assert (
        "<|begin_of_history|>\n\nUSER: user 0 of 1\n\nASSISTANT: assistant 1 of 1\n\n\n\n<|end_of_history|>"
        in message
    )
    assert "<|begin_of_query|>\n\nuser 2 of 1\n\n<|end_of_query|>" in message
    assert "- Does it answer 1?\n- Is it short?\n" in message
    assert (
        f"{' '.join(['word'] * 1000)}... (truncated)\n" in message
        and "{" not in message.split("# Evaluation")[0]
    )
    assert all(body["response_format"] == {"type": "json_object"} for body in server.bodies)


def test_choices_of_wildbench_are_rewards(
    files: dict[str, str], server: BenchmarkServer, tmp_path: Path
) -> None:
    keys = [f"wildbench-session{n}" for n in range(6)]
    lengths = [(10, 2), (5, 4), (4, 4), (1400, 800), (1300, 800), (0, 7)]
    verdicts = judged(
        files, server, "wildbench", [pair(k, *both) for k, both in zip(keys, lengths, strict=True)], tmp_path
    )
    rewards = [
        [v.scores[0] if v.policy_first else v.scores[1] for v in verdicts if v.prompt_id == k and v.scores]
        for k in keys
    ]
    # the fourth is slightly better, and longer by more than 500 characters
    assert rewards == [[1, 1], [0.5, 0.5], [0, 0], [0, 0], [0.5, 0.5], [-1, -1]]
    assert [v.outcome for v in verdicts if v.policy_first] == [
        "first",
        "first",
        "tie",
        "tie",
        "first",
        "second",
    ]
    assert measure("wildbench", verdicts) == pytest.approx(100 * (1 + 0.5 + 0 + 0 + 0.5 - 1) / 6)
    assert len(server.bodies) == 2 * 5, "no call for an empty response"


def test_grades_of_wildbench(files: dict[str, str], server: BenchmarkServer, tmp_path: Path) -> None:
    pairs = [
        pair("wildbench-session0", 7, 3),
        pair("wildbench-session1", 0, 3),
        pair("wildbench-session2", 4, 4),
    ]
    verdicts = judged(files, server, "wildbench_score", pairs, tmp_path)
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
        ("wildbench_score", '{"score": "good"}'),
    ],
)
def test_a_reply_without_a_verdict_is_unscored(
    files: dict[str, str],
    server: BenchmarkServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    judge: str,
    reply: str,
) -> None:
    monkeypatch.setattr(BenchmarkServer, "verdict", staticmethod(lambda model, lengths: reply))
    [verdict, _] = judged(
        files, server, judge, [pair("wildbench-session0", 5, 4)], tmp_path, "judge.retries=0"
    )
    assert verdict.outcome == "unscored" and verdict.scores is None
    assert isnan(measure(judge, [verdict]))


@pytest.mark.parametrize("judge", ["arena_hard", "wildbench", "wildbench_score"])
def test_a_run_is_evaluated(
    cell: Callable[..., list[str]],
    files: dict[str, str],
    server: BenchmarkServer,
    judge: str,
) -> None:
    own = [
        w
        for w in cell(*words(files, server, judge))
        if not w.startswith(("data.train_prompts", "data.eval_prompts"))
    ]
    [config] = composition.compose_cells([*own, "data.train_prompts=16", "data.eval_prompts=8"])
    record = read_record(pipeline.run(config))
    assert record.judge == judge and len(record.verdicts) == 16
    assert all(v.outcome != "unscored" for v in record.verdicts), [v.reason for v in record.verdicts]


@pytest.mark.parametrize(("judge", "calls"), [("arena_hard", 1), ("wildbench", 1), ("wildbench_score", 2)])
def test_the_plan_counts_the_requests_of_a_comparison(
    cell: Callable[..., list[str]], files: dict[str, str], server: BenchmarkServer, judge: str, calls: int
) -> None:
    prices = ("judge.usd_per_million_input=1", "judge.usd_per_million_output=1", "evaluation.cut_start=false")
    [run] = composition.compose_cells(cell(*words(files, server, judge), *prices, "data.eval_prompts=3"))
    number, usd = judge_calls(run, bounds(run)[0], with_start=False)
    assert number == 2 * 3 * calls and usd > 0


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
