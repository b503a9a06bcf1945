"""Cells of milliseconds for launchers to run: each leaves word of itself in a folder named after its seed."""

import os
import signal
import time
from pathlib import Path

from experiments.config.runs import Run


def word(config: Run, name: str) -> Path:
    """A file of a cell."""
    folder = Path(config.results_dir) / str(config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def plain(config: Run) -> None:
    """Say who ran the cell, and where."""
    word(config, "done").write_text(f"{os.getpid()} {Path.cwd()} {os.environ.get('OMP_NUM_THREADS')}")


def meeting(config: Run) -> None:
    """End when the other of two cells is running."""
    plain(config)
    other = Path(config.results_dir) / str(1 - config.seed) / "done"
    for _ in range(1200):
        if other.exists():
            return
        time.sleep(0.05)
    raise TimeoutError(other)


def killed_once(config: Run) -> None:
    """Seed 1 is killed the first time that it runs."""
    if config.seed == 1 and not word(config, "killed").exists():
        word(config, "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    plain(config)


def endless(config: Run) -> None:
    """Run until a signal comes, take a moment to save, and leave."""
    word(config, "begun").touch()
    try:
        time.sleep(100)
    except KeyboardInterrupt:
        time.sleep(1)
        word(config, "saved").touch()
        raise


def preempted_once(config: Run) -> None:
    """Seed 1 is told to leave the first time that it runs, as Slurm tells it."""
    word(config, f"begun-{os.getpid()}").touch()
    if config.seed == 1 and not word(config, "preempted").exists():
        word(config, "preempted").touch()
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(100)
    plain(config)


def broken(config: Run) -> None:
    """Break the rule that a cell's function raises nothing."""
    raise ValueError(f"seed {config.seed} is no good")


def held(config: Run) -> None:
    """Run until somebody writes the file `go` into results_dir."""
    word(config, f"begun-{os.getpid()}").touch()
    while not (Path(config.results_dir) / "go").exists():
        time.sleep(0.05)
    plain(config)
