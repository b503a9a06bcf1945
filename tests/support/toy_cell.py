"""An experiment whose cells do what their seed says: `experiment.run=toy_cell.run`, quicker than any training."""

import os
import time
from pathlib import Path

from cme import Interrupted
from cme.records import Progress
from experiments.config.runs import Run
from experiments.run import state

OVERRIDES = ("experiment.run=toy_cell.run", "trusted_packages=[toy_cell]")
FAILS, INTERRUPTED, SLOW, SECRET, WAITS = 1, 2, 3, 4, 6


def record_path(config: Run) -> Path:
    return Path(config.results_dir) / config.run_id / "separation.json"


def run(config: Run) -> None:
    path = record_path(config)
    if path.exists():
        return
    with path.with_name("ran").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if (path.parent.parent / "mended").exists():
        path.write_text("{}")
        return
    if config.seed == FAILS:
        raise KeyError("a bug")
    if config.seed == INTERRUPTED:
        state.report_progress(path.parent, Progress("training", 40, 60, 0.5))
        raise Interrupted("SIGTERM")
    if config.seed == SLOW:
        time.sleep(60)
    if config.seed == SECRET:
        raise RuntimeError(f"the server said: wrong key {os.environ['OPENAI_API_KEY']}\nand more")
    while config.seed == WAITS and not (path.parent.parent / "go").exists():
        time.sleep(0.05)
    path.write_text("{}")
