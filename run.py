"""Train with a label-free reward, compare with the untrained model, record, report. `python run.py --help`."""

import os
import sys

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# threads that spin while they wait take cores from others
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from experiments.sweep import command

if __name__ == "__main__":
    command.main(sys.argv[1:])
