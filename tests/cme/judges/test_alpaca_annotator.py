"""AlpacaEval's annotators against a local server, compared with alpaca-eval's own calls on the same pairs."""

import itertools
import json
import logging
import math
import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_stub import StubHandler, StubServer, serving
from samples import response

from analysis.stats.win_rates import win_rate
from cme import Unavailable
from cme.judges.alpaca_annotator import TEMPLATE_MARKERS, AlpacaEvalAnnotator
from cme.judges.pairwise import VerdictLog, judge_pairs
from cme.records import Pair, Prompt, points, scores

NAME = "weighted_alpaca_eval_gpt4_turbo"
KEY = "sk-very-secret"
PACKAGE = Path(str(find_spec("alpaca_eval").origin)).parent  # type: ignore[union-attr]


class Server(StubServer):
    """Answers with log-probabilities: a longer response is better, and the first one is better by a little.

    `p_first` of two responses of equal length is 0.6, or 0.5 if the instruction says `fair`. `fault` is a way to answer
    wrongly. `pairs` holds the (first, second) of every request.
    """

    def __init__(self) -> None:
        super().__init__(Handler)
        self.pairs: list[tuple[str, str]] = []
        self.fault = ""

    @property
    def models(self) -> set[str]:
        return {body["model"] for body in self.bodies}

    @staticmethod
    def p_first(instruction: str, first: str, second: str) -> float:
        lead = (len(first) - len(second)) / 10 + (0 if "fair" in instruction else 0.4)
        return 1 / (1 + math.exp(-lead))


class Handler(StubHandler):
    server: Server

    def answer(self, body: dict[str, Any]) -> Any:
        status, reply = self.reply(body)
        headers = {"Content_Type": "application/json", "x_should_retry": "false"}
        return lambda: self.send(status, json.dumps(reply).encode(), **headers)

    def reply(self, body: dict[str, Any]) -> tuple[int, Any]:
        fault, text = self.server.fault, body["messages"][-1]["content"]
        first, second = re.findall(r'"output": """(.*?)"""', text, re.DOTALL)
        [instruction] = re.findall(r'"instruction": """(.*?)"""', text, re.DOTALL)
        self.server.pairs.append((first, second))
        assert self.path == "/v1/chat/completions"
        assert body["logprobs"] and body["top_logprobs"] == 5 and body["max_tokens"] == 1
        if fault == "status":
            return 500, {"error": {"message": f"wrong key {KEY}"}}
        if fault == "shape":
            return 200, {"choices": None}
        p = self.server.p_first(instruction, first, second)
        top = [
            {"token": t, "logprob": v, "bytes": None} for t, v in (("m", math.log(p)), ("M", math.log1p(-p)))
        ]
        if fault == "words":
            top = [{"token": "Both", "logprob": -0.1, "bytes": None}]
        message = {"role": "assistant", "content": "Both" if fault else "m" if p > 0.5 else "M"}
        logprobs = None if fault == "logprobs" else {"content": [{**top[0], "top_logprobs": top}]}
        choice = {"index": 0, "finish_reason": "length", "message": message, "logprobs": logprobs}
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "x", "choices": [choice]}
        return 200, whole if fault == "usage" else whole | {"usage": usage}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(Server()) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{running.address}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield running


@pytest.fixture(scope="module")
def judge() -> AlpacaEvalAnnotator:
    level = logging.root.level
    annotator = AlpacaEvalAnnotator(NAME, 8)
    assert logging.root.level == level, "the package's import sets it to INFO"
    return annotator


TEXTS = [
    ("count to three", "one two three", "one"),
    ("a fair one", "abcd", "dcba"),
    ("name a fox", "the fox is red", "owl and fox, and bear and owl"),
    ("same", "equal words", "equal words"),
    ("braces {x} and 狐", 'with "quotes" and\nlines', "{output} is no mark"),
    ("equal lengths", "xxxx", "yyyy"),
]
PAIRS = [
    Pair(f"p{n}", text, None, response(start), response(policy))
    for n, (text, start, policy) in enumerate(TEXTS)
]
FOXES = (Prompt("p", "name a fox"), response("the fox is red"), response("owl"))


