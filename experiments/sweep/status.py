"""`python -m experiments status|owed|resume|retry [EXPERIMENT] [results_dir=DIR]`: a sweep seen, and gone on with.

    status   how many cells are done, running, interrupted, failed and owed, and what can be said of each
             (--watch [SECONDS]: again and again; --all: every line)
    owed     the command lines that remain, one a line, for a shell
    resume   run what is owed or was interrupted, straight from the ledger
    retry    run what failed, and say what that is

`resume` and `retry` take what says how cells are run: `fail_fast=true`, `hydra/launcher=...`. They compose a cell only
when its turn comes, so that what is done costs nothing.
"""

import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cme import Unavailable
from cme.records import RunState
from experiments.run import state
from experiments.sweep import ledger
from experiments.sweep.ledger import Entry

COMMANDS = ("status", "owed", "resume", "retry")
STATES = ("done", "running", "interrupted", "failed", "owed")
LISTED = 20  # of each state; --all lists every one
EVERY = 5.0  # seconds between two looks of --watch


@dataclass(frozen=True)
class CellStatus:
    """A cell of the ledger, which of STATES it is in, and what its run's state says."""

    entry: Entry
    state: str
    known: RunState | None


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    command, *rest = arguments
    words = [a for a in rest if "=" not in a and not a.startswith("-") and not a.isdigit()]
    given = [a for a in rest if "=" in a]
    results_dir = Path(
        next((a.split("=", 1)[1] for a in given if a.startswith("results_dir=")), "results/runs")
    )
    given = [a for a in given if not a.startswith("results_dir=")]
    try:
        _check(command, words, given, [a for a in rest if a.startswith("-")], results_dir)
        experiment = words[0] if words else None
        if command == "status":
            return _status(results_dir, experiment, rest)
        if command == "owed":
            return _owed(results_dir, experiment)
        return _again(command, results_dir, experiment, given)
    except (ValueError, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def scan_cells(results_dir: Path, experiment: str | None = None) -> Iterator[CellStatus]:
    """Every cell that was asked for, each once, one at a time; of one experiment, or of all.

    Raises ValueError for a ledger or a record that cannot be read.
    """
    present = {e.name for e in os.scandir(results_dir)} if results_dir.exists() else set()
    yielded: set[int] = set()
    for entry in ledger.read_entries(results_dir):
        if experiment is not None and entry.experiment != experiment:
            continue
        key = hash((entry.run_id, *sorted(entry.comparators.items())))
        if key in yielded:
            continue
        yielded.add(key)
        known = state.current_state(results_dir / entry.run_id) if entry.run_id in present else None
        yield CellStatus(entry, _of(entry, known), known)


def _of(entry: Entry, known: RunState | None) -> str:
    if known is None:
        return "owed"
    if known.state == "done" and (
        known.unscored or not entry.comparators.items() <= known.comparators.items()
    ):
        return "owed"
    return known.state


def status_lines(results_dir: Path, experiment: str | None, listed: int | None = LISTED) -> list[str]:
    """The status of a ledger as text: counts by experiment, then a line a cell that is neither done nor untouched.

    At most `listed` cells of a state have a line; None: all of them.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    rows: dict[str, list[str]] = {state: [] for state in STATES}
    for cell in scan_cells(results_dir, experiment):
        of = counts.setdefault((cell.entry.experiment or "(none)", cell.entry.scale), Counter())
        of[cell.state] += 1
        if (
            cell.known is not None
            and cell.state != "done"
            and (listed is None or len(rows[cell.state]) < listed)
        ):
            rows[cell.state].append(f"  {cell.entry.run_id}  {_told(cell, results_dir)}")
    if not counts:
        return [
            f"no cell was asked for yet{'' if experiment is None else f' of {experiment}'} in {results_dir}"
        ]
    total = sum(counts.values(), Counter[str]())
    table: list[tuple[str, ...]] = [("experiment", "scale", *STATES, "all")]
    table += [(*name, *(str(of[s]) for s in STATES), str(of.total())) for name, of in counts.items()]
    if len(counts) > 1:
        table.append(("all", "", *(str(total[s]) for s in STATES), str(total.total())))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    found = [
        "  ".join(
            w.ljust(n) if i < 2 else w.rjust(n) for i, (w, n) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    for name in ("running", "interrupted", "failed", "owed"):
        if rows[name]:
            more = total[name] - len(rows[name])
            rest = f", {more} not listed{'' if name == 'owed' else ' (--all)'}" if more else ""
            found += ["", f"{name} ({total[name]}{rest}):", *rows[name]]
    return found


def _told(cell: CellStatus, results_dir: Path) -> str:
    """What there is to say of a cell, in one line."""
    known = cell.known
    assert known is not None
    if cell.state == "running":
        return _progress(results_dir / cell.entry.run_id, known)
    if cell.state == "owed":
        unscored = f"{known.unscored} verdicts unscored"
        return unscored if known.unscored else "has comparators to meet, or to be judged against again"
    attempts = f" (attempt {known.attempts})" if known.attempts > 1 else ""
    return f"{known.reason}{attempts}"


def _progress(folder: Path, known: RunState) -> str:
    at = state.last_progress(folder)
    found = ["beginning" if at is None else at.stage]
    if at is not None and at.step is not None and at.steps is not None:
        found.append(f"step {at.step} of {at.steps}")
        if at.seconds_per_step is not None:
            left = (at.steps - at.step) * at.seconds_per_step
            found += [f"{at.seconds_per_step:.3g} s a step", f"{duration(left)} of training left"]
    return ", ".join([*found, *([known.owner] if known.owner else [])])


def duration(seconds: float) -> str:
    """A time a reader takes in at once, such as `3 h 20 min`."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"


def _status(results_dir: Path, experiment: str | None, rest: Sequence[str]) -> int:
    listed = None if "--all" in rest else LISTED
    if "--watch" not in rest:
        print("\n".join(status_lines(results_dir, experiment, listed)))
        return 0
    every = next((float(a) for a in rest if a.isdigit()), EVERY)
    try:
        while True:
            shown = "\n".join(status_lines(results_dir, experiment, listed))
            print(f"\033[H\033[2J{time.strftime('%H:%M:%S')}\n{shown}", flush=True)
            time.sleep(every)
    except KeyboardInterrupt:
        return 0


def _owed(results_dir: Path, experiment: str | None) -> int:
    failed = 0
    for cell in scan_cells(results_dir, experiment):
        failed += cell.state == "failed"
        if cell.state in ("owed", "interrupted"):
            print(shlex.join(["python", "run.py", *cell.entry.words(results_dir)]))
    if failed:
        print(f"{failed} failed are not among them: python -m experiments retry", file=sys.stderr)
    return 0


def _again(command: str, results_dir: Path, experiment: str | None, given: list[str]) -> int:
    from experiments.sweep import launchers, runner

    # the launchers want to know that it is a sweep, however many cells it has
    arguments = ["-m", *given]
    launchers.check_launcher(arguments)
    wanted = ("failed",) if command == "retry" else ("owed", "interrupted")

    def chosen() -> Iterator[Entry]:
        for cell in scan_cells(results_dir, experiment):
            if cell.state in wanted:
                if cell.known is not None:
                    print(
                        f"{cell.entry.run_id}: {cell.state} before: {_told(cell, results_dir)}",
                        file=sys.stderr,
                    )
                yield cell.entry

    return runner.run_entries(chosen(), results_dir, arguments)


def _check(
    command: str, words: Sequence[str], given: Sequence[str], flags: Sequence[str], results_dir: Path
) -> None:
    """Refuse what the command does not know. Raises ValueError."""
    if len(words) > 1:
        raise ValueError(f"{command} takes one experiment, not {' '.join(words)}")
    known = ("--watch", "--all") if command == "status" else ()
    if strange := [f for f in flags if f not in known]:
        raise ValueError(f"{command} has no option {strange[0]}; it has {', '.join(known) or 'none'}")
    how = ("fail_fast=", "hydra/", "hydra.") if command in ("resume", "retry") else ()
    if strange := [g for g in given if not g.startswith(how)]:
        raise ValueError(
            f"{command} does not take {strange[0]}; what a cell is stands in {results_dir / ledger.FILE}"
        )
    experiments = {e.experiment for e in ledger.read_entries(results_dir)} if words else set()
    if words and words[0] not in experiments:
        names = ", ".join(sorted(filter(None, experiments))) or "none yet"
        raise ValueError(f"no cell of {words[0]} was asked for in {results_dir}; there are cells of {names}")
