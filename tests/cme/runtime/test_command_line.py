"""How commands end: expected errors, defects, signals, and readers that end first."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cme import TrainingFailed, Unavailable
from cme.records import BadFile, check_outcome
from cme.runtime.command_line import exit_code

SECRET = "sk-0123456789"


class Panic(BaseException):
    """As libraries in Rust raise it."""


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


def endless() -> int:
    return endless() + 1


@pytest.mark.parametrize(
    ("work", "lines"),
    [
        (raising(Unavailable("a is missing\nb is missing")), ["a is missing", "b is missing"]),
        (raising(BadFile("x is no record")), ["x is no record"]),
        (raising(TrainingFailed("the reward gave nan")), ["the reward gave nan"]),
        (
            lambda: check_outcome("first", "why") or 0,
            ["outcome is 'first' and reason is 'why'; an unscored verdict"],
        ),
        (lambda: len(Path("/no/such/file").read_text()), ["/no/such/file: No such file or directory"]),
        (lambda: len(Path("/").read_text()), ["/: Is a directory"]),
    ],
)
def test_an_expected_error_is_one_sentence_for_each_problem(
    work: Callable[[], int], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(work) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    for line, expected in zip(printed.err.splitlines(), lines, strict=True):
        assert line.startswith(f"error: {expected}")


@pytest.mark.parametrize(
    ("work", "named"),
    [
        (raising(KeyError("colour")), "KeyError: 'colour'"),
        (lambda: int(json.loads("{")), "JSONDecodeError: Expecting"),
        (endless, "RecursionError: maximum recursion depth exceeded"),
        (raising(Panic("called unwrap")), "Panic: called unwrap"),
        (raising(RuntimeError(f"refused {SECRET}")), "RuntimeError: refused $SOME_API_KEY"),
    ],
)
def test_a_defect_is_one_line_and_a_file(
    work: Callable[[], int],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert exit_code(work) == 1
    [line] = capsys.readouterr().err.splitlines()
    [file] = tmp_path.iterdir()
    assert line.startswith(f"error: {named}") and line.endswith(str(file))
    text = file.read_text()
    assert text.startswith("Traceback") and named in text and SECRET not in text


MINE = """import json
from cme import Unavailable
from cme.rewards import Reward

class Mine(Reward):
    def __init__(self, how):
        self.how = how

    def __call__(self, prompts, completions, completion_ids, **columns):
        if self.how == "key":
            return [columns["nope"]]
        if self.how == "library":
            return json.loads("{")
        if self.how == "file":
            return open("/no/such/file").read()
        if self.how == "own":
            raise Unavailable("my server is down")
        return {"none": None, "short": [1.0], "text": ["a", None]}[self.how]
"""
IN = r"in the reward 'Mine' \({file}:{line}\)"


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("key", 1, f"KeyError: 'nope', {IN.replace('{line}', '11')}; its traceback is in "),
        ("library", 1, f"JSONDecodeError: Expecting .*, {IN.replace('{line}', '13')}; its traceback is in "),
        ("file", 2, f"/no/such/file: No such file or directory, {IN.replace('{line}', '15')}$"),
        ("own", 2, "my server is down$"),
        ("none", 2, "the reward 'Mine' gave None for 2 completions; it must give a list"),
        ("short", 2, "the reward 'Mine' gave 1 values for 2 completions; it must give a list"),
        ("text", 2, "the reward 'Mine' gave 'a' for 2 completions; it must give a list with a number"),
    ],
)
def test_an_error_in_a_users_reward_names_the_reward_and_its_line(
    how: str,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    reward = import_module("mine").Mine(how)
    assert exit_code(lambda: len(reward.values(["a", "b"], ["hi", "you"], [[1], [2]]))) == code
    [line] = capsys.readouterr().err.splitlines()
    assert re.match(f"error: {said.replace('{file}', re.escape(str(tmp_path / 'mine.py')))}", line)
    assert "defect" not in line and len(list(tmp_path.glob("cme-traceback*"))) == (code == 1)


def test_without_a_place_for_the_file_the_traceback_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert exit_code(raising(KeyError("colour"))) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "code"), [(0, 0), (None, 0), (3, 3), ("another process failed", 1)])
def test_an_exit_keeps_its_code(given: Any, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raising(SystemExit(given))) == code
    assert capsys.readouterr().err == ("error: another process failed\n" if code == 1 else "")


def test_output_that_nobody_reads_or_that_cannot_be_written(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "experiments", "status"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    reading, writing = os.pipe()
    os.close(reading)
    unread = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path, env=environment)
    os.close(writing)
    assert (unread.returncode, unread.stderr) == (128 + signal.SIGPIPE, b"")
    with Path("/dev/full").open("w") as full:
        refused = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, env=environment)
    assert (refused.returncode, refused.stderr) == (2, b"error: the output: No space left on device\n")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGHUP, 75), (signal.SIGINT, 130)]
)
def test_every_command_obeys_a_signal_in_one_line(
    number: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = []

    def work() -> int:
        try:
            os.kill(os.getpid(), number)
            raise AssertionError("the signal did not raise")
        finally:
            ended.append("saved")

    before, ignored = signal.getsignal(number), signal.signal(number, signal.SIG_DFL)
    try:
        assert exit_code(work) == code
        assert signal.getsignal(number) == signal.SIG_DFL and ended == ["saved"]
    finally:
        signal.signal(number, ignored)
    assert signal.getsignal(number) == before
    assert capsys.readouterr().err == "interrupted\n"
