"""Sweeps of real runs, on random-weight models, through launchers: their records are those of a sequential sweep."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import lose, processes, two_nodes

from cme.records import Progress, RunState, read_record
from experiments.sweep import launchers

RUN = str(launchers.ROOT / "run.py")
LONG = ("trainer.max_steps=40", "guard.patience=1000")  # enough for something to happen meanwhile


@pytest.fixture
def line(
    cell: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Command lines of sweeps whose results lie in `runs` of the working directory. One thread in every process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def of(*overrides: str) -> list[str]:
        words = [word for word in cell(*overrides) if not word.startswith("results_dir=")]
        named = [word.split("=")[0] for word in words]
        last = [w for n, w in enumerate(words) if named[n] not in named[n + 1 :]]
        return ["-m", "results_dir=runs", *last]

    return of


def started(arguments: list[str], where: Path) -> "subprocess.Popen[str]":
    where.mkdir()
    with (where / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, RUN, *arguments], cwd=where, stdout=log, stderr=log, text=True
        )


def finished(sweep: "subprocess.Popen[str]", where: Path) -> dict[str, Any]:
    """The records of a sweep by run id, without the seconds that things took."""
    assert sweep.wait(timeout=300) == 0, (where / "log").read_text()
    return {p.parent.name: untimed(json.loads(p.read_text())) for p in where.glob("runs/*/record.json")}


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if key != "seconds"}
    return value


def training(where: Path, steps: int) -> list[Path]:
    """The folders of the runs that are in training and past so many steps."""
    found = [path.parent for path in where.glob("runs/*/progress.json")]
    at = {folder: read_record(folder / "progress.json", Progress) for folder in found}
    return [f for f, now in at.items() if now.step and now.steps and steps <= now.step < now.steps]


def until(holds: Callable[[], bool], sweep: "subprocess.Popen[str]", where: Path) -> None:
    for _ in range(1500):
        if holds():
            return
        assert sweep.poll() is None, (where / "log").read_text()
        time.sleep(0.1)
    raise TimeoutError((where / "log").read_text())


@pytest.mark.slow
def test_a_local_sweep_gives_the_records_of_a_sequential_one(
    line: Callable[..., list[str]], tmp_path: Path
) -> None:
    arguments = line("reward=random,ground_truth")
    one, two = tmp_path / "one", tmp_path / "two"
    expected = finished(started(arguments, one), one)
    assert (
        finished(started([*arguments, "hydra/launcher=local", "hydra.launcher.n_jobs=2"], two), two)
        == expected
    )
    assert len(expected) == 2


@pytest.mark.slow
def test_a_preempted_job_goes_on_where_it_was(line: Callable[..., list[str]], tmp_path: Path) -> None:
    arguments = line("reward=random,ground_truth", *LONG)
    one, two = tmp_path / "one", tmp_path / "two"
    expected = finished(started(arguments, one), one)
    sweep = started([*arguments, "hydra/launcher=slurm_local"], two)
    until(lambda: len(training(two, 5)) > 0, sweep, two)
    folder = training(two, 5)[0]
    os.kill(owner(folder), signal.SIGUSR2)
    assert finished(sweep, two) == expected
    assert read_record(folder / "state.json", RunState).attempts == 2
    log = "".join(p.read_text() for p in two.glob("runs/.submitit/*/*_log.err"))
    assert log.index("this job is preempted") < log.index("training continues from step")


def owner(folder: Path) -> int:
    """The process that is at a run."""
    said = read_record(folder / "state.json", RunState).owner
    assert said is not None
    return int(said.split()[1])


@pytest.fixture
def nodes(line: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of two nodes of a core each, on this machine."""
    yield from two_nodes(monkeypatch)


@pytest.mark.slow
def test_a_ray_sweep_survives_its_lost_node(
    line: Callable[..., list[str]], tmp_path: Path, nodes: Any
) -> None:
    arguments = line("seed=0,1,2", "reward=ground_truth", *LONG, "checkpoint.every=4")
    one, two = tmp_path / "one", tmp_path / "two"
    expected = finished(started(arguments, one), one)
    cluster = f"hydra.launcher.ray.init.address='{nodes.address}'"
    sweep = started([*arguments, "hydra/launcher=ray", cluster], two)

    def at_work() -> dict[int, Path]:
        on_node = {process.pid for process in processes(nodes)}
        return {owner(folder): folder for folder in training(two, 8) if owner(folder) in on_node}

    until(lambda: len(at_work()) == 1, sweep, two)
    [(lost, folder)] = at_work().items()
    assert lost in lose(nodes)
    seen = set()
    while sweep.poll() is None:
        now = read_record(folder / "progress.json", Progress)
        if read_record(folder / "state.json", RunState).attempts == 2 and now.stage == "training":
            seen.add(now.step)
        time.sleep(0.1)
    assert finished(sweep, two) == expected
    assert len(expected) == 3
    attempts = {f.parent: read_record(f, RunState).attempts for f in two.glob("runs/*/state.json")}
    assert {f for f, n in attempts.items() if n > 1} == {folder}
    assert min(step for step in seen if step is not None) >= 8  # resumed, not begun again
