"""Run cells through a launcher, in whatever processes; their states say afterwards how they ended."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from cme import Unavailable
from cme.runtime import signals
from experiments.config import composition, identity, schema
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.plan import plan
from experiments.run import cell, preparation, state
from experiments.sweep import launchers, ledger, report
from experiments.sweep.ledger import Entry

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, os.EX_TEMPFAIL
"""Exit codes. After INTERRUPTED everything is saved, and the same command continues."""
COMMAND_FIELDS = ("plan", "fail_fast", "results_dir")
"""Fields that say how and where a command runs; the ledger leaves them out."""
SHOWN = 20
"""Largest number of error lines; `status` lists all."""


@signals.handle_signals()
def main(arguments: list[str]) -> int:
    """Run the cells of a command line of `run.py`; return the exit code."""
    try:
        launchers.check_launcher(arguments)
        runs = composition.compose_cells(arguments)
        if any(run.plan for run in runs):
            print("\n".join(plan.lines(runs)))
            return DONE
        preparation.prepare(runs)
        add_to_ledger(runs)
        pending = [c for c in runs if not _skipped(c)]
        code, _ = run_cells([c.overrides for c in pending], [_folder(c) for c in pending], arguments)
        if code != INTERRUPTED:
            report.print_report(runs)
    except (ValueError, Unavailable) as error:  # BadConfig, and a record that cannot be read
        print_errors(str(error).splitlines())
        return REFUSED
    except KeyboardInterrupt:
        return _interrupted()
    return code


@signals.handle_signals()
def run_entries(entries: Iterable[Entry], results_dir: Path, arguments: list[str]) -> int:
    """Run cells of the ledger; return the exit code. `arguments` may name a launcher and fail_fast=true.

    A cell is composed only when its turn comes, or that of its batch with a launcher. A cell that cannot run is
    reported and the others run.
    """
    codes = []
    overrides = [a for a in composition.without_hydra_overrides(arguments) if not a.startswith("-")]
    size = 1 if launchers.launcher_name(arguments) is None else launchers.BATCH
    remaining = iter(entries)
    while batch := list(islice(remaining, size)):
        try:
            ready, errors = _ready(batch, results_dir)
        except KeyboardInterrupt:
            return _interrupted()
        if errors:
            print_errors(errors)
            codes.append(FAILED)
        cells = [[*entry.words(results_dir), *overrides] for entry in ready]
        code, stopped = run_cells(cells, [results_dir / entry.run_id for entry in ready], arguments)
        codes.append(code)
        if stopped or code == INTERRUPTED:
            break
    return next((code for code in (INTERRUPTED, FAILED) if code in codes), DONE)


def _ready(batch: Sequence[Entry], results_dir: Path) -> tuple[Sequence[Entry], list[str]]:
    """Those entries that can be run, with what they need there, and why the others cannot."""
    found: list[tuple[Entry, Run]] = []
    why: list[str] = []
    for entry in batch:
        try:
            found.append((entry, _compose(entry, results_dir)))
        except ValueError as error:
            why += [f"{entry.run_id}: {line}" for line in str(error).splitlines()]
    ready = [entry for entry, _ in found]
    try:
        preparation.prepare([config for _, config in found])
    except Unavailable as error:
        return [], [*why, *str(error).splitlines()]
    except ValueError as error:  # of one of them
        if len(ready) == 1:
            return [], [*why, *(f"{ready[0].run_id}: {line}" for line in str(error).splitlines())]
        each = [_ready([entry], results_dir) for entry in ready]
        return [e for one, _ in each for e in one], [*why, *(line for _, lines in each for line in lines)]
    return ready, why


def run_cells(
    cells: Sequence[Sequence[str]], folders: Sequence[Path], arguments: list[str]
) -> tuple[int, bool]:
    """Run cells, given by their overrides, through the launcher of the command line.

    Prints one line per failed cell; the state in a run's folder says how it ended, wherever it ran. Returns the exit
    code, and whether fail_fast stopped the sweep.
    """
    interrupted = stopped = False
    errors = []
    try:
        launchers.launch(cells, arguments, cell.run)
    except KeyboardInterrupt:
        interrupted = True
    except cell.SweepStopped:
        stopped = True
        errors.append("fail_fast=true: stopped at the first cell that failed; repeat the command to continue")
    except RuntimeError as error:  # a cell that could not be composed, or a process that was lost
        errors.append(str(error).splitlines()[0])
    counts = Counter[str]()
    for folder in folders:
        known = state.current_state(folder)
        counts[known.state if known else "pending"] += 1
        if known is not None and known.state == "failed":
            errors.append(f"{folder.name}: {known.reason}")
        elif known is not None and known.state == "interrupted":
            print(f"{folder.name}: {known.reason}; repeat the command to continue", file=sys.stderr)
    lost = counts["pending"] + counts["running"]
    if lost and not interrupted and not errors:
        errors.append(f"{lost} cells did not end; repeat the command to continue")
    print_errors(errors)
    if interrupted or (counts["interrupted"] and not errors):
        return _interrupted(f": {', '.join(f'{n} {name}' for name, n in counts.most_common())}"), stopped
    return FAILED if errors else DONE, stopped


def add_to_ledger(runs: Sequence[Run]) -> None:
    """Add cells to the ledgers of their results folders. Raises as `ledger.add_entries` does."""
    for root in {str(c.results_dir): None for c in runs}:
        ledger.add_entries(Path(root), (entry_of(c) for c in runs if str(c.results_dir) == root))


def entry_of(run: Run) -> Entry:
    """The ledger's entry of a cell."""
    words = [w for w in run.overrides if w.lstrip("+").split("=")[0] not in COMMAND_FIELDS]
    met = identity.comparators(run) if run.experiment.run == schema.Experiment.run else {}
    return Entry(_folder(run).name, run.scale.name, run.experiment.name, words, met)


def print_errors(lines: Sequence[str]) -> None:
    """Print errors on stderr, at most SHOWN lines."""
    for line in lines[:SHOWN]:
        print(f"error: {line}", file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"error: and {len(lines) - SHOWN} more; python -m experiments status --all", file=sys.stderr)


def _interrupted(how: str = "") -> int:
    print(f"interrupted{how}; repeat the command to continue", file=sys.stderr)
    return INTERRUPTED


def _compose(entry: Entry, results_dir: Path) -> Run:
    [found] = composition.compose_cells(entry.words(results_dir))
    if _folder(found).name != entry.run_id:
        raise BadConfig(
            f"its command line now gives {_folder(found).name}, since the configuration has changed; run that with "
            "run.py"
        )
    return found


def _folder(run: Run) -> Path:
    return cell.record_path(run).parent


def _skipped(run: Run) -> bool:
    """Whether a training run is done, which is printed; other experiments print their earlier results themselves."""
    if run.experiment.run != schema.Experiment.run or not cell.is_done(run):
        return False
    print(f"{_folder(run).name}: done before, skipped", file=sys.stderr)
    return True
