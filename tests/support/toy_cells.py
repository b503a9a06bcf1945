"""Cells of milliseconds: functions for launchers to run, and an experiment, `experiment.run=toy_cells.run`.

Each leaves its files in a folder named after its seed or its run id.
"""

import os
import signal
import time
from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from cme import Interrupted
from experiments.config.runs import Run
from experiments.run.cell import Job, report_progress
from experiments.sweep.worker import Worker

OVERRIDES = ("experiment.run=toy_cells.run", "trusted_packages=[toy_cells]")
FAILS, INTERRUPTED, SLOW, SECRET, WAITS = 1, 2, 3, 4, 6
"""Seeds with which `run` does what the name says."""


def file_of(config: Run, name: str) -> Path:
    """A file in the folder of a cell's seed."""
    folder = Path(config.results_dir) / str(config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def wait_for(path: Path) -> None:
    """Return when the file exists. Raises TimeoutError after two minutes."""
    for _ in range(2400):
        if path.exists():
            return
        time.sleep(0.05)
    raise TimeoutError(path)


def plain(config: Run) -> None:
    """Write down the process, its working directory, its number of threads, and whether it hides progress bars."""
    text = f"{os.getpid()} {Path.cwd()} {os.environ.get('OMP_NUM_THREADS')} {tqdm(range(0)).disable}"
    file_of(config, "done").write_text(text)


def meeting(config: Run) -> None:
    """End when the other of two cells is running."""
    plain(config)
    wait_for(Path(config.results_dir) / str(1 - config.seed) / "done")


def killed_once(config: Run) -> None:
    """Seed 1 is killed the first time that it runs."""
    if config.seed == 1 and not file_of(config, "killed").exists():
        file_of(config, "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    plain(config)


def endless(config: Run) -> None:
    """Run until a signal comes, take a moment to save, and leave."""
    file_of(config, "begun").touch()
    try:
        time.sleep(100)
    except KeyboardInterrupt:
        time.sleep(1)
        file_of(config, "saved").touch()
        raise


class CountedWorker(Worker):
    """Leaves a file for each cell that is composed."""

    def __call__(self, config: DictConfig) -> None:
        """Count the cell, and run it as a worker does."""
        folder = Path(self.folder) / config.results_dir
        folder.mkdir(exist_ok=True)
        (folder / f"composed-{config.seed}").touch()
        super().__call__(config)


def preempted_once(config: Run) -> None:
    """Seed 1 gets Slurm's signal to leave the first time that it runs."""
    file_of(config, f"begun-{os.getpid()}").touch()
    if config.seed == 1 and not file_of(config, "preempted").exists():
        file_of(config, "preempted").touch()
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(100)
    plain(config)


def broken(config: Run) -> None:
    """Break the rule that a cell's function raises nothing."""
    raise ValueError(f"seed {config.seed} is no good")


def record_path(config: Run) -> Path:
    """The record that `run` writes."""
    return Path(config.results_dir) / config.run_id / "separation.json"


def _run(config: Run) -> Path:
    """Do what the seed says; with a file `mended` in results_dir, write the record."""
    path = record_path(config)
    if path.exists():
        return path
    with path.with_name("ran").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if not (path.parent.parent / "mended").exists():
        if config.seed == FAILS:
            raise KeyError("a bug")
        if config.seed == INTERRUPTED:
            report_progress(path.parent, "training", 40, 60, 0.5)
            raise Interrupted("SIGTERM")
        if config.seed == SLOW:
            time.sleep(60)
        if config.seed == SECRET:
            raise RuntimeError(f"the server said: wrong key {os.environ['OPENAI_API_KEY']}\nand more")
        if config.seed == WAITS:
            wait_for(path.parent.parent / "go")
    path.write_text("{}")
    return path


run = Job(_run, record_path)
