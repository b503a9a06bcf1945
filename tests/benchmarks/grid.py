"""A ledger of 100,000 cells: the cost of `status`, `pending` and the search of a resumed sweep.

`python -m tests.benchmarks.grid [CELLS]`.

The cells are simulated: of every 100, 30 are done, 2 failed, 2 were interrupted and 1 was killed, each with the files
that a run has; the others have no folder. Each command runs in a new process, also on a hundredth of the cells; printed
are its wall-clock seconds and its peak resident memory. Composing one cell, which none of the three does, is timed too.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cme.records import RunState
from experiments.sweep import ledger
from experiments.sweep.ledger import Entry

STATES = {
    **{n: RunState("done", 1, 3600.0, record="record.json") for n in range(30)},
    **{n: RunState("failed", 1, 60.0, reason="OutOfMemoryError: no", traceback="x\n" * 60) for n in (30, 31)},
    **{
        n: RunState("interrupted", 1, 60.0, reason="interrupted by SIGTERM at step 40 of 60")
        for n in (32, 33)
    },
    34: RunState("running", 1, owner="process 1 on there"),
}
SEARCH = (
    "import sys\nfrom pathlib import Path\nfrom experiments.sweep import status\n"
    "print(sum(c.state in ('pending', 'interrupted') for c in status.scan_cells(Path(sys.argv[1]))))\n"
)
COMPOSE = (
    "import gc, time\nfrom tests.benchmarks.memory import resident\nfrom experiments.config import composition\n"
    "composition.compose_cells(['seed=0'])\ngc.collect()\nbegan, before = time.perf_counter(), resident()\n"
    "composed = composition.compose_cells(['-m', 'seed=range(0,20)'])\ntook = time.perf_counter() - began\n"
    "gc.collect()\n"
    "print(f'{took / 20:.3f} s, {(resident() - before) / 20:.2f} MB kept')\n"
)


def simulate(root: Path, cells: int) -> None:
    """Write a ledger of so many cells under `root`, with the folders of those that were started."""
    entries = (
        Entry(f"miniature-qwen-pretrained-cme-gemma-s{n}-{n:08x}", "miniature", "rewards",
              [f"results_dir={root}", "experiment=rewards", f"seed={n}"])
        for n in range(cells)
    )  # fmt: skip
    ledger.add_entries(root, entries)
    for n, entry in enumerate(ledger.read_entries(root)):
        state = STATES.get(n % 100)
        if state is not None:
            folder = root / entry.run_id
            folder.mkdir()
            (folder / "state.json").write_text(json.dumps(vars(state)))
            (folder / ".lock").touch()
            if state.record is not None:
                (folder / state.record).touch()


def measure(command: list[str]) -> tuple[float, float, int]:
    """Seconds, peak of resident memory in MB, and lines printed by a command."""
    began = time.perf_counter()
    code = (
        "import resource, subprocess, sys\ndone = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "assert done.returncode == 0, done.stderr\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
        "print(peak, len(done.stdout.splitlines()))\n"
    )
    out = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    peak, lines = out.stdout.split()
    return time.perf_counter() - began, float(peak), int(lines)


def main(cells: int) -> None:
    """Print the table."""
    for count in (cells // 100, cells):
        with tempfile.TemporaryDirectory() as folder:
            root, began = Path(folder), time.perf_counter()
            simulate(root, count)
            print(f"{count} cells: written in {time.perf_counter() - began:.1f} s")
            began = time.perf_counter()
            ledger.add_entries(root, ledger.read_entries(root))
            print(f"  adding them all again: {time.perf_counter() - began:.1f} s")
            python = [sys.executable, "-m", "experiments"]
            for name, command in {
                "status": [*python, "status", f"results_dir={root}"],
                "pending": [*python, "pending", f"results_dir={root}"],
                "resume's search": [sys.executable, "-c", SEARCH, str(root)],
            }.items():
                seconds, peak, lines = measure(command)
                print(f"  {name}: {seconds:.1f} s, at most {peak:.0f} MB, {lines} lines")
    one = subprocess.run(
        [sys.executable, "-c", COMPOSE], capture_output=True, text=True, check=True
    ).stdout.strip()
    print(f"composing one cell: {one}; this process took at most "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
