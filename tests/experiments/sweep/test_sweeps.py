"""run.py over toy cells: a failed cell does not stop the others, and whatever stops the sweep is reported."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import toy_cells
from paths import ROOT, SUPPORT

from cme.records import RunState, read_record
from experiments.sweep import runner, status

Cell = Callable[..., list[str]]
Sweep = Callable[[list[str]], tuple[int, list[str]]]
TOYS = toy_cells.OVERRIDES


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweep:
    """Run a sweep of toy cells; return its exit code and its lines on stderr."""

    def sweep(arguments: list[str]) -> tuple[int, list[str]]:
        monkeypatch.chdir(tmp_path)
        code = runner.main([*arguments, *TOYS])
        return code, capfd.readouterr().err.splitlines()

    return sweep


def states(where: Path) -> dict[str, str]:
    """The cells' states by seed."""
    found = status.scan_cells(where / "runs")
    return {next(w for w in c.entry.overrides if w.startswith("seed=")): c.state for c in found}


@pytest.mark.parametrize("launcher", ["basic", pytest.param("local", marks=pytest.mark.slow)])
def test_a_failed_cell_does_not_stop_the_others(
    run: Sweep, cell: Cell, tmp_path: Path, launcher: str
) -> None:
    arguments = ["-m", f"hydra/launcher={launcher}", *cell("seed=1,0,5")]
    if launcher == "local":
        variables = os.environ | {"PYTHONPATH": str(SUPPORT)}
        command = [sys.executable, str(ROOT / "run.py"), *arguments, *TOYS]
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300
        )
        code, lines = done.returncode, done.stderr.splitlines()
    else:
        code, lines = run(arguments)
    assert code == 1, lines
    assert states(tmp_path) == {"seed=1": "failed", "seed=0": "done", "seed=5": "done"}
    assert lines[-1].startswith("error: miniature-qwen-pretrained-cme-gemma-s1-")
    assert lines[-1].endswith(" (seed=1): KeyError: 'a bug'")
    [state] = [read_record(p, RunState) for p in (tmp_path / "runs").glob("*-s1-*/state.json")]
    assert state.traceback is not None and state.traceback.startswith("Traceback")


def test_a_results_dir_that_cannot_be_written_is_one_sentence(run: Sweep, cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    code, [line] = run(cell("seed=0"))
    assert code == 2
    assert line.startswith(f"error: {tmp_path / 'runs'}") and "cannot be written" in line


def test_fail_fast_begins_no_further_cell(run: Sweep, cell: Cell, tmp_path: Path) -> None:
    code, lines = run(["-m", *cell("seed=1,0"), "fail_fast=true"])
    assert code == 1
    assert states(tmp_path) == {"seed=1": "failed", "seed=0": "pending"}
    assert "stopped at the first cell that failed" in lines[-2] and lines[-1].endswith("KeyError: 'a bug'")


@pytest.mark.slow
def test_a_signal_ends_the_sweep_with_its_own_exit_code(cell: Cell, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ["-m", *cell("seed=3,0"), *TOYS]
    process = forked.start(arguments, tmp_path, {"PYTHONPATH": str(SUPPORT)}, Path(os.devnull), log)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("ran")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(60)
    lines = log.read_text().splitlines()
    assert process.exitcode == 130, lines
    assert states(tmp_path) == {"seed=3": "interrupted", "seed=0": "pending"}
    assert lines[-1] == "interrupted: 1 interrupted, 1 pending; repeat the command to continue"
