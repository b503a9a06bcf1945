"""run.py over toy cells, as a user runs it: what fails does not stop the others, what stops it says so."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from paths import SUPPORT

from cme.records import RunState, read_record
from experiments.config import composition
from experiments.sweep import status

ROOT = composition.CONF.parent
ENVIRONMENT = {"PYTHONPATH": f"{ROOT}{os.pathsep}{SUPPORT}"}
Cell = Callable[..., list[str]]


def begun(arguments: list[str], where: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *arguments, "experiment.run=toy_cell.run"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=where, env=os.environ | ENVIRONMENT,
    )  # fmt: skip


def run(arguments: list[str], where: Path) -> tuple[int, list[str]]:
    """The exit code and the lines of what was said."""
    process = begun(arguments, where)
    said = process.communicate(timeout=300)[1]
    return process.returncode, said.splitlines()


def states(where: Path) -> dict[str, str]:
    """What became of the cells, by seed."""
    found = status.scan_cells(where / "runs")
    return {next(w for w in c.entry.overrides if w.startswith("seed=")): c.state for c in found}


@pytest.mark.parametrize("launcher", ["basic", pytest.param("local", marks=pytest.mark.slow)])
def test_a_failed_cell_stops_no_other_and_is_told_at_the_end(
    cell: Cell, tmp_path: Path, launcher: str
) -> None:
    code, said = run(["-m", f"hydra/launcher={launcher}", *cell("seed=1,0,5")], tmp_path)
    assert code == 1, said
    assert states(tmp_path) == {"seed=1": "failed", "seed=0": "done", "seed=5": "done"}
    assert said[-1].startswith("error: miniature-qwen-pretrained-cme-gemma-s1-")
    assert said[-1].endswith(": KeyError: 'a bug'")
    [state] = [read_record(p, RunState) for p in (tmp_path / "runs").glob("*-s1-*/state.json")]
    assert state.traceback is not None and state.traceback.startswith("Traceback")


def test_a_results_dir_that_cannot_be_written_is_one_sentence(cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    code, said = run(cell("seed=0"), tmp_path)
    assert code == 2
    assert (
        len(said) == 1
        and said[0].startswith(f"error: {tmp_path / 'runs'}")
        and "cannot be written" in said[0]
    )


@pytest.mark.slow
def test_fail_fast_begins_no_further_cell(cell: Cell, tmp_path: Path) -> None:
    code, said = run(["-m", *cell("seed=1,0"), "fail_fast=true"], tmp_path)
    assert code == 1
    assert states(tmp_path) == {"seed=1": "failed", "seed=0": "pending"}
    assert "stopped at the first cell that failed" in said[-2] and said[-1].endswith("KeyError: 'a bug'")


def test_a_signal_ends_the_sweep_with_its_own_exit_code(cell: Cell, tmp_path: Path) -> None:
    process = begun(["-m", *cell("seed=3,0")], tmp_path)
    for _ in range(1200):
        if list(tmp_path.rglob("ran")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 75, said
    assert states(tmp_path) == {"seed=3": "interrupted", "seed=0": "pending"}
    assert said[-1] == "interrupted: 1 interrupted, 1 pending; the same command goes on"
