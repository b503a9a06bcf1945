"""The chaos harness itself: it breaks what it is told to, and sees what is broken."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cme.records import read_json

from .report import format_tables
from .trials import ROOT, SABOTEUR, differences

RECORD = ROOT / "tests" / "benchmarks" / "records" / "chaos.json"

WRITES = """
import os
with open("log.jsonl", "ab") as log:
    for n in range(3):
        log.write(b"%d234567\\n" % n)
        log.flush()
with os.fdopen(os.open("whole.partial", os.O_WRONLY | os.O_CREAT), "w") as file:
    file.write("12345678")
    file.flush()
    os.fsync(file.fileno())
os.replace("whole.partial", "whole")
os.unlink(b"log.jsonl")
"""


@pytest.mark.parametrize(
    ("on", "path", "call", "when", "left"),
    [
        ("write", "*log.jsonl", 2, "before", {"log.jsonl": "0234567\n"}),
        ("write", "*log.jsonl", 2, "half", {"log.jsonl": "0234567\n1234"}),
        ("write", "*log.jsonl", 2, "after", {"log.jsonl": "0234567\n1234567\n"}),
        ("sync", "*/whole.partial", 1, "half", {"whole.partial": "1234"}),
        ("rename", "whole", 1, "before", {"whole.partial": "12345678"}),
        ("rename", "whole", 1, "after", {"whole": "12345678"}),
        ("remove", "log.jsonl", 1, "before", {"whole": "12345678"}),
    ],
)
def test_a_kill_leaves_what_was_done_until_then(
    tmp_path: Path, on: str, path: str, call: int, when: str, left: dict[str, str]
) -> None:
    fault = {"on": on, "path": path, "call": call, "when": when, "fault": "kill"}
    environment = os.environ | {"PYTHONPATH": str(SABOTEUR), "CHAOS": json.dumps(fault)}
    done = subprocess.run([sys.executable, "-c", WRITES], cwd=tmp_path, env=environment)
    assert done.returncode == -signal.SIGKILL
    found = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert left.items() <= found.items()
    assert ("whole" in found) == ("whole" in left)


@pytest.fixture
def results(tmp_path: Path) -> Callable[[str], Path]:
    """Folders of results with a finished run, as files go."""

    def make(name: str) -> Path:
        run = tmp_path / name / "run"
        (run / "checkpoint").mkdir(parents=True)
        (run / "record.json").write_text(json.dumps({"verdicts": ["win"], "seconds": {"train": len(name)}}))
        (run / "verdicts.jsonl").write_text('{"key": "a", "seconds": 0.1}\n{"key": "b", "seconds": 0.2}\n')
        (run / "checkpoint" / "model.safetensors").write_bytes(b"weights")
        (run / ".lock").touch()
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("verdicts.jsonl", '{"key": "a", "seconds": 5}\n{"key": "b"}\n', ""),
        ("record.json", '{"verdicts": ["loss"], "seconds": {}}', "record.json differs"),
        ("record.json", '{"verdicts": ["wi', "record.json is not whole"),
        ("checkpoint/model.safetensors", "weightz", "model.safetensors differs"),
        ("verdicts.jsonl", '{"key": "a"}\n{"key": "b"}\n{"key": "a"}\n', "2 lines of a"),
        ("step-2.json", "{}", "one file more"),
        ("record.json", None, "record.json is missing"),
    ],
)
def test_what_is_broken_is_seen(
    results: Callable[[str], Path], file: str, content: str | None, said: str
) -> None:
    ours, twin = results("a"), results("twin")
    if content is None:
        (ours / "run" / file).unlink()
    else:
        (ours / "run" / file).write_text(content)
    found = differences(ours, twin)
    assert any(said in problem for problem in found) if said else found == []


def test_a_lock_that_blocks_is_seen(results: Callable[[str], Path]) -> None:
    ours, twin = results("a"), results("twin")
    with (ours / "run" / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        [problem] = differences(ours, twin)
    assert "blocks" in problem


@pytest.mark.skipif(not RECORD.exists(), reason="no record is there: make chaos")
def test_the_tables_in_the_docs_are_those_of_the_record() -> None:
    record = read_json(RECORD)
    assert format_tables(record) in (ROOT / "docs" / "reliability.md").read_text()
    record["trials"][0]["problems"] = ["run/record.json differs from the twin's"]
    assert f"{len(record['trials']) - 1} of {len(record['trials'])} runs ended" in format_tables(record)
    assert "record.json differs" in format_tables(record).splitlines()[-1]


def test_the_clock_jumps(tmp_path: Path) -> None:
    code = "import time; a = time.time(); print(round(time.time() - a), round(time.time() - a))"
    environment = os.environ | {"PYTHONPATH": str(SABOTEUR), "CHAOS": json.dumps({"clock": [0, 3600, -7200]})}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment).split() == [
        b"3600",
        b"-7200",
    ]
