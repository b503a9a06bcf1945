"""The end of a sweep: one win rate per run, and a report for each data set."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cme.records import SanityRecord, read_record
from cme.runtime.terminal import plain
from experiments.config import identity
from experiments.config.composition import differing_words

MAX_REPORTED = 1000
"""Largest number of runs in a sweep's report, since a report holds all its records in memory."""


def print_report(root: Path, cells: Mapping[Path, Sequence[str]]) -> None:
    """Print the win rate of each finished run and write a report on all of one data set, with the checks of its judges.

    Win rates on different prompts belong in no common table. Each line begins with the overrides that not all these
    runs have. For more than MAX_REPORTED runs, print the command that writes the report.

    Args:
        root: The folder of the results.
        cells: The overrides of each run by the path of its record, which need not exist.
    """
    finished = {path: words for path, words in cells.items() if path.exists()}
    if not finished:
        return
    if len(finished) > MAX_REPORTED:
        print(f"{len(finished)} runs are done: python -m analysis {root}")
        return
    from analysis import build, check_judges, summarize  # imports matplotlib, which planning does not need

    sanity = {path: read_record(path, SanityRecord) for path in sorted(root.glob("sanity-*/sanity.json"))}
    checked = check_judges(sanity.values())
    judged, by_data = set(), dict[str, list[Path]]()
    for (path, _), own in zip(finished.items(), differing_words(finished.values()), strict=True):
        record = read_record(path)
        print(
            f"{plain(own)}{': ' if own else ''}{summarize([replace(record, further_judges=None)], checked)}"
        )
        judges = (record.judge, *(further.name for further in record.further_judges or []))
        judged |= {(record.scale, judge) for judge in judges}
        by_data.setdefault(record.data, []).append(path)
    if len(finished) == 1:
        parts = ", ".join(f"{part} {took:.1f}" for part, took in record.seconds.items())
        total = sum(took for part, took in record.seconds.items() if ": " not in part)
        print(f"seconds: {parts}, total {total:.1f}")
    checks = [path.parent for path, check in sanity.items() if (check.scale, check.judge) in judged]
    for data, paths in by_data.items():
        digest = identity.digest([str(path) for path in paths])
        out = paths[0].parent if len(finished) == 1 else root / f"report-{digest}"
        what = f"report on {plain(data)}" if len(by_data) > 1 else "report"
        print(f"{what}: {build([*(path.parent for path in paths), *checks], out)}")
