"""`cme status`, `pending`, `resume` and `retry`: the cells of a results folder, and running those that are not done."""

import argparse
import os
import shlex
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cme.records import RunState
from cme.runtime import shipped
from cme.runtime.terminal import align_columns, plain
from experiments.config.composition import differing_words
from experiments.run.cell import current_state, last_progress
from experiments.sweep import ledger
from experiments.sweep.ledger import Entry

DESCRIPTIONS = {
    "status": "Count the cells that are done, running, interrupted, failed and pending, and list those not done.",
    "pending": "Print the command lines of the cells that are pending or were interrupted, one per line, for a shell.",
    "resume": "Run the cells that are pending or were interrupted. A cell is composed when its turn comes.",
    "retry": "Run the cells that failed, and print the reason of each failure.",
}
STATES = ("done", "running", "interrupted", "failed", "pending")
LISTED = 20
"""Number of cells of each state that `status` lists without --all."""
INTERVAL = 5.0
"""Seconds between two reports of --watch."""


@dataclass(frozen=True)
class CellStatus:
    """A cell of the ledger, which of STATES it is in, and the state that its run last recorded, if any."""

    entry: Entry
    state: str
    known: RunState | None


def main(command: str, arguments: Sequence[str], prog: str) -> int:
    """Run one of the commands of DESCRIPTIONS; returns its exit code. Raises ValueError for words that it refuses."""
    options = _parser(command, prog).parse_intermixed_args(arguments)
    folders = [word.partition("=")[2] for word in options.words if word.startswith("results_dir=")]
    settings = [word for word in options.words if "=" in word and not word.startswith("results_dir=")]
    experiments = [word for word in options.words if "=" not in word]
    results_dir = Path(folders[-1] if folders else "results/runs")
    if folders and not folders[-1].strip():
        raise ValueError("results_dir is empty; it must be a folder, such as results_dir=results/runs")
    _check(command, experiments, settings, results_dir)
    experiment = experiments[0] if experiments else None
    if command in ("resume", "retry"):
        return _run_again(command, results_dir, experiment, settings, options.allow_host)
    if command == "pending":
        _print_pending(results_dir, experiment, settings)
        return 0
    while True:
        shown = plain("\n".join(status_lines(results_dir, experiment, None if options.all else LISTED)))
        if options.watch is None:
            print(shown)
            return 0
        print(f"\033[H\033[2J{time.strftime('%H:%M:%S')}\n{shown}", flush=True)
        time.sleep(options.watch)


def _parser(command: str, prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=DESCRIPTIONS[command])
    words = "EXPERIMENT: only the cells of this experiment; results_dir=DIR: folder of the runs (default: results/runs)"
    if command != "status":
        words += "; trusted_packages=[NAME]: packages other than cme whose callables the cells use"
    if command in ("resume", "retry"):
        words += "; fail_fast=true: stop at the first failure; hydra/launcher=NAME and its settings"
    parser.add_argument("words", nargs="*", metavar="EXPERIMENT | KEY=VALUE", help=words)
    if command in ("resume", "retry"):
        parser.add_argument(
            "--allow-host",
            action="append",
            default=[],
            metavar="HOST",
            help="a server, besides this machine and those of conf/judge, that cells may send to; repeatable",
        )
    if command == "status":
        parser.add_argument("--all", action="store_true", help=f"list every cell, not {LISTED} per state")
        interval = f"repeat (default: every {INTERVAL:g} s)"
        parser.add_argument(
            "--watch", nargs="?", type=_interval, const=INTERVAL, metavar="SECONDS", help=interval
        )
    return parser


def _interval(text: str) -> float:
    if not 0 < (seconds := float(text)) <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text} seconds; they must be above 0 and finite")
    return seconds


def _check(command: str, experiments: Sequence[str], settings: Sequence[str], results_dir: Path) -> None:
    """Raise ValueError for words that the command does not accept."""
    if len(experiments) > 1:
        raise ValueError(f"{command} takes one experiment, not {' '.join(experiments)}")
    accepted: tuple[str, ...] = () if command == "status" else ("trusted_packages=",)
    if command in ("resume", "retry"):
        accepted += ("fail_fast=", "hydra/", "hydra.")
    if refused := [word for word in settings if not word.startswith(accepted)]:
        raise ValueError(
            f"{command} does not accept {refused[0]}; the settings of each cell are in {results_dir / ledger.FILE}"
        )
    if command != "status" and not results_dir.exists():
        raise ValueError(f"{results_dir} does not exist; give the folder of the runs as results_dir=DIR")
    known = {e.experiment for e in ledger.read_entries(results_dir)} if experiments else set()
    if experiments and experiments[0] not in known:
        names = ", ".join(sorted(filter(None, known))) or "no experiment"
        raise ValueError(
            f"no cell of {experiments[0]} was requested in {results_dir}; it has cells of {names}"
        )


