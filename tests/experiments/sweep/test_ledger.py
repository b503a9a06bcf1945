"""cells.jsonl has each requested cell once, with a command line that runs it alone."""

import json
import multiprocessing
from pathlib import Path

import pytest

from experiments.config import composition
from experiments.sweep import ledger, runner
from experiments.sweep.ledger import Entry


def entry(number: int, experiment: str | None = None, **comparators: str) -> Entry:
    return Entry(f"run-{number}", "miniature", experiment, [f"seed={number}"], comparators)


def test_a_cell_is_there_once_by_run_experiment_and_comparators(tmp_path: Path) -> None:
    requested = [entry(1), entry(2), entry(1, "rewards"), entry(1, None, instruct="x")]
    ledger.add_entries(tmp_path, requested[:2])
    ledger.add_entries(tmp_path, [*requested, *requested])
    assert list(ledger.read_entries(tmp_path)) == requested


@pytest.mark.parametrize(("torn", "before"), [('{"run_id": "ru', 1), ("x" * 10_000, 1), ("{", 0)])
def test_an_incomplete_last_line_is_replaced(tmp_path: Path, torn: str, before: int) -> None:
    ledger.add_entries(tmp_path, [entry(1)][:before])
    with (tmp_path / "cells.jsonl").open("a") as file:
        file.write(torn)
    assert list(ledger.read_entries(tmp_path)) == [entry(1)][:before]
    ledger.add_entries(tmp_path, [entry(1), entry(2)])
    assert [json.loads(line)["run_id"] for line in (tmp_path / "cells.jsonl").open()] == ["run-1", "run-2"]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    ledger.add_entries(tmp_path, [entry(1)])
    with (tmp_path / "cells.jsonl").open("a") as file:
        file.write('{"run": 1}\n')
    with pytest.raises(ValueError, match=r"cells\.jsonl, line 2 is not a cell"):
        ledger.add_entries(tmp_path, [entry(2)])


def _add_entries(where: Path, first: int) -> None:
    for number in range(first, first + 40):
        ledger.add_entries(where, [entry(number), entry(number + 1)])


def test_concurrent_processes_write_each_cell_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_add_entries, args=(tmp_path, first)) for first in (0, 20, 0)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    names = [e.run_id for e in ledger.read_entries(tmp_path)]
    assert sorted(names) == sorted({f"run-{n}" for n in range(61)})


def test_the_command_line_of_an_entry_composes_its_cell_alone(tmp_path: Path) -> None:
    line = ["-m", "experiment=kl_beta", "reward=cme", "seed=0,1", f"results_dir={tmp_path}", "fail_fast=true"]
    cells = composition.compose_cells(line)
    entries = [runner.entry_of(cell) for cell in cells]
    assert len({e.run_id for e in entries}) == len(cells) == 4
    assert {e.experiment for e in entries} == {"kl_beta"}
    for cell, one in zip(cells, entries, strict=True):
        assert not any(w.startswith(("-", "hydra", "fail_fast")) or "," in w for w in one.overrides)
        [alone] = composition.compose_cells(one.words(tmp_path))
        assert alone.run_id == cell.run_id == one.run_id
        assert alone.results_dir == str(tmp_path)
