"""Train with a label-free reward, meet the untrained self, record, report. `python run.py --help`."""

import os
import sys

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault(
    "OMP_WAIT_POLICY", "passive"
)  # a spinning thread is a core lost to whoever else runs here

import hydra
from omegaconf import DictConfig

from cme import Unavailable
from experiments import grid
from experiments.validate import BadConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    """Run one cell: whatever stages of it are not done yet."""
    from experiments import stages

    stages.run(config)


if __name__ == "__main__":
    try:
        cells = grid.cells(sys.argv[1:])
        grid.prepare(cells)
    except (BadConfig, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    main()
    grid.report(cells)
