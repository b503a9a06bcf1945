"""Launchers, with cells of milliseconds: processes, lost and interrupted cells, and settings that are refused."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pytest
import toy_cells
from paths import SUPPORT

from experiments.config.validation import BadConfig
from experiments.sweep import launchers, worker

LOCAL = ["-m", "hydra/launcher=local", "hydra.launcher.n_jobs=2"]
STUB = SUPPORT / "scripts" / "slurm_stub.py"


@pytest.fixture(autouse=True)
def workers_find_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Two cells whose results_dir is relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    return [[f"seed={seed}", "results_dir=runs"] for seed in (0, 1)]


def words(name: str = "done") -> dict[int, list[str]]:
    """The words that cells wrote, by seed."""
    return {int(p.parent.name): p.read_text().split() for p in Path("runs").glob(f"*/{name}")}


@pytest.mark.slow
def test_local_runs_two_cells_at_once_each_with_its_share_of_threads(
    cells: list[list[str]], tmp_path: Path
) -> None:
    launchers.launch(cells, LOCAL, toy_cells.meeting)
    said = words()
    threads = str(max(joblib.cpu_count() // 2, 1))
    assert [where[1:] for where in said.values()] == [[str(tmp_path), threads, "True"]] * 2
    assert len({os.getpid(), *(int(pid) for pid, *_ in said.values())}) == 3


@pytest.mark.parametrize("arguments", [[], [*LOCAL[:2], "hydra.launcher.n_jobs=1"]])
def test_without_a_launcher_cells_run_one_after_the_other_in_this_process(
    cells: list[list[str]], arguments: list[str]
) -> None:
    launchers.launch(cells, arguments, toy_cells.plain)
    assert {int(pid) for pid, *_ in words().values()} == {os.getpid()}


@pytest.mark.slow
def test_a_killed_worker_does_not_end_a_local_sweep(
    cells: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    launchers.launch(cells, LOCAL, toy_cells.killed_once)
    assert set(words()) == {0, 1}
    assert "lost a process" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-m"], LOCAL])
def test_what_a_cell_raises_is_one_message(cells: list[list[str]], arguments: list[str]) -> None:
    with pytest.raises(RuntimeError, match=r"^seed=0 results_dir=runs: seed 0 is no good$"):
        launchers.launch(cells[:1], arguments, toy_cells.broken)


@pytest.mark.slow
@pytest.mark.usefixtures("cells")
def test_a_signal_to_the_sweep_makes_its_workers_save_and_stop() -> None:
    asked = [[f"seed={seed}", "results_dir=runs"] for seed in range(40)]
    code = (
        "import toy_cells; from experiments.sweep import launchers; "
        "launchers.Worker = toy_cells.CountedWorker; "
        f"launchers.launch({asked}, {LOCAL}, toy_cells.endless)"
    )
    path = os.pathsep.join([str(launchers.ROOT), str(SUPPORT)])
    sweep = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE, text=True
    )
    while len(words("begun")) < 2:
        assert sweep.poll() is None, sweep.communicate()[1]
        time.sleep(0.1)
    sweep.send_signal(signal.SIGTERM)
    said = sweep.communicate(timeout=60)[1]
    assert said.strip().endswith("Interrupted: SIGTERM")
    assert set(words("saved")) == set(words("begun")) == {0, 1}
    # no cell waits for a worker, which loky may have replaced by one that knows of no signal
    assert len(list(Path("runs").glob("composed-*"))) == 2


def test_a_signal_before_there_are_workers_ends_the_sweep_at_once() -> None:
    code = """
import os, signal, subprocess, sys, time
from experiments.sweep import launchers

def starting(received):
    tracker = [sys.executable, "-c", "import time  # as joblib's resource_tracker\\ntime.sleep(60)"]
    with subprocess.Popen(tracker) as child:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            child.kill()
    print("it went on")
    return []

launchers._run_restarting("local", starting)
"""
    environment = os.environ | {"PYTHONPATH": str(launchers.ROOT)}
    sweep = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert sweep.stderr.strip().endswith("Interrupted: SIGTERM") and sweep.stdout == ""


def test_a_launcher_within_accelerate_launch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        BadConfig, match=r"^hydra/launcher=local starts .* one of 2 processes of accelerate launch;"
    ):
        launchers.check_launcher(LOCAL)
    launchers.check_launcher(["-m"])


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stub of Slurm; returns the folder of its records."""
    commands, seen = tmp_path / "bin", tmp_path / "slurm"
    commands.mkdir()
    seen.mkdir()
    for name in ("sbatch", "srun", "sacct", "scontrol"):
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} {STUB} {name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STUB", str(seen))
    return seen


@pytest.mark.slow
def test_slurm_gets_an_array_with_its_limits_and_takes_a_preempted_cell_back(
    cells: list[list[str]], slurm: Path
) -> None:
    overrides = ["partition=gpu", "gpus_per_node=2", "timeout_min=90", "mem_gb=32"]
    arguments = ["-m", "hydra/launcher=slurm", *(f"hydra.launcher.{o}" for o in overrides)]
    launchers.check_launcher(arguments)
    launchers.launch(cells, arguments, toy_cells.preempted_once)
    batch = (slurm / "batch.sh").read_text()
    for wanted in (
        "array=0-1%2",
        "partition=gpu",
        "gpus-per-node=2",
        "time=90",
        "mem=32GB",
        "signal=USR2@300",
    ):
        assert f"#SBATCH --{wanted}\n" in batch
    assert (slurm / "requeued").read_text().split()[0] == "99_1"
    assert set(words()) == {0, 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "hydra/launcher=slrm"], "hydra/launcher=slrm is unknown; did you mean slurm?"),
        (["hydra/launcher=local"], "hydra/launcher=local launches sweeps; add -m, also for a single cell"),
        (["-m", "hydra/launcher=local", "hydra.launcher.jobs=2"], "Key 'jobs' not in 'JobLibLauncherConf'"),
        (["-m", "hydra/launcher=local", "hydra.launcher.n_jobs=two"], "'two' of type 'str' could not be"),
        (["-m", "hydra/launcher=local,slurm"], "hydra/launcher=local,slurm is unknown"),
        (["+hydra.searchpath=[file://x]"], "+hydra.searchpath=[file://x] has no effect"),
        (["hydra/job_logging=default"], "hydra/job_logging=default has no effect"),
    ],
)
def test_an_invalid_launcher_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(BadConfig) as refused:
        launchers.check_launcher(arguments)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_launcher_that_is_not_installed_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launchers, "find_spec", lambda module: None)
    for name in ("slurm", "slurm_local", "ray"):
        with pytest.raises(
            BadConfig, match=rf"^hydra/launcher={name} is not installed: pip install .*\[.*\]"
        ):
            launchers.check_launcher(["-m", f"hydra/launcher={name}"])


@pytest.mark.slow
def test_workers_spread_over_the_gpus_and_a_dead_one_frees_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(launchers.ROOT))
    code = (
        "import os; from experiments.sweep import worker; worker.take_gpu(); worker.take_gpu(); "
        "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); input()"
    )

    def started() -> "tuple[subprocess.Popen[str], str]":
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    workers, taken = zip(*(started() for _ in range(3)), strict=True)
    assert taken == ("4", "6", "4")
    workers[1].kill()
    workers[1].wait()
    last, gpu = started()
    assert gpu == "6"
    for process in (*workers, last):
        process.kill()
        process.wait()
    assert worker.visible_gpus() == ["4", "6"]
