"""A ledger of 100,000 cells: the cost of `status`, `pending` and the search of a resumed sweep.

`python -m tests.benchmarks.grid [CELLS]`.

The cells are simulated: of every 100, 30 are done, 2 failed, 2 were interrupted and 1 was killed, each with the files
that a run has; the others have no folder. Each command runs in a new process, also on a hundredth of the cells; printed
are its wall-clock seconds and its peak resident memory.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cme.records import RunState
from experiments.sweep import ledger
from experiments.sweep.ledger import Entry

DONE = RunState("done", 1, 3600.0, record="record.json")
FAILED = RunState("failed", 1, 60.0, reason="OutOfMemoryError: no", traceback="x\n" * 60)
INTERRUPTED = RunState("interrupted", 1, 60.0, reason="interrupted by SIGTERM at step 40 of 60")
KILLED = RunState("running", 1, owner="process 1 on there")
STATES = [*[DONE] * 30, *[FAILED] * 2, *[INTERRUPTED] * 2, KILLED]
SEARCH = (
    "import sys\nfrom pathlib import Path\nfrom experiments.sweep import status\n"
    "print(sum(c.state in ('pending', 'interrupted') for c in status.scan_cells(Path(sys.argv[1]))))\n"
)
MEASURE = (
    "import resource, subprocess, sys\n"
    "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True)\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, len(done.stdout.splitlines()))\n"
)


def simulate(root: Path, cells: int) -> None:
    """Write a ledger of so many cells under `root`, with the folders of those that were started."""
    ids = [f"miniature-qwen-pretrained-cme-gemma-s{n}-{n:08x}" for n in range(cells)]
    overrides = [f"results_dir={root}", "experiment=rewards"]
    ledger.add_entries(
        root, (Entry(id_, "miniature", "rewards", [*overrides, f"seed={n}"]) for n, id_ in enumerate(ids))
    )
    for n, run_id in enumerate(ids):
        if n % 100 < len(STATES):
            state, folder = STATES[n % 100], root / run_id
            folder.mkdir()
            (folder / "state.json").write_text(json.dumps(vars(state)))
            (folder / ".lock").touch()
            if state.record is not None:
                (folder / state.record).touch()


def measure(command: list[str]) -> str:
    """Seconds, peak of resident memory in MB, and lines printed by a command."""
    began = time.perf_counter()
    # by a small process: a child's peak is never below the size of its parent
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True
    )
    peak, lines = out.stdout.split()
    return f"{time.perf_counter() - began:.1f} s, at most {int(peak) / 1024:.0f} MB, {lines} lines"


def main(cells: int) -> None:
    """Print the table."""
    for count in (cells // 100, cells):
        with tempfile.TemporaryDirectory() as folder:
            simulate(Path(folder), count)
            print(f"{count} cells")
            for command in ("status", "pending"):
                words = [sys.executable, "-m", "experiments", command, f"results_dir={folder}"]
                print(f"  {command}: {measure(words)}")
            print(f"  resume's search: {measure([sys.executable, '-c', SEARCH, folder])}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