def alpaca_evals_annotations() -> list[dict[str, Any]]:
    """alpaca-eval's own annotations of the pairs, start as output 1, without its random order."""
    from alpaca_eval.annotators import PairwiseAnnotator

    annotator = PairwiseAnnotator(
        annotators_config=NAME,
        caching_path=None,
        is_avoid_reannotations=False,
        is_randomize_output_order=False,
    )
    rows = [
        [{"instruction": p.prompt, "output": getattr(p, w).response} for p in PAIRS]
        for w in ("start", "policy")
    ]
    annotations: list[dict[str, Any]] = annotator.annotate_head2head(*rows)
    return annotations


def test_a_verdict_equals_alpaca_evals_in_the_same_order(server: Server, judge: AlpacaEvalAnnotator) -> None:
    verdicts = [judge.compare(Prompt(p.prompt_id, p.prompt), p.start, p.policy) for p in PAIRS]
    ours = list(server.pairs)
    assert ours == [
        (start, policy) for _, start, policy in TEXTS if start != policy
    ]  # no call for equal texts
    server.pairs.clear()
    own = alpaca_evals_annotations()
    assert sorted(server.pairs) == sorted(ours)
    for verdict, row, (text, start, policy) in zip(verdicts, own, TEXTS, strict=True):
        assert row["instruction"] == text
        assert verdict.scores == pytest.approx((2 - row["preference"], row["preference"] - 1), abs=1e-6)
        expected = 0.5 if start == policy else server.p_first(text, start, policy)
        assert verdict.scores is not None and verdict.scores[0] == pytest.approx(expected, abs=1e-6)
        tie = row["preference"] == 1.5
        assert verdict.outcome == ("tie" if tie else "first" if row["preference"] < 1.5 else "second")
    assert [r.outcome for r in verdicts] == ["first", "tie", "second", "tie", "first", "first"]
    assert server.models == {"gpt-4-1106-preview"}


def test_win_rates_equal_alpaca_evals(server: Server, judge: AlpacaEvalAnnotator, tmp_path: Path) -> None:
    """Both orders' annotations, failures among them, through `alpaca_eval.metrics` and through our analysis."""
    from alpaca_eval.metrics import get_winrate

    refused = Pair("p9", TEMPLATE_MARKERS[1], None, response("a"), response("b"))
    with VerdictLog(tmp_path / "verdicts.jsonl") as log:
        verdicts = judge_pairs(judge, [*PAIRS, refused], True, log)
    annotations: list[dict[str, Any]] = [{"preference": None}] * 2  # as alpaca-eval has what failed
    for text, start, policy in TEXTS:
        same = start == policy
        annotations.append({"preference": 1.5 if same else 2 - server.p_first(text, start, policy)})
        annotations.append({"preference": 1.5 if same else 1 + server.p_first(text, policy, start)})
    own = get_winrate(annotations)
    ours = win_rate(
        np.array([points(v) for v in verdicts]), np.array([v.prompt_id for v in verdicts], object)
    )
    assert (ours.verdicts, ours.unscored, own["n_total"]) == (14, 2, 12)
    assert ours.rate == pytest.approx(own["discrete_win_rate"], abs=1e-9)
    assert own["n_draws"] == 5 and ours.rate not in (0, 50, 100)  # one pair's in one order alone
    policy_scores = [scores(v)[1] for v in verdicts if v.scores is not None]
    assert 100 * float(np.mean(policy_scores)) == pytest.approx(own["win_rate"], abs=1e-4)
    assert own["win_rate"] != pytest.approx(ours.rate, abs=0.5)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("status", "the server answered 500 (InternalServerError)"),
        ("shape", "the reply is not a chat completion with its usage (TypeError)"),
        ("usage", "the reply is not a chat completion with its usage (AttributeError)"),
        ("logprobs", "the reply 'Both' has no preference that alpaca-eval can read"),
        ("words", "the reply 'Both' has no preference that alpaca-eval can read"),
    ],
)
def test_a_failure_is_unscored_with_its_reason_and_can_be_repeated(
    server: Server, judge: AlpacaEvalAnnotator, capfd: pytest.CaptureFixture[str], fault: str, why: str
) -> None:
    server.fault = fault
    verdict = judge.compare(*FOXES)
    assert (verdict.outcome, verdict.reason, verdict.scores) == ("unscored", why, None)
    server.fault = ""
    assert judge.compare(*FOXES).outcome == "first"
    assert len(server.pairs) == 2
    printed = capfd.readouterr()
    assert printed.out == printed.err == "", "no bars, no log, no key"


