"""Train with a label-free reward, meet the untrained self, record, report. `python run.py --help`."""

import os
import sys

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# a thread that spins while it waits is a core lost to whoever else runs here
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import hydra
from omegaconf import DictConfig

from cme.runtime import distributed
from experiments.config import composition, schema
from experiments.run import cell
from experiments.sweep import runner


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    """What --help, --cfg and the like of Hydra are asked of; cells are composed before the first of them runs."""
    cell.run(config)


if __name__ == "__main__":
    with distributed.launch():  # one of several processes: see cme.runtime.distributed
        arguments = sys.argv[1:]
        if composition.is_display_only(arguments):
            schema.register()
            main()
        else:
            sys.exit(runner.main(arguments))
