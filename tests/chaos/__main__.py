"""Kill runs of the harness at every moment, restart them, and compare each with its undisturbed twin.

python -m tests.chaos                                # 50 runs, two at a time: some 10 minutes on two cores
python -m tests.chaos --runs 5 --twins dpo           # five of one kind
python -m tests.chaos --docs RECORD                  # puts a record's tables into docs/reliability.md
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cme.records import read_json, write_json
from experiments.run.provenance import environment

from . import moments, report
from .processes import ROOT
from .trials import ALIKE, Trial, Twin, attempt, survive


def main(words: Sequence[str]) -> int:
    """Run the trials and write their record; returns 0 if every run equals its twin."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--runs", type=int, default=50)
    add("--seed", type=int, default=0, help="of the random moments")
    add("--twins", nargs="*", choices=list(moments.TWINS), help="only these")
    add("--at-once", type=int, default=2, help="processes")
    add("--work", type=Path, help="a folder for the runs, kept; else a temporary one")
    add("--out", type=Path, help="where the record goes")
    add("--docs", type=Path, metavar="RECORD", help="put a record's tables into the docs, and run nothing")
    options = parser.parse_args(words)
    if options.docs:
        page = ROOT / "docs" / "reliability.md"
        page.write_text(report.into(page.read_text(), read_json(options.docs)))
        return 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        record = run(options, options.work or Path(temporary))
    chosen = [f"--twins {' '.join(map(repr, options.twins))}"] if options.twins else []
    record["command"] = " ".join(
        ["python -m tests.chaos", f"--runs {options.runs}", f"--seed {options.seed}", *chosen]
    )
    if options.out:
        write_json(options.out, record)
    print(report.tables(record))
    return int(any(trial["problems"] for trial in record["trials"]))


def run(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Run the twins first, then the trials, some at once; returns the record."""
    began = time.monotonic()
    os.environ.update(ALIKE)  # libraries read these when they are imported, also where others are forked from
    with ThreadPoolExecutor(options.at_once) as pool:
        twins = list(pool.map(_undisturbed, moments.twins(work, options.twins)))
        planned = list(enumerate(moments.plan(twins, options.runs, options.seed), start=1))
        jobs = [pool.submit(_report_survival, n, twin, deaths, work) for n, (twin, deaths) in planned]
        trials = [job.result() for job in jobs]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "seed": options.seed,
        "at_once": options.at_once,
        "environment": {"cores": str(os.cpu_count())} | environment(),
        "seconds": round(time.monotonic() - began),
        "twins": {
            t.name: {"words": t.words, "seconds": round(t.attempt.seconds, 1)} for t in twins if t.attempt
        },
        "trials": [asdict(trial) for trial in trials],
    }


def _undisturbed(twin: Twin) -> Twin:
    done = attempt(twin, twin.results)
    if done.code:
        raise SystemExit(f"the undisturbed run {twin.name!r} ended with exit code {done.code}: {done.last}")
    print(f"{twin.name}: undisturbed in {done.seconds:.0f} s", flush=True)
    return replace(twin, attempt=done)


def _report_survival(number: int, twin: Twin, deaths: list[moments.Moment], work: Path) -> Trial:
    trial = survive(twin, deaths, work / str(number) / "results")
    what = "equal" if not trial.problems else "; ".join(trial.problems)
    when = ", ".join(f"{m} ({s})" for m, s in zip(trial.moments, trial.killed_in, strict=False))
    print(f"{number} {twin.name}: killed at {when}; {trial.restarts} restart(s); {what}", flush=True)
    return trial


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