def test_a_trial_call_reports_what_is_wrong(
    server: Server, judge: AlpacaEvalAnnotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge.probe()
    assert len(server.pairs) == 1
    server.fault = "status"
    with pytest.raises(Unavailable, match="the server answered 500") as caught:
        judge.probe()
    assert KEY not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(Unavailable, match=r"the call failed: .*set OPENAI_BASE_URL and OPENAI_API_KEY"):
        judge.probe()
    assert len(server.pairs) == 2


def test_a_text_with_a_template_marker_is_unscored_without_a_call(
    server: Server, judge: AlpacaEvalAnnotator
) -> None:
    for mark, place in itertools.product(TEMPLATE_MARKERS, range(3)):
        texts = ["a", "b", "c"]
        texts[place] += f" {mark}"
        verdict = judge.compare(Prompt("p", texts[0]), response(texts[1]), response(texts[2]))
        assert verdict.outcome == "unscored" and verdict.reason is not None and mark in verdict.reason
    assert server.pairs == []


def test_unusable_annotators_are_refused(tmp_path: Path) -> None:
    def refused(annotator: str) -> str:
        with pytest.raises(ValueError, match="annotator is") as caught:
            AlpacaEvalAnnotator(annotator, 8)
        return str(caught.value)

    assert f"did you mean {NAME}?" in refused(NAME[:-1])
    assert "no configs.yaml" in refused(str(tmp_path))
    assert "combines" in refused("alpaca_farm")
    (tmp_path / "configs.yaml").write_text('mine:\n  prompt_template: "not/there.txt"\n')
    assert "prompt_template" in refused(str(tmp_path))


def test_a_preference_is_from_1_to_2_or_0_for_a_tie(
    server: Server, judge: AlpacaEvalAnnotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parsed, outcome, expected in (
        (0, "tie", (0.5, 0.5)),
        (1.25, "first", (0.75, 0.25)),
        (7, "unscored", None),
        (-1, "unscored", None),
    ):
        monkeypatch.setattr(judge._annotator, "fn_completion_parser", lambda _, parsed=parsed: [parsed])
        verdict = judge.compare(*FOXES)
        assert (verdict.outcome, verdict.scores) == (outcome, expected)
        assert outcome != "unscored" or f"the preference is {parsed};" in str(verdict.reason)


@pytest.mark.parametrize("annotator", ["lmsys_gpt4", "aviary_gpt4"])
def test_annotators_that_configure_the_order_themselves_can_be_used(annotator: str) -> None:
    assert AlpacaEvalAnnotator(annotator, 8)._annotator.processors == []


def test_the_fingerprint_depends_on_the_annotators_files(tmp_path: Path) -> None:
    (tmp_path / "ask.txt").write_text("{instruction}")
    (tmp_path / "configs.yaml").write_text(f"mine: {{prompt_template: {tmp_path}/ask.txt, a: 1}}")
    before = AlpacaEvalAnnotator.fingerprint(str(tmp_path), 8)
    assert AlpacaEvalAnnotator.fingerprint(str(tmp_path), 3) == before and version("alpaca-eval") in before
    (tmp_path / "ask.txt").write_text("{instruction}!")
    asked = AlpacaEvalAnnotator.fingerprint(str(tmp_path), 8)
    (tmp_path / "configs.yaml").write_text(f"mine: {{prompt_template: {tmp_path}/ask.txt, a: 2}}")
    assert len({before, asked, AlpacaEvalAnnotator.fingerprint(str(tmp_path), 8)}) == 3


def test_an_annotator_from_a_folder(server: Server, tmp_path: Path) -> None:
    configs = PACKAGE / "evaluators_configs"
    text = (configs / NAME / "configs.yaml").read_text().replace("gpt-4-1106-preview", "served-here")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "configs.yaml").write_text(
        text.replace("alpaca_eval_clf_gpt4_turbo/", f"{configs}/alpaca_eval_clf_gpt4_turbo/")
    )
    own = AlpacaEvalAnnotator(str(tmp_path / "mine"), 8)
    assert own.compare(Prompt("p", "fair"), response("longer"), response("short")).outcome == "first"
    assert server.models == {"served-here"}
