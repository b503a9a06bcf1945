"""Whether memory is released between the cells of a sweep in one process. `python -m tests.benchmarks.memory [CELLS]`.

Runs cells of miniature scale and two training steps, one after the other in this process as `run.py -m` does, and
prints the resident memory after each, in MB, with the slope from the third cell on: what a cell does not release.
"""

import sys
import tempfile

import numpy as np
import psutil

from experiments.config import composition
from experiments.run import cell


def main(cells: int) -> None:
    """Run them and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        small = [
            "trainer.max_steps=2",
            "data.eval_prompts=8",
            "data.train_prompts=64",
            f"results_dir={folder}",
        ]
        sizes = []
        for config in composition.compose_cells(["-m", *small, f"seed=range(0,{cells})"]):
            cell.run(config)
            sizes.append(psutil.Process().memory_info().rss / 2**20)
            print(f"cell {len(sizes)}: {sizes[-1]:.0f} MB", flush=True)
    slope = np.polyfit(range(cells - 2), sizes[2:], 1)[0]
    print(f"from the third cell on: {min(sizes[2:]):.0f}-{max(sizes[2:]):.0f} MB, {slope:+.1f} MB per cell")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
