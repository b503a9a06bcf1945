"""A run's process: its command, started anew, or the same forked from a process that has done the imports already.

Imports are two thirds of a small run's time. A forked process has nothing of an earlier run's: its parent has only
imported.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

ROOT = Path(__file__).resolve().parents[2]
SABOTEUR = Path(__file__).resolve().parent / "saboteur"

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.chaos.imported"])


class Process(Protocol):
    """A running process."""

    def kill(self) -> None:
        """Send it SIGKILL."""

    def poll(self) -> int | None:
        """Its exit code, the negative signal if it was killed, None while it runs."""


class _Forked:
    def __init__(self, process: "multiprocessing.context.ForkServerProcess") -> None:
        self._process = process

    def kill(self) -> None:
        self._process.kill()

    def poll(self) -> int | None:
        return self._process.exitcode


def start(
    words: Sequence[str], cwd: Path, variables: Mapping[str, str], said: BinaryIO, fresh: bool
) -> Process:
    """Start `python run.py WORDS` in a folder, with further environment variables; stderr is appended to `said`."""
    variables = os.environ | dict(variables)
    if not fresh:
        forked = _forks.Process(target=_run, args=(list(words), cwd, variables, Path(said.name)))
        forked.start()
        return _Forked(forked)
    if "CHAOS" in variables:
        variables = {**variables, "PYTHONPATH": str(SABOTEUR)}
    command = [sys.executable, str(ROOT / "run.py"), *words]
    return subprocess.Popen(command, cwd=cwd, env=variables, stdout=subprocess.DEVNULL, stderr=said)


def _run(words: list[str], cwd: Path, variables: dict[str, str], said: Path) -> None:
    import torch

    os.environ.clear()
    os.environ.update(variables)
    torch.set_num_threads(int(variables["OMP_NUM_THREADS"]))  # which a new process takes from the variable
    os.chdir(cwd)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY | os.O_APPEND), 2)
    sys.argv = [str(ROOT / "run.py"), *words]
    sys.path.insert(0, str(ROOT))
    if "CHAOS" in variables:
        runpy.run_path(str(SABOTEUR / "sitecustomize.py"))
    runpy.run_path(sys.argv[0], run_name="__main__")
