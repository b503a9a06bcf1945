"""Build the stand-ins of scale=paper into a folder and serve a judge, so that its commands can be typed as they stand.

python -m tests.rehearsal FOLDER                     # builds, prints the environment, and serves until Ctrl-C
"""

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.rehearsal.stand_ins import capability_data, checkpoints, data_sets, hub_cache, judge_server

PARTS = {
    "checkpoints": checkpoints.build,
    "data_sets": data_sets.build,
    "capability_data": capability_data.build,
}


def main(arguments: Sequence[str]) -> None:
    """Build and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.rehearsal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where the stand-ins lie; built on first use")
    cache = hub_cache.build(parser.parse_args(arguments).folder.resolve(), PARTS)
    own = ("HF_", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")
    for name, value in cache.environment().items():
        if name.startswith(own):
            print(f"export {name}={value}")
    with judge_server.serving() as server:
        print(f"# judge=gpt_5_2 judge.base_url={server.url('openai')}")
        print(f"# judge=anthropic judge.base_url={server.url('anthropic')}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
