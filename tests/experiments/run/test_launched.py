"""`accelerate launch run.py`: one run in two processes, its record that of one process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from paths import SUPPORT

from cme.records import read_record

ROOT = Path(__file__).parents[3]
KNOWN = SUPPORT / "scripts" / "run_known.py"
CPU = ROOT / "conf" / "accelerate" / "cpu_ddp.yaml"

Cell = Callable[..., list[str]]


def command(script: Path, arguments: Sequence[str], launched: bool) -> tuple[list[str], dict[str, str]]:
    """What runs a script by itself or launched, and its environment."""
    launcher = ["-m", "accelerate.commands.launch", "--config_file", str(CPU), "--main_process_port", "0"]
    line = [sys.executable, *(launcher if launched else []), str(script), *arguments]
    return line, os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(script: Path, arguments: Sequence[str], launched: bool) -> subprocess.CompletedProcess[str]:
    line, given = command(script, arguments, launched)
    return subprocess.run(line, cwd=ROOT, env=given, capture_output=True, text=True, timeout=600, check=False)


def told(folder: Path) -> dict[str, Any]:
    """A run's record without what differs between any two runs of it."""
    [path] = folder.glob("*/record.json")
    record = asdict(read_record(path))
    for times in (record["seconds"], record["environment"]):
        times.clear()
    record["config"]["results_dir"] = None
    return record


def known(values: Sequence[float | None]) -> dict[int, float]:
    """Measured values of a column by their place."""
    return {i: value for i, value in enumerate(values) if value is not None}


def check_same(alone: Path, launched: Path) -> None:
    """Both folders have the same record, up to the order of additions in the history."""
    one, both = told(alone), told(launched)
    for column, values in one.pop("history").items():
        assert known(values) == pytest.approx(known(both["history"][column]), rel=2e-3, abs=2e-4), column
    del both["history"]
    assert one == both


@pytest.mark.slow
def test_the_record_is_that_of_one_process(cell: Cell, tmp_path: Path) -> None:
    """A group of 8 completions, 4 in each process, whose reward is a vote of the group."""
    folders = {launched: tmp_path / f"launched-{launched}" for launched in (False, True)}
    for launched, folder in folders.items():
        own = (
            "reward=majority_vote",
            "trainer.num_generations=8",
            "selection.every=1",
            "selection.prompts=6",
        )
        done = run(KNOWN, [*cell(*own), f"results_dir={folder}"], launched)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("win rate") == 1, "one process reports"
    check_same(folders[False], folders[True])
    [path] = folders[True].glob("*/record.json")
    assert read_record(path).environment["processes"] == "2"
    path.unlink()  # written again by one process, it has those that trained
    assert run(KNOWN, [*cell(*own), f"results_dir={folders[True]}"], launched=False).returncode == 0
    assert read_record(path).environment["processes"] == "2"


@pytest.mark.slow
def test_a_launch_that_is_interrupted_goes_on(cell: Cell, tmp_path: Path) -> None:
    """SIGTERM to the launcher after the first checkpoint; the same command then ends as an uninterrupted one."""
    own = cell("reward=random", "trainer.max_steps=8", "checkpoint.every=1")
    whole, folder = tmp_path / "whole", tmp_path / "interrupted"
    assert run(KNOWN, [*own, f"results_dir={whole}"], launched=False).returncode == 0
    line, given = command(KNOWN, [*own, f"results_dir={folder}"], launched=True)
    launch = subprocess.Popen(
        line, cwd=ROOT, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not any(folder.glob("*/resume/*/whole.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    launch.send_signal(signal.SIGTERM)
    said = launch.communicate(timeout=120)[1]
    assert launch.returncode != 0 and not any(folder.glob("*/record.json")), said[-3000:]
    again = run(KNOWN, [*own, f"results_dir={folder}"], launched=True)
    assert again.returncode == 0, again.stderr[-3000:]
    check_same(whole, folder)


@pytest.mark.slow
def test_all_processes_leave_where_the_main_one_does(cell: Cell) -> None:
    refused = run(
        ROOT / "run.py", cell("trainer.per_device_train_batch_size=9", "trainer.num_generations=3"), True
    )
    assert refused.returncode != 0
    said = [line for line in refused.stderr.splitlines() if line.startswith("error:")]
    assert len(said) == 1 and "9" in said[0] and "2 cannot divide evenly" in said[0]
    assert (
        "exitcode  : 2" in refused.stderr and "Traceback" not in refused.stderr.split("torch/distributed")[0]
    )
