"""Train with a label-free reward, compare with the untrained model, record, report. `python run.py --help`."""

import sys

from experiments.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
