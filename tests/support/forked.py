"""`python run.py ARGUMENTS` in a process forked from one that has already done the imports.

Imports take two thirds of a small run's time. A forked process shares nothing else with an earlier run: its parent
has only imported.
"""

import gc
import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORTED = [
    *("matplotlib.pyplot", "analysis.report.build", "cme.training.dpo_sft", "cme.training.grpo"),
    "experiments.run.pipeline",
]
"""Everything that a small run imports."""

_context = multiprocessing.get_context("forkserver")


def start(
    arguments: Sequence[str],
    cwd: Path,
    variables: Mapping[str, str],
    stdout: Path,
    stderr: Path,
    before: Path | None = None,
) -> ForkServerProcess:
    """Start the command in the folder `cwd` with further environment variables.

    Output is appended to the two files. `before` is a script that the process runs first.
    """
    _context.set_forkserver_preload(IMPORTED)
    previous = Path.cwd()
    os.chdir(ROOT)  # the server, which starts with the first process, imports from here
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(previous)
    environment = os.environ | dict(variables)
    process = _context.Process(target=_run, args=(list(arguments), cwd, environment, stdout, stderr, before))
    process.start()
    return process


def _run(
    arguments: list[str],
    cwd: Path,
    environment: dict[str, str],
    stdout: Path,
    stderr: Path,
    before: Path | None,
) -> None:
    import torch

    gc.freeze()  # so that no collection looks through what is imported
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))  # a new process reads the variable
    os.chdir(cwd)
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), descriptor)
    sys.argv = [str(ROOT / "run.py"), *arguments]
    added = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:0] = [str(ROOT), *added]
    if before:
        runpy.run_path(str(before))
    runpy.run_path(sys.argv[0], run_name="__main__")
