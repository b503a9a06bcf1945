"""Train with a label-free reward, meet the untrained self, record, report. `python run.py --help`."""

import os
import sys

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# a thread that spins while it waits is a core lost to whoever else runs here
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import hydra
from hydra.utils import get_method
from omegaconf import DictConfig

from cme import TrainingFailed, Unavailable, processes
from cme.judging import BadLog
from experiments import grid, plan
from experiments.identity import run_id
from experiments.validate import BadConfig

failed: list[str] = []


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    """Run one cell: whatever stages of it are not done yet."""
    try:
        get_method(config.experiment.run)(config)
    except (TrainingFailed, Unavailable, BadConfig, BadLog) as error:
        failed.append(f"{run_id(config)}: {error}")


def run() -> int:
    """All cells of the command line; the exit code."""
    try:
        lines = grid.command_lines(sys.argv[1:])
        cells = grid.cells(sys.argv[1:])
        if any(cell.plan for cell in cells):
            print("\n".join(plan.lines(cells)))
            return 0
        grid.prepare(cells)
    except (ValueError, Unavailable) as error:  # BadConfig, and a record that cannot be read
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 2
    for line in lines:
        sys.argv[1:] = line
        main()
    grid.report(cells)
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    with processes.launched():
        sys.exit(run())
