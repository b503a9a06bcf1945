"""Kill runs of the harness at every moment, restart them, and compare each with its undisturbed twin.

python -m tests.chaos                                # 50 runs, two at a time: some 10 minutes on two cores
python -m tests.chaos --runs 5 --twins dpo           # five of one kind
python -m tests.chaos --out RECORD                   # write the record, and its tables into docs/reliability.md
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

from cme.records import write_json
from experiments.run.provenance import environment

from . import moments, report
from .trials import ALIKE, ROOT, Trial, Twin, attempt, survive

AT_ONCE = 2  # processes


def main(words: Sequence[str]) -> int:
    """Run the twins first, then the trials, and write their record; returns 0 if every run equals its twin."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--twins", nargs="*", choices=list(moments.TWINS), help="only these")
    parser.add_argument("--out", type=Path, help="where the record goes")
    options = parser.parse_args(words)
    began = time.monotonic()
    os.environ.update(ALIKE)  # libraries read these when they are imported, also where others are forked from
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        work = Path(folder)
        twins = list(pool.map(_run_undisturbed, moments.twins(work, options.twins)))
        planned = list(enumerate(moments.plan(twins, options.runs, options.seed), start=1))
        jobs = [pool.submit(_report_survival, n, twin, deaths, work) for n, (twin, deaths) in planned]
        trials = [job.result() for job in jobs]
    chosen = [f"--twins {' '.join(map(repr, options.twins))}"] if options.twins else []
    sizes = f"--runs {options.runs} --seed {options.seed}"
    record = {
        "command": " ".join(["python -m tests.chaos", sizes, *chosen]),
        "date": datetime.now(UTC).date().isoformat(),
        "environment": {"cores": str(os.cpu_count())} | environment(),
        "seconds": round(time.monotonic() - began),
        "trials": [asdict(trial) for trial in trials],
    }
    if options.out:
        write_json(options.out, record)
        page = ROOT / "docs" / "reliability.md"
        page.write_text(report.insert_tables(page.read_text(), record))
    print(report.format_tables(record))
    return int(any(trial.problems for trial in trials))


def _run_undisturbed(twin: Twin) -> Twin:
    done = attempt(twin, twin.results)
    if done.code:
        raise SystemExit(f"the undisturbed run {twin.name!r} ended with exit code {done.code}: {done.last}")
    print(f"{twin.name}: undisturbed in {done.seconds:.0f} s", flush=True)
    return replace(twin, attempt=done)


def _report_survival(number: int, twin: Twin, deaths: list[moments.Moment], work: Path) -> Trial:
    trial = survive(twin, deaths, work / str(number) / "results")
    what = "; ".join(trial.problems) or "equal"
    when = ", ".join(f"{m} ({s})" for m, s in zip(trial.moments, trial.killed_in, strict=False))
    print(f"{number} {twin.name}: killed at {when}; {trial.restarts} restart(s); {what}", flush=True)
    return trial


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
