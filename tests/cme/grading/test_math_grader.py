"""The guarded process: hostile answers end in time and leave it working; it is bounded and sees no secret."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cme.grading.math_grader import Grader

HOSTILE = {
    "tower": "9^{9^{9^{9}}}",
    "factorial": "(10^{10})!",
    "modulus": "7^{7^{7^7}} \\mod 100",
    "nested braces": "{" * 3000 + "1" + "}" * 3000,
    "nested fractions": "\\frac{1}{" * 400 + "2" + "}" * 400,
    "expansion": "(x+y+z+1)^{300}",
    "digits": "7" * 20000,
    "integral": "\\int_0^1 e^{-x^{x}} \\sin(x^{x}) dx",
    "two lines": "41\n43",
    "null": "\x00",
    "half a surrogate pair": "\ud800",
}

QUICK = ("tower", "nested braces", "digits", "two lines", "null", "half a surrogate pair")


@pytest.fixture(scope="module")
def grader() -> Grader:
    return Grader(seconds=1.0)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in HOSTILE]
)
def test_a_hostile_answer_ends_in_time_and_is_never_correct(grader: Grader, name: str) -> None:
    grader.ask("1", "1.0")  # the worker has started
    began = time.monotonic()
    answer = grader.ask("42", HOSTILE[name])
    assert time.monotonic() - began < 10  # the worker may restart in between
    assert not answer
    if name in ("tower", "nested braces"):
        assert answer is None, "undecided, not wrong"
    assert grader.ask("\\frac{1}{2}", "0.5") is True


def test_a_dead_worker_is_restarted(grader: Grader) -> None:
    assert grader.ask("2", "3") is False
    assert grader._worker is not None
    grader._worker.kill()
    grader._worker.wait()
    assert grader.ask("2", "3") is None  # the comparison is lost
    assert grader.ask("2", "3") is False


def test_a_worker_at_work_ends_with_a_killed_parent() -> None:
    code = """
from cme.grading.math_grader import Grader
grader = Grader(seconds=120)
grader.ask("1", "1.0")
print(grader._worker.pid, flush=True)
grader.ask("42", "(10^{10})!")
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.5)
        parent.kill()
    worker.wait(timeout=20)


def test_the_worker_has_bounded_memory_and_no_secret(grader: Grader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    fresh = Grader()
    fresh.ask("2", "3")
    assert fresh._worker is not None
    process = Path(f"/proc/{fresh._worker.pid}")
    if not process.exists():
        pytest.skip("this system shows no processes")
    assert "Max address space         1073741824" in (process / "limits").read_text()
    assert "secret" not in (process / "environ").read_text()
    fresh.close()
    assert fresh._worker is None
