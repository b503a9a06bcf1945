"""`cme status`, `pending`, `resume` and `retry`: inspect the cells of a results folder, and continue them."""

import argparse
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cme import Unavailable
from cme.records import RunState
from cme.runtime import shipped
from experiments.run import state
from experiments.sweep import ledger
from experiments.sweep.ledger import Entry

DESCRIPTIONS = {
    "status": "Count the cells that are done, running, interrupted, failed and pending, and describe each that is not.",
    "pending": "Print the command lines of the cells that are pending or were interrupted, one per line, for a shell.",
    "resume": "Run the cells that are pending or were interrupted. Done cells cost nothing: a cell is composed only "
    "when its turn comes.",
    "retry": "Run the cells that failed, and print what is known of each.",
}
STATES = ("done", "running", "interrupted", "failed", "pending")
LISTED = 20  # of each state; --all lists every one
EVERY = 5.0  # seconds between two looks of --watch


@dataclass(frozen=True)
class CellStatus:
    """A cell of the ledger, which of STATES it is in, and the state that its run last recorded, if any."""

    entry: Entry
    state: str
    known: RunState | None


def main(command: str, arguments: Sequence[str], prog: str) -> int:
    """Run one of the commands of DESCRIPTIONS; returns its exit code."""
    options = _parser(command, prog).parse_intermixed_args(arguments)
    settings = [word for word in options.words if "=" in word and not word.startswith("results_dir=")]
    folders = [word.partition("=")[2] for word in options.words if word.startswith("results_dir=")]
    experiments = [word for word in options.words if "=" not in word]
    results_dir = Path(folders[-1] if folders else "results/runs")
    try:
        _check(command, experiments, settings, results_dir)
        experiment = experiments[0] if experiments else None
        if command == "status":
            return _status(results_dir, experiment, None if options.all else LISTED, options.watch)
        if command == "pending":
            return _pending(results_dir, experiment)
        return _again(command, results_dir, experiment, settings)
    except (ValueError, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser(command: str, prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=DESCRIPTIONS[command])
    words = "EXPERIMENT: only the cells of this experiment; results_dir=DIR: where the runs are (default: results/runs)"
    if command in ("resume", "retry"):
        words += "; fail_fast=true: stop at the first failure; hydra/launcher=NAME and its settings: where cells run"
    parser.add_argument("words", nargs="*", metavar="EXPERIMENT | KEY=VALUE", help=words)
    if command == "status":
        parser.add_argument("--all", action="store_true", help=f"list every cell, not {LISTED} per state")
        parser.add_argument(
            "--watch",
            nargs="?",
            type=float,
            const=EVERY,
            metavar="SECONDS",
            help=f"repeat (default: every {EVERY:g} s)",
        )
    return parser


def scan_cells(results_dir: Path, experiment: str | None = None) -> Iterator[CellStatus]:
    """Every cell of the ledger once, one at a time; of one experiment, or of all.

    Raises ValueError for a ledger or a record that cannot be read.
    """
    present = {e.name for e in os.scandir(results_dir)} if results_dir.exists() else set()
    seen: set[tuple[object, ...]] = set()
    for entry in ledger.read_entries(results_dir):
        if experiment is not None and entry.experiment != experiment:
            continue
        key = replace(entry, experiment=None).key  # a run counts once, whichever experiments request it
        if key in seen:
            continue
        seen.add(key)
        known = state.current_state(results_dir / entry.run_id) if entry.run_id in present else None
        name = "pending" if known is None else known.state
        if known is not None and known.state == "done":
            compared = entry.comparators.items() <= known.comparators.items()
            name = "done" if compared and not known.unscored else "pending"
        yield CellStatus(entry, name, known)


def status_lines(results_dir: Path, experiment: str | None, listed: int | None = LISTED) -> list[str]:
    """The status of a ledger: counts by experiment, then one line per cell that was started and is not done.

    At most `listed` cells of each state are listed; None lists all.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    rows: dict[str, list[str]] = {state: [] for state in STATES}
    for cell in scan_cells(results_dir, experiment):
        group = (cell.entry.experiment or "(none)", cell.entry.scale)
        counts.setdefault(group, Counter())[cell.state] += 1
        shown = rows[cell.state]
        if cell.known is not None and cell.state != "done" and (listed is None or len(shown) < listed):
            shown.append(f"  {cell.entry.run_id}  {_describe(cell, results_dir)}")
    if not counts:
        return [f"no cell{'' if experiment is None else f' of {experiment}'} was requested in {results_dir}"]
    total = sum(counts.values(), Counter[str]())
    table: list[tuple[str, ...]] = [("experiment", "scale", *STATES, "all")]
    table += [
        (*group, *(str(count[s]) for s in STATES), str(count.total())) for group, count in counts.items()
    ]
    if len(counts) > 1:
        table.append(("all", "", *(str(total[s]) for s in STATES), str(total.total())))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = zip(row, widths, strict=True)
        lines.append("  ".join(w.ljust(n) if i < 2 else w.rjust(n) for i, (w, n) in enumerate(cells)))
    for name in ("running", "interrupted", "failed", "pending"):
        if rows[name]:
            more = total[name] - len(rows[name])
            rest = f", {more} not listed{'' if name == 'pending' else ' (--all)'}" if more else ""
            lines += ["", f"{name} ({total[name]}{rest}):", *rows[name]]
    return lines


def _describe(cell: CellStatus, results_dir: Path) -> str:
    """A started cell in one line: what it is doing, what it lacks, or why it ended."""
    known = cell.known
    assert known is not None
    if cell.state == "pending":
        return f"{known.unscored} unscored verdicts" if known.unscored else "has pending comparators"
    if cell.state != "running":
        return f"{known.reason}{f' (attempt {known.attempts})' if known.attempts > 1 else ''}"
    progress = state.last_progress(results_dir / cell.entry.run_id)
    parts = ["starting" if progress is None else progress.stage]
    if progress is not None and progress.step is not None and progress.steps is not None:
        parts.append(f"step {progress.step} of {progress.steps}")
        if progress.seconds_per_step is not None:
            left = (progress.steps - progress.step) * progress.seconds_per_step
            parts += [f"{progress.seconds_per_step:.3g} s per step", f"{duration(left)} of training left"]
    return ", ".join([*parts, *([known.owner] if known.owner else [])])


def duration(seconds: float) -> str:
    """A duration in its two largest units, such as `3 h 20 min`."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"


def _status(results_dir: Path, experiment: str | None, listed: int | None, watch: float | None) -> int:
    if watch is None:
        print("\n".join(status_lines(results_dir, experiment, listed)))
        return 0
    try:
        while True:
            shown = "\n".join(status_lines(results_dir, experiment, listed))
            print(f"\033[H\033[2J{time.strftime('%H:%M:%S')}\n{shown}", flush=True)
            time.sleep(watch)
    except KeyboardInterrupt:
        return 0


def _pending(results_dir: Path, experiment: str | None) -> int:
    failed = 0
    for cell in scan_cells(results_dir, experiment):
        failed += cell.state == "failed"
        if cell.state in ("pending", "interrupted"):
            print(f"{shipped.RUN} {shlex.join(cell.entry.words(results_dir))}")
    if failed:
        print(f"{failed} failed cells are not listed; `retry` runs them", file=sys.stderr)
    return 0


def _again(command: str, results_dir: Path, experiment: str | None, given: list[str]) -> int:
    from experiments.sweep import launchers, runner

    # the launchers need to know that this is a sweep, however many cells it has
    arguments = ["-m", *given]
    launchers.check_launcher(arguments)
    wanted = ("failed",) if command == "retry" else ("pending", "interrupted")

    def chosen() -> Iterator[Entry]:
        for cell in scan_cells(results_dir, experiment):
            if cell.state in wanted:
                if cell.known is not None:
                    print(
                        f"{cell.entry.run_id}: {cell.state} before: {_describe(cell, results_dir)}",
                        file=sys.stderr,
                    )
                yield cell.entry

    return runner.run_entries(chosen(), results_dir, arguments)


def _check(command: str, experiments: Sequence[str], settings: Sequence[str], results_dir: Path) -> None:
    """Raise ValueError for words that the command does not accept."""
    if len(experiments) > 1:
        raise ValueError(f"{command} takes one experiment, not {' '.join(experiments)}")
    accepted = ("fail_fast=", "hydra/", "hydra.") if command in ("resume", "retry") else ()
    if refused := [word for word in settings if not word.startswith(accepted)]:
        raise ValueError(
            f"{command} does not accept {refused[0]}; the settings of each cell are in {results_dir / ledger.FILE}"
        )
    known = {e.experiment for e in ledger.read_entries(results_dir)} if experiments else set()
    if experiments and experiments[0] not in known:
        names = ", ".join(sorted(filter(None, known))) or "none yet"
        raise ValueError(
            f"no cell of {experiments[0]} was requested in {results_dir}; there are cells of {names}"
        )
