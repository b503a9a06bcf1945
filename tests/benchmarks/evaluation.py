"""How much time and memory one record of many verdicts takes: tables, 10,000 resamples and confounds.

    python -m tests.benchmarks.evaluation

The record has random verdicts in both orders on pairs of random length and surprisal. The memory is the whole
process's at its peak, its imports and the record included.
"""

import argparse
import resource
import time

import numpy as np

from analysis.stats.intervals import RESAMPLES
from analysis.tables.cells import build_cells
from analysis.tables.judging.controlled import controlled_cells
from cme.records import Generation, Outcome, Pair, RunRecord, Verdict

OUTCOMES: tuple[Outcome, ...] = ("first", "second", "tie")


def record(prompts: int) -> RunRecord:
    """A run of so many pairs, each judged in both orders at random."""
    draw = np.random.default_rng(0)

    def response() -> Generation:
        words = int(draw.integers(5, 200))
        return Generation("word " * words, True, words, surprisal=float(draw.normal(2, 0.5)))

    pairs = [Pair(str(i), f"prompt {i}", None, response(), response()) for i in range(prompts)]
    verdicts = [
        Verdict(pair.prompt_id, order, OUTCOMES[draw.integers(3)])
        for pair in pairs
        for order in (True, False)
    ]
    names = dict.fromkeys(("scale", "family", "regime", "reward", "verifier", "judge"), "benchmark")
    checkpoints = dict.fromkeys(
        ("generator_checkpoint", "verifier_checkpoint", "language_model"), "benchmark"
    )
    return RunRecord(
        run_id="benchmark", **names, **checkpoints, heldout_checkpoint=None, seed=0, experiment=None, config={},
        environment={}, warnings=[], stopped=None, history={}, pairs=pairs, verdicts=verdicts, seconds={},
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000)
    runs = [record(parser.parse_args().pairs)]
    began = time.perf_counter()
    cells = build_cells(runs)
    controlled_cells(runs, cells)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    [win] = [cell.win for cell in cells]
    print(
        f"{win.prompts} pairs, {win.verdicts} verdicts, {RESAMPLES} resamples: {seconds:.2f} s, {peak:.2f} GiB at the "
        f"peak; win rate {win.rate:.1f} [{win.lo:.1f}, {win.hi:.1f}], bootstrap [{win.boot_lo:.1f}, {win.boot_hi:.1f}]"
    )


if __name__ == "__main__":
    main()
