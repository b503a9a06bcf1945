"""Build the miniature checkpoints again: `python -m cme.miniature [--again] [NAME ...]`."""

import argparse
import sys

from cme.miniature import build, models
from cme.runtime.command_line import exit_code


def main() -> int:
    """Build the named checkpoints, by default all whose recipes have changed; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cme.miniature", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as qwen-1/sft; by default all")
    parser.add_argument("--again", action="store_true", help="also those that are built already")
    options = parser.parse_args()

    def work() -> int:
        for line in build.build_all(options.names or models.checkpoint_names(), options.again):
            print(line, flush=True)
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
