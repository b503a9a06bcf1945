"""The end of a sweep: one win rate per cell, and one report over all cells."""

from pathlib import Path

from cme.records import SanityRecord, read_record
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run.store import Store

REPORTED = 1000
"""Largest number of runs in a sweep's report, since a report holds all its records in memory."""


def print_report(configs: list[Run]) -> None:
    """Print each finished run's win rate and write one report over all of them, with their judges' sanity checks.

    More than REPORTED runs are left to `python -m analysis`.
    """
    from analysis import build, summarize  # imports matplotlib, which planning does without

    paths = [path for c in configs if (path := Store.of(c).record).exists()]
    if len(paths) > REPORTED:
        print(f"{len(paths)} runs are done: python -m analysis {configs[0].results_dir}")
        return
    shown = set()
    for path in paths:
        record = read_record(path)
        print(summarize([record]))
        shown.add((record.scale, record.judge))
    if paths:
        root = Path(configs[0].results_dir)
        out = (
            paths[0].parent
            if len(paths) == 1
            else root / f"report-{identity.digest([str(p) for p in paths])}"
        )
        checks = {path: read_record(path, SanityRecord) for path in sorted(root.glob("sanity-*/sanity.json"))}
        paths += [path for path, check in checks.items() if (check.scale, check.judge) in shown]
        print(f"report: {build([p.parent for p in paths], out)}")
