"""Cells, run through a launcher in whatever processes; how they ended is read off their states afterwards."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from omegaconf import DictConfig

from cme import Unavailable
from cme.runtime import signals
from experiments.config import composition, identity, schema
from experiments.config.composition import Cell
from experiments.config.validation import BadConfig
from experiments.plan import plan
from experiments.run import cell, preparation, state
from experiments.sweep import launchers, ledger, report
from experiments.sweep.ledger import Entry

# Exit codes. The last is EX_TEMPFAIL: interrupted with everything saved, and the same command goes on.
DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, os.EX_TEMPFAIL
# Fields that say how and where a command line is run and are no part of what it asks for.
OF_THE_COMMAND = ("plan", "fail_fast", "results_dir")
SHOWN = 20  # lines at most; `status` has them all


@signals.handle_signals()
def main(arguments: list[str]) -> int:
    """Run the cells that a command line of `run.py` asks for; returns the exit code."""
    try:
        launchers.check_launcher(arguments)
        asked = composition.compose_cells(arguments)
        configs = [c.config for c in asked]
        if any(config.plan for config in configs):
            print("\n".join(plan.lines(configs)))
            return DONE
        preparation.prepare(configs)
        add_to_ledger(asked)
        owed = [c for c in asked if not _skipped(c)]
        code, _ = run_cells([c.overrides for c in owed], [_folder(c) for c in owed], arguments)
        if code != INTERRUPTED:
            report.print_report(configs)
    except (ValueError, Unavailable) as error:  # BadConfig, and a record that cannot be read
        print_errors(str(error).splitlines())
        return REFUSED
    except KeyboardInterrupt:
        return _interrupted()
    return code


@signals.handle_signals()
def run_entries(entries: Iterable[Entry], results_dir: Path, arguments: list[str]) -> int:
    """Run cells of the ledger; returns the exit code. `arguments` name a launcher, or fail_fast=true.

    A cell is composed when its turn comes, or that of its batch where a launcher runs many at once. One that cannot be
    run is named, and the others are.
    """
    codes = []
    of_command = [a for a in composition.without_hydra_overrides(arguments) if not a.startswith("-")]
    size = 1 if launchers.launcher_name(arguments) is None else launchers.BATCH
    waiting = iter(entries)
    while batch := list(islice(waiting, size)):
        try:
            ready, why = _ready(batch, results_dir)
        except KeyboardInterrupt:
            return _interrupted()
        if why:
            print_errors(why)
            codes.append(FAILED)
        cells = [[*entry.words(results_dir), *of_command] for entry in ready]
        code, stopped = run_cells(cells, [results_dir / entry.run_id for entry in ready], arguments)
        codes.append(code)
        if stopped or code == INTERRUPTED:
            break
    return next((code for code in (INTERRUPTED, FAILED) if code in codes), DONE)


def _ready(batch: Sequence[Entry], results_dir: Path) -> tuple[Sequence[Entry], list[str]]:
    """Those entries that can be run, with what they need there, and why the others cannot."""
    found: list[tuple[Entry, DictConfig]] = []
    why: list[str] = []
    for entry in batch:
        try:
            found.append((entry, _recomposed(entry, results_dir).config))
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
    """Run cells, each the words that ask for it, through the command line's launcher.

    Returns the exit code, and whether fail_fast ended it at a cell that failed.

    What failed is said, a line each: wherever a cell ran, its state in its run's folder tells.
    """
    interrupted = stopped = False
    complaints = []
    try:
        launchers.launch(cells, arguments, cell.run)
    except KeyboardInterrupt:
        interrupted = True
    except cell.SweepStopped:
        stopped = True
        complaints.append("fail_fast=true: stopped at the first cell that failed; the same command goes on")
    except RuntimeError as error:  # a cell that could not be composed, or a process that was lost
        complaints.append(str(error).splitlines()[0])
    found = Counter[str]()
    for folder in folders:
        known = state.current_state(folder)
        found[known.state if known else "pending"] += 1
        if known is not None and known.state == "failed":
            complaints.append(f"{folder.name}: {known.reason}")
        elif known is not None and known.state == "interrupted":
            print(f"{folder.name}: {known.reason}; the same command goes on", file=sys.stderr)
    lost = found["pending"] + found["running"]
    if lost and not interrupted and not complaints:
        complaints.append(f"{lost} cells did not come to an end; the same command goes on")
    print_errors(complaints)
    if interrupted or (found["interrupted"] and not complaints):
        how = f": {', '.join(f'{n} {name}' for name, n in found.most_common())}"
        return _interrupted(how), stopped
    return FAILED if complaints else DONE, stopped


def add_to_ledger(asked: Sequence[Cell]) -> None:
    """Write down in the ledger of their results_dir what cells were asked for. Raises as `ledger.enrol` does."""
    for root in {str(c.config.results_dir): None for c in asked}:
        ledger.add_entries(Path(root), (entry_of(c) for c in asked if str(c.config.results_dir) == root))


def entry_of(asked: Cell) -> Entry:
    """A cell as the ledger has it."""
    config = asked.config
    words = [w for w in asked.overrides if w.lstrip("+").split("=")[0] not in OF_THE_COMMAND]
    met = identity.comparators(config) if config.experiment.run == schema.Experiment.run else {}
    return Entry(_folder(asked).name, config.scale.name, config.experiment.name, words, met)


def print_errors(lines: Sequence[str]) -> None:
    """Say what went wrong, a line each, the first of very many."""
    for line in lines[:SHOWN]:
        print(f"error: {line}", file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"error: and {len(lines) - SHOWN} more; python -m experiments status --all", file=sys.stderr)


def _interrupted(how: str = "") -> int:
    print(f"interrupted{how}; the same command goes on", file=sys.stderr)
    return INTERRUPTED


def _recomposed(entry: Entry, results_dir: Path) -> Cell:
    [found] = composition.compose_cells(entry.words(results_dir))
    if _folder(found).name != entry.run_id:
        raise BadConfig(
            f"its command line now asks for {_folder(found).name}, since the configuration was changed; ask for "
            "that with run.py"
        )
    return found


def _folder(asked: Cell) -> Path:
    return cell.record_path(asked.config).parent


def _skipped(asked: Cell) -> bool:
    """Whether a run is done, which is said; other experiments than trainings print what they found before."""
    if asked.config.experiment.run != schema.Experiment.run or not cell.is_done(asked.config):
        return False
    print(f"{_folder(asked).name}: done before, skipped", file=sys.stderr)
    return True
