"""Build the miniature checkpoints again: `python -m cme.miniature [--again] [NAME ...]`."""

import argparse

from cme.miniature import build, models


def main() -> None:
    """Build the named checkpoints, by default all whose recipes have changed."""
    parser = argparse.ArgumentParser(prog="python -m cme.miniature", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as qwen-1/sft; by default all")
    parser.add_argument("--again", action="store_true", help="also those that are built already")
    options = parser.parse_args()
    try:
        for line in build.build_all(options.names or models.checkpoint_names(), options.again):
            print(line, flush=True)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
