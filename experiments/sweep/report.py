"""The end of a sweep: one win rate per run, and one report on all runs."""

from pathlib import Path

from cme.records import SanityRecord, read_record
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run.store import Store

MAX_REPORTED = 1000
"""Largest number of runs in a sweep's report, since a report holds all its records in memory."""


def print_report(runs: list[Run]) -> None:
    """Print the win rate of each finished run and write one report on all, with the sanity checks of their judges.

    For more than MAX_REPORTED runs, print the command that writes the report.
    """
    from analysis import build, summarize  # imports matplotlib, which planning does not need

    paths = [path for run in runs if (path := Store.of(run).record).exists()]
    if len(paths) > MAX_REPORTED:
        print(f"{len(paths)} runs are done: python -m analysis {runs[0].results_dir}")
        return
    judged = set()
    for path in paths:
        record = read_record(path)
        print(summarize([record]))
        judged.add((record.scale, record.judge))
    if len(paths) == 1:
        print("seconds: " + ", ".join(f"{part} {took:.1f}" for part, took in record.seconds.items()))
    if not paths:
        return
    root = Path(runs[0].results_dir)
    digest = identity.digest([str(path) for path in paths])
    out = paths[0].parent if len(paths) == 1 else root / f"report-{digest}"
    for path in sorted(root.glob("sanity-*/sanity.json")):
        check = read_record(path, SanityRecord)
        if (check.scale, check.judge) in judged:
            paths.append(path)
    print(f"report: {build([path.parent for path in paths], out)}")
