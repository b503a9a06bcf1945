"""Run cells through a launcher, in any processes. The state in each run's folder records how it ended."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from cme import Unavailable
from cme.runtime import signals
from cme.runtime.command_line import (
    CTRL_C,
    DONE,
    FAILED,
    INTERRUPTED,
    exit_code,
    print_errors,
    report_interruption,
)
from cme.runtime.files import check_links
from cme.runtime.terminal import plain
from experiments.config import composition
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.plan import plan
from experiments.run import cell, preparation
from experiments.run.store import RECORD, Store, trains
from experiments.sweep import foreign, launchers, ledger, report
from experiments.sweep.ledger import Entry

STOPPED = (INTERRUPTED, CTRL_C)
CONTINUE = "; repeat the command to continue"


@signals.handle_signals()
def main(arguments: list[str]) -> int:
    """Run the cells of a command line of `run.py`; return the exit code (`cme.runtime.command_line`)."""
    return exit_code(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    launchers.check_launcher(arguments)
    runs = composition.compose_cells(arguments)
    if any(run.plan for run in runs):
        print("\n".join(plan.lines(runs)))
        return DONE
    plan.announce(runs)
    preparation.prepare(runs)
    add_to_ledger(runs)
    pending = []
    for run, own in zip(runs, composition.differing_words([run.overrides for run in runs]), strict=True):
        # other experiments than training print their earlier results themselves
        if trains(run) and cell.is_done(run):
            print(f"{_label(_folder(run), own)}: done before, skipped", file=sys.stderr)
        else:
            pending.append(run)
    code, _ = run_cells([run.overrides for run in pending], [_folder(run) for run in pending], arguments)
    if code not in STOPPED:
        records = {Store(run).record: run.overrides for run in runs}
        report.print_report(Path(runs[0].results_dir), records)
    return code


@signals.handle_signals()
def run_entries(
    entries: Iterable[Entry], results_dir: Path, arguments: list[str], allowed_hosts: Sequence[str] = ()
) -> int:
    """Run cells of the ledger, and report on them as `main` does; return the exit code.

    `arguments` may name a launcher, fail_fast=true, and the packages to trust, which no ledger can name. Texts are sent
    to the `allowed_hosts` besides those that `experiments.sweep.foreign` accepts.

    A cell is composed only when its turn comes, or that of its batch with a launcher. A cell that cannot run is
    reported, and the others run.
    """
    codes = []
    reported: dict[Path, list[str]] = {}
    overrides = [a for a in composition.without_hydra_overrides(arguments) if not a.startswith("-")]
    size = 1 if launchers.launcher_name(arguments) is None else launchers.BATCH
    check_links(results_dir)
    remaining = iter(entries)
    while batch := list(islice(remaining, size)):
        ready, errors = _prepare_entries(batch, results_dir, overrides, allowed_hosts)
        if errors:
            print_errors(errors)
            codes.append(FAILED)
        cells = [[*entry.words(results_dir), *overrides] for entry in ready]
        code, stopped = run_cells(cells, [results_dir / entry.run_id for entry in ready], arguments)
        codes.append(code)
        reported |= {results_dir / entry.run_id / RECORD: entry.overrides for entry in ready}
        if stopped or code in STOPPED:
            break
    if not set(STOPPED) & set(codes):
        report.print_report(results_dir, reported)
    return next((code for code in (*STOPPED, FAILED) if code in codes), DONE)


def _prepare_entries(
    batch: Sequence[Entry], results_dir: Path, overrides: Sequence[str], allowed_hosts: Sequence[str]
) -> tuple[Sequence[Entry], list[str]]:
    """Compose the entries, with the overrides of the command, and prepare their runs.

    Returns those that can run, and the errors of the others.
    """
    ready: list[Entry] = []
    runs: list[Run] = []
    errors: list[str] = []
    for entry in batch:
        try:
            foreign.check_overrides(entry.overrides)
            [run] = composition.compose_cells([*entry.words(results_dir), *overrides])
            foreign.check_servers(run, allowed_hosts)
            if _folder(run).name != entry.run_id:
                raise BadConfig(
                    f"its command line now gives {_folder(run).name}, since the configuration has changed; run that "
                    "with run.py"
                )
            ready.append(entry)
            runs.append(run)
        except ValueError as error:
            errors += [f"{entry.run_id}: {line}" for line in str(error).splitlines()]
    try:
        plan.announce(runs)
        preparation.prepare(runs)
    except Unavailable as error:
        return [], [*errors, *str(error).splitlines()]
    except ValueError as error:  # of one of the runs
        if len(ready) == 1:
            return [], [*errors, *(f"{ready[0].run_id}: {line}" for line in str(error).splitlines())]
        parts = [_prepare_entries([entry], results_dir, overrides, allowed_hosts) for entry in ready]
        return [e for each, _ in parts for e in each], [*errors, *(e for _, each in parts for e in each)]
    return ready, errors


def run_cells(
    cells: Sequence[Sequence[str]], folders: Sequence[Path], arguments: list[str]
) -> tuple[int, bool]:
    """Run cells, given by their overrides, through the launcher of the command line.

    Prints one line per failed cell. Returns the exit code, and whether fail_fast stopped the sweep.
    """
    interrupted, stopped = None, False
    errors = []
    try:
        launchers.launch(cells, arguments, cell.run)
    except KeyboardInterrupt as stop:
        interrupted = stop
    except cell.SweepStopped:
        stopped = True
        errors.append("fail_fast=true: stopped at the first cell that failed; repeat the command to continue")
    except RuntimeError as error:  # a cell that could not be composed, or a lost process
        errors.append(str(error).splitlines()[0])
    counts = Counter[str]()
    for folder, own in zip(folders, composition.differing_words(cells), strict=True):
        known = cell.current_state(folder)
        counts[known.state if known else "pending"] += 1
        if known is not None and known.state == "failed":
            errors.append(f"{_label(folder, own)}: {known.reason}")
        elif known is not None and known.state == "interrupted":
            print(plain(f"{_label(folder, own)}: {known.reason}{CONTINUE}"), file=sys.stderr)
    lost = counts["pending"] + counts["running"]
    if lost and not interrupted and not errors:
        errors.append(f"{lost} cells did not end; repeat the command to continue")
    print_errors(errors)
    if interrupted or (counts["interrupted"] and not errors):
        summary = ", ".join(f"{n} {name}" for name, n in counts.most_common())
        return report_interruption(interrupted, f": {summary}{CONTINUE}"), stopped
    return FAILED if errors else DONE, stopped


def add_to_ledger(runs: Sequence[Run]) -> None:
    """Add cells to the ledgers of their results folders. Raises as `ledger.add_entries` does."""
    for root in {run.results_dir: None for run in runs}:
        ledger.add_entries(Path(root), (entry_of(run) for run in runs if run.results_dir == root))


def entry_of(run: Run) -> Entry:
    """The ledger's entry of a cell."""
    overrides = [w for w in run.overrides if ledger.field_of(w) not in ledger.COMMAND_FIELDS]
    comparators = run.comparisons if trains(run) else {}
    return Entry(_folder(run).name, run.scale.name, run.experiment.name, overrides, comparators)


def _folder(run: Run) -> Path:
    return cell.record_path(run).parent


def _label(folder: Path, own: str) -> str:
    """What messages call a run of a sweep: its folder, and the overrides that not all cells have."""
    return plain(f"{folder.name} ({own})" if own else folder.name)
