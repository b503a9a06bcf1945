"""Pairwise judging and its log: both orders, kills at any byte, nothing judged twice or lost."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from chat_stub import ChatStub, serving
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st
from paths import ROOT, SUPPORT
from samples import response

from cme.judges.base import Judge, JudgeVerdict, verdict_from_scores
from cme.judges.chat_endpoint import judging_prompt
from cme.judges.chat_format import digest
from cme.judges.pairwise import VerdictLog, judge_pairs, pending_comparisons, without_thoughts
from cme.records import Generation, Pair, Prompt, Verdict
from cme.runtime.errors import describe


def pair(start: str, policy: str, reference: str | None = None, name: str = "p1") -> Pair:
    return Pair(name, "the prompt", reference, response(start), response(policy))


PAIRS = [pair("s" * (1 + i % 3), "p" * (1 + i % 4) + str(i), name=f"p{i}") for i in range(8)]


@dataclass
class Longest(Judge):
    """The longer response wins. Keeps what it is shown in `shown`, and does not judge the word `refuse`."""

    shown: list[tuple[Prompt, str, str]] = field(default_factory=list)
    concurrency: int = 1

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        self.shown.append((prompt, first.response, second.response))
        if "refuse" in (first.response, second.response):
            return JudgeVerdict("unscored", "refused", calls=1, usd=0.5)
        return verdict_from_scores(len(first.response), len(second.response), margin=0)


@dataclass
class ByPlace(Longest):
    """Scores the length, and ten more for the response shown first; the mean over both orders decides."""

    combines_orders = True

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        self.shown.append((prompt, first.response, second.response))
        if first.response == "refuse":
            return JudgeVerdict("unscored", "refused", calls=1, usd=0.5)
        return verdict_from_scores(len(first.response) + 10, len(second.response), margin=0)

    def combine(self, shown: JudgeVerdict, swapped: JudgeVerdict) -> JudgeVerdict:
        assert shown.scores is not None and swapped.scores is not None
        (first, second), (other_second, other_first) = shown.scores, swapped.scores
        return verdict_from_scores((first + other_first) / 2, (second + other_second) / 2, margin=0)


def judge_all(judge: Judge, pairs: list[Pair], folder: Path, both_orders: bool = True) -> list[Verdict]:
    with VerdictLog(folder / "run" / "log.jsonl") as log:
        return judge_pairs(judge, pairs, both_orders, log)


@pytest.mark.parametrize(
    ("response", "shown", "outcome"),
    [
        ("<think>" + "B" * 9 + "</think>\n\n42", "42", "second"),
        ("so much for that\n</think>\nan answer", "an answer", "first"),
        ("<think>" + "never closed " * 9, "", "second"),
    ],
)
def test_a_judge_reads_a_response_without_its_thoughts(
    tmp_path: Path, response: str, shown: str, outcome: str
) -> None:
    judge = Longest()
    [verdict] = judge_all(judge, [pair("start", response)], tmp_path, both_orders=False)
    assert judge.shown == [(Prompt("p1", "the prompt"), shown, "start")]
    assert verdict.outcome == outcome


def test_a_response_that_ends_inside_a_thought_is_unfinished() -> None:
    closed, unclosed = (Generation(f"<think>a{end}", True, 5) for end in ("</think>b", ""))
    assert without_thoughts(closed) == Generation("b", True, 5)
    assert without_thoughts(unclosed) == Generation("", False, 5)


def test_each_pair_is_shown_in_both_orders_or_with_the_policy_first(tmp_path: Path) -> None:
    judge, prompt = Longest(), Prompt("p1", "the prompt", None, "a reference")
    policy_first, start_first = judge_all(judge, [pair("ab", "abcd", "a reference")], tmp_path)
    assert judge.shown == [(prompt, "abcd", "ab"), (prompt, "ab", "abcd")]
    assert policy_first == Verdict("p1", True, "first", None, (4, 2))
    assert start_first == Verdict("p1", False, "second", None, (2, 4))
    one_order = judge_all(
        Longest(), [pair("ab", "a"), pair("ab", "ab", name="p2")], tmp_path, both_orders=False
    )
    assert one_order == [
        Verdict("p1", True, "second", None, (1, 2)),
        Verdict("p2", True, "tie", None, (2, 2)),
    ]


def test_a_judge_may_combine_both_orders_into_one_verdict_per_pair(tmp_path: Path) -> None:
    judge = ByPlace()
    pairs = [pair("ab", "abcd"), pair("long", "ab", name="p2"), pair("ab", "ba", name="p3")]
    expected = [
        Verdict("p1", True, "first", None, (9, 7), orders=((14, 2), (12, 4))),
        Verdict("p2", True, "second", None, (7, 9), orders=((12, 4), (14, 2))),
        Verdict("p3", True, "tie", None, (7, 7), orders=((12, 2), (12, 2))),
    ]
    for _ in range(2):  # the second time from the log, which has a line per order
        assert judge_all(judge, pairs, tmp_path) == expected
        assert len(judge.shown) == len(VerdictLog(tmp_path / "run" / "log.jsonl").scored) == 6
    with pytest.raises(ValueError, match=r"combines both orders .* evaluation.both_orders=true"):
        judge_all(judge, pairs, tmp_path, both_orders=False)


def test_a_pair_with_an_unscored_order_is_unscored_and_keeps_the_other_orders_scores(tmp_path: Path) -> None:
    judge = ByPlace()
    pairs = [pair("refuse", "abc"), pair("cba", "refuse", name="p2")]
    for asked in (4, 6):  # only the refused order is asked again
        assert judge_all(judge, pairs, tmp_path) == [
            Verdict("p1", True, "unscored", "refused", orders=((13, 6), None)),
            Verdict("p2", True, "unscored", "refused", orders=(None, (13, 6))),
        ]
        assert len(judge.shown) == asked


def test_an_error_in_a_judge_names_it_and_its_line(tmp_path: Path) -> None:
    class Broken(Longest):
        def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
            return {}[prompt.id]

    with pytest.raises(KeyError) as caught:
        judge_all(Broken(), PAIRS, tmp_path)
    line = Broken.compare.__code__.co_firstlineno + 1
    assert describe(caught.value) == f"KeyError: 'p0', in the judge Broken ({__file__}:{line})"

    class Forgetful(Longest):
        def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
            return None  # type: ignore[return-value]

    with pytest.raises(ValueError, match="the judge Forgetful gave None; its `compare` must return a Jud"):
        judge_all(Forgetful(), PAIRS, tmp_path / "other")


def test_an_unscored_comparison_keeps_its_reason_and_stays_pending(tmp_path: Path) -> None:
    judge, start = Longest(), time.monotonic()
    pairs = [pair("refuse", "abc"), pair("a", "ab", name="p2")]
    for calls in (4, 6):  # the second time, only the refused pair again
        verdicts = judge_all(judge, pairs, tmp_path)
        assert [(v.outcome, v.reason, v.scores) for v in verdicts[:2]] == [("unscored", "refused", None)] * 2
        assert [v.outcome for v in verdicts[2:]] == ["first", "second"]
        assert len(judge.shown) == calls
    log = VerdictLog(tmp_path / "run" / "log.jsonl")
    assert (log.calls[None], log.usd[None]) == (4, 2.0)
    assert 0 < log.seconds <= time.monotonic() - start, "of both attempts"


def test_identical_comparisons_are_made_once_and_none_is_repeated(tmp_path: Path) -> None:
    judge, expected = Longest(), [(name, first, "tie") for name in ("p1", "p2") for first in (True, False)]
    for _ in range(2):
        verdicts = judge_all(judge, [pair("ab", "ab"), pair("ab", "ab", name="p2")], tmp_path)
        assert [(v.prompt_id, v.policy_first, v.outcome) for v in verdicts] == expected
        assert len(judge.shown) == 1


def test_two_pairs_with_one_prompt_id_are_refused_before_judging(tmp_path: Path) -> None:
    judge = Longest()
    with pytest.raises(ValueError, match=r"prompt id 'p1' is on 2 pairs"):
        judge_all(judge, [pair("a", "ab"), pair("a", "b", name="p2"), pair("abc", "a")], tmp_path)
    assert judge.shown == []


def test_a_comparison_is_identified_by_the_judge_and_all_that_is_shown(tmp_path: Path) -> None:
    judge, first = Longest(), pair("ab", "abc")
    shown = [
        (first, "x", None),
        (first, "y", None),
        (first, "x", "one"),
        (first, "x", "two"),
        *((replace(first, **{field: "another"}), "x", None) for field in ("prompt", "reference", "answer")),
        *((replace(first, **{side: response("xy")}), "x", None) for side in ("start", "policy")),
        (replace(first, start=response("ab", finished=False)), "x", None),
    ]
    for _ in range(2):
        for one, identity, name in shown:
            with VerdictLog(tmp_path / "log") as log:
                verdicts = judge_pairs(judge, [one], True, log, identity=identity, name=name)
            assert {verdict.judge for verdict in verdicts} == {name}
        assert len(judge.shown) == 2 * len(shown)


@given(st.integers(0, 10**6))
def test_a_log_cut_at_any_byte_loses_only_its_incomplete_line(where: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        with VerdictLog(path) as log:
            truth = judge_pairs(Longest(), PAIRS, True, log)
        whole = path.read_bytes()
        cut = where % (len(whole) + 1)
        path.write_bytes(whole[:cut])
        again = Longest()
        with VerdictLog(path) as log:
            assert judge_pairs(again, PAIRS, True, log) == truth
        assert len(again.shown) == whole[cut:].count(b"\n")
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert len({line["key"] for line in lines}) == len(lines) == 16


LINE = {
    "key": "0123456789abcdef", "judge": None, "prompt_id": "p1", "outcome": "first", "reason": None,
    "scores": [2.0, 1.0], "note": None, "calls": 1, "usd": 0.5, "seconds": 0.25,
}  # fmt: skip


def test_a_stored_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(2 * (json.dumps(LINE) + "\n"))
    log = VerdictLog(tmp_path / "log")
    assert log.scored == {LINE["key"]: JudgeVerdict("first", None, (2.0, 1.0), None, 1, 0.5)}
    assert (log.seconds, log.calls[None], log.usd[None]) == (0.5, 2, 1.0), "they add up over all lines"


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        *(
            (json.dumps({k: v for k, v in LINE.items() if k != key}), f"{key}: Field required")
            for key in LINE
        ),
        (json.dumps(LINE | {"scores": [1.0]}), "scores.1"),
        (json.dumps(LINE | {"scores": ["1", "2"]}), "scores.0"),
        (json.dumps(LINE | {"outcome": "banana"}), "outcome"),
        (json.dumps(LINE | {"reason": "but why"}), "reason"),
        (json.dumps(LINE | {"calls": "1"}), "calls"),
        (json.dumps(LINE | {"surprise": 1}), "surprise"),
        ("[" * 2000, "recursion"),
    ],
)
def test_a_line_that_is_not_a_verdict_is_named(tmp_path: Path, bad: str, field: str) -> None:
    good = json.dumps(LINE)
    (tmp_path / "log").write_text(f"{good}\n{good}\n{bad}\n{good}\n")
    with pytest.raises(ValueError, match=rf"log, line 3, is not a verdict \(.*{field}"):
        VerdictLog(tmp_path / "log")


def test_verdicts_written_by_another_process_in_the_meantime_are_used(tmp_path: Path) -> None:
    path = tmp_path / "log"
    stale = VerdictLog(path)
    with VerdictLog(path) as log:
        truth = judge_pairs(Longest(), PAIRS, True, log)
    judge, whole = Longest(), path.read_bytes()
    with stale as log:
        assert judge_pairs(judge, PAIRS, True, log) == truth
        with pytest.raises(Timeout):
            FileLock(f"{path}.lock", timeout=0).acquire()
    assert judge.shown == [] and path.read_bytes() == whole
    FileLock(f"{path}.lock", timeout=0).acquire().lock.release()


def test_a_lone_surrogate_does_not_end_judging(tmp_path: Path) -> None:
    half = json.loads('"\\ud83d"')

    class Quoting(Longest):
        def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
            shown = judging_prompt("{instruction}{first}{second}", half, first.response, second.response, 9)
            assert digest(half) == digest("?") and half not in shown
            return JudgeVerdict("first", note=f"so {half}")

    for _ in range(2):
        assert [v.note for v in judge_all(Quoting(), [pair("a", f"b{half}")], tmp_path)] == ["so ?"] * 2


def test_reading_a_log_does_not_change_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert len(pending_comparisons(PAIRS, True, VerdictLog(path), "", None)) == 16
    assert not path.exists()
    path.write_text("incomplete")
    assert VerdictLog(path).scored == {}
    assert path.read_text() == "incomplete"


def test_verdicts_in_flight_are_kept_when_judging_ends(tmp_path: Path) -> None:
    """One of four threads fails; the verdicts that the three others make after that are in the log."""
    together = threading.Barrier(4)

    class Failing(Longest):
        stopped = False

        def stop(self) -> None:
            self.stopped = True

        def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
            if together.wait(5) == 0:
                raise KeyboardInterrupt
            while not self.stopped:
                time.sleep(0.001)
            return super().compare(prompt, first, second)

    judge = Failing(concurrency=4)
    with pytest.raises(KeyboardInterrupt):
        judge_all(judge, PAIRS[:2], tmp_path)
    assert len(judge.shown) == len(VerdictLog(tmp_path / "run" / "log.jsonl").scored) == 3


def test_a_verdict_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    class Confused(Longest):
        def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
            return JudgeVerdict("tie", "but why")

    with pytest.raises(ValueError, match="reason"):
        judge_all(Confused(), PAIRS, tmp_path)
    assert len(judge_all(Longest(), PAIRS, tmp_path)) == 16


KILLED = """
import sys
from pathlib import Path
from stub_judges import judge, pairs
from types import SimpleNamespace
from cme.judges.pairwise import VerdictLog, judge_pairs
with VerdictLog(Path(sys.argv[2])) as log:
    judge_pairs(judge(SimpleNamespace(url=sys.argv[1]), concurrency=4), pairs(50), True, log)
"""


@pytest.mark.slow
def test_after_a_kill_only_the_rest_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "log"
    folders = [str(SUPPORT), str(SUPPORT / "stubs")]
    code = f"import sys; sys.path[:0] = {folders}\n{KILLED}"
    with serving(ChatStub()) as stub:
        stub.seconds = 0.05
        kills = 0
        while True:
            lines = path.read_bytes().count(b"\n") if path.exists() else 0
            process = subprocess.Popen([sys.executable, "-c", code, stub.url, str(path)], cwd=ROOT)
            while kills < 1 and process.poll() is None:
                if path.exists() and path.read_bytes().count(b"\n") > lines + 10:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.005)
            if process.wait(60) == 0:
                break
    assert kills == 1
    keys = [json.loads(line)["key"] for line in path.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == len(stub.answered) == 100
    again = sum(stub.answered.values()) - 100
    assert again <= kills * 4  # only comparisons in flight at a kill are made twice