def scan_cells(results_dir: Path, experiment: str | None = None) -> Iterator[CellStatus]:
    """Every cell of the ledger once, one at a time; of one experiment, or of all.

    Raises ValueError for a ledger or a record that cannot be read.
    """
    present = {e.name for e in os.scandir(results_dir)} if results_dir.exists() else set()
    seen: set[tuple[object, ...]] = set()
    for entry in ledger.read_entries(results_dir):
        key = replace(entry, experiment=None).key  # a run counts once, whichever experiments request it
        if key in seen or experiment not in (None, entry.experiment):
            continue
        seen.add(key)
        known = current_state(results_dir / entry.run_id) if entry.run_id in present else None
        name = "pending" if known is None else known.state
        if known is not None and known.state == "done":
            compared = entry.comparators.items() <= known.comparators.items()
            name = "done" if compared and not known.unscored else "pending"
        yield CellStatus(entry, name, known)


def status_lines(results_dir: Path, experiment: str | None, listed: int | None = LISTED) -> list[str]:
    """The counts of cells by experiment, then one line per cell that has started and is not done.

    At most `listed` cells of each state are listed; None lists all.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    rows: dict[str, list[CellStatus]] = {state: [] for state in STATES}
    for cell in scan_cells(results_dir, experiment):
        group = (cell.entry.experiment or "(none)", cell.entry.scale)
        counts.setdefault(group, Counter())[cell.state] += 1
        shown = rows[cell.state]
        if cell.known is not None and cell.state != "done" and (listed is None or len(shown) < listed):
            shown.append(cell)
    if not counts:
        return [f"no cell{'' if experiment is None else f' of {experiment}'} was requested in {results_dir}"]
    total = sum(counts.values(), Counter[str]())
    groups = counts | ({("all", ""): total} if len(counts) > 1 else {})
    table: list[tuple[str, ...]] = [("experiment", "scale", *STATES, "all")]
    table += [
        (*group, *(str(count[s]) for s in STATES), str(count.total())) for group, count in groups.items()
    ]
    lines = align_columns(table, left=2)
    all_shown = [cell for cells in rows.values() for cell in cells]
    differing = iter(differing_words([cell.entry.overrides for cell in all_shown]))
    for name in STATES:
        if rows[name]:
            more = total[name] - len(rows[name])
            rest = f", {more} not listed{'' if name == 'pending' else ' (--all)'}" if more else ""
            lines += ["", f"{name} ({total[name]}{rest}):"]
            for cell in rows[name]:
                words = (cell.entry.run_id, next(differing), _describe(cell, results_dir))
                lines.append(f"  {'  '.join(filter(None, words))}")
    return lines


def _describe(cell: CellStatus, results_dir: Path) -> str:
    """One line on a started cell: its progress, what is pending, or why it ended."""
    known = cell.known
    assert known is not None
    if cell.state == "pending":
        return f"{known.unscored} unscored verdicts" if known.unscored else "has pending comparators"
    if cell.state != "running":
        return f"{known.reason}{f' (attempt {known.attempts})' if known.attempts > 1 else ''}"
    progress = last_progress(results_dir / cell.entry.run_id)
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


def _print_pending(results_dir: Path, experiment: str | None, settings: Sequence[str]) -> None:
    failed = 0
    for cell in scan_cells(results_dir, experiment):
        failed += cell.state == "failed"
        if cell.state in ("pending", "interrupted"):
            print(f"{shipped.RUN} {shlex.join([*cell.entry.words(results_dir), *settings])}")
    if failed:
        print(f"{failed} failed cells are not listed; `retry` runs them", file=sys.stderr)


def _run_again(
    command: str, results_dir: Path, experiment: str | None, settings: list[str], hosts: Sequence[str]
) -> int:
    from experiments.sweep import launchers, runner

    arguments = ["-m", *settings]  # a sweep, however many cells it has
    launchers.check_launcher(arguments)
    chosen_states = ("failed",) if command == "retry" else ("pending", "interrupted")
    counts = Counter[str]()

    def entries() -> Iterator[Entry]:
        for cell in scan_cells(results_dir, experiment):
            counts[cell.state] += 1
            if cell.state not in chosen_states:
                continue
            if cell.known is not None:
                reason = _describe(cell, results_dir)
                print(plain(f"{cell.entry.run_id}: {cell.state} before: {reason}"), file=sys.stderr)
            yield cell.entry

    code = runner.run_entries(entries(), results_dir, arguments, hosts)
    if not any(counts[state] for state in chosen_states):
        print(
            f"nothing to {command} in {results_dir}: no cell is {' or '.join(chosen_states)}", file=sys.stderr
        )
    if command == "resume" and counts["failed"]:
        print(f"{counts['failed']} failed cells are left out; `retry` runs them", file=sys.stderr)
    return code
