"""status, pending, resume and retry: the state of each cell of simulated folders, and which cells are run."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import toy_cells

from cme.records import RunState, write_record
from experiments.__main__ import main
from experiments.config import composition
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import cell, preparation
from experiments.sweep import launchers, ledger, runner, status
from experiments.sweep.ledger import Entry

TRUST = "trusted_packages=[toy_cells]"
HOLD = (
    "import sys\nfrom pathlib import Path\nfrom experiments.run import cell\n"
    "with cell.run_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
)


def enrolled(root: Path, name: str, experiment: str | None = None, **met: str) -> Path:
    ledger.add_entries(root, [Entry(name, "miniature", experiment, [f"generator={name} x"], met)])
    return root / name


def put(folder: Path, known: RunState) -> None:
    write_record(folder / "state.json", known)
    if known.record is not None:
        (folder / known.record).touch()


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A cell in each state, of two experiments."""
    put(enrolled(tmp_path, "complete", "rewards"), RunState("done", 1, record="record.json"))
    put(enrolled(tmp_path, "unscored", "rewards"), RunState("done", 1, record="record.json", unscored=3))
    put(enrolled(tmp_path, "gone", "rewards"), RunState("done", 1, record="record.json"))
    (tmp_path / "gone" / "record.json").unlink()
    put(enrolled(tmp_path, "broken", "rewards"), RunState("failed", 2, reason="OutOfMemoryError: no"))
    killed = enrolled(tmp_path, "killed", "rewards")
    put(killed, RunState("running", 1, owner="process 1 on there"))
    cell.report_progress(killed, "judging")
    put(enrolled(tmp_path, "stopped", "math"), RunState("interrupted", 1, reason="interrupted by SIGTERM"))
    enrolled(tmp_path, "untouched", "math")
    met = RunState("done", 1, record="record.json", comparators={"instruct": "x"})
    put(enrolled(tmp_path, "met", None, instruct="x"), met)
    put(enrolled(tmp_path, "unmet", None, instruct="y"), met)
    return tmp_path


def test_every_cell_is_in_its_state(sweep: Path) -> None:
    assert {cell.entry.run_id: cell.state for cell in status.scan_cells(sweep)} == {
        "complete": "done",
        "unscored": "pending",
        "gone": "pending",
        "broken": "failed",
        "killed": "interrupted",
        "stopped": "interrupted",
        "untouched": "pending",
        "met": "done",
        "unmet": "pending",
    }
    assert [cell.entry.run_id for cell in status.scan_cells(sweep, "math")] == ["stopped", "untouched"]


def test_the_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", f"results_dir={sweep}"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "experiment  scale      done  running  interrupted  failed  pending  all",
        "rewards     miniature     1        0            1       1        2    5",
        "math        miniature     0        0            1       0        1    2",
        "(none)      miniature     1        0            0       0        1    2",
        "all                       2        0            2       1        4    9",
        "",
        "interrupted (2):",
        "  killed  generator=killed x  its process was killed while judging",
        "  stopped  generator=stopped x  interrupted by SIGTERM",
        "",
        "failed (1):",
        "  broken  generator=broken x  OutOfMemoryError: no (attempt 2)",
        "",
        "pending (4, 2 not listed):",
        "  unscored  generator=unscored x  3 unscored verdicts",
        "  unmet  generator=unmet x  has pending comparators",
    ]


def test_a_running_cell_shows_step_rate_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = enrolled(tmp_path, "busy")
    put(folder, RunState("running", 1, owner="process 7 on here"))
    cell.report_progress(folder, "training", 40, 60, 12.5)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=composition.CONF.parent,
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    main(["status", f"results_dir={tmp_path}"])
    # 20 steps of 12.5 s
    line = "training, step 40 of 60, 12.5 s per step, 4 min 10 s of training left, process 7 on here"
    assert capsys.readouterr().out.splitlines()[-2:] == ["running (1):", f"  busy  {line}"]
    holder.communicate()
    main(["status", f"results_dir={tmp_path}"])
    assert capsys.readouterr().out.splitlines()[-1] == "  busy  its process was killed at step 40 of 60"


def test_pending_prints_commands_for_a_shell(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pending", f"results_dir={sweep}"]) == 0
    printed = capsys.readouterr()
    names = ["unscored", "gone", "killed", "stopped", "untouched", "unmet"]
    assert [shlex.split(line) for line in printed.out.splitlines()] == [
        ["python", "run.py", f"generator={name} x", f"results_dir={sweep}"] for name in names
    ]
    assert printed.err.startswith("1 failed")
    main(["pending", "math", f"results_dir={sweep}"])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_many_are_counted_and_twenty_listed(tmp_path: Path) -> None:
    for number in range(25):
        put(enrolled(tmp_path, f"run-{number}"), RunState("failed", 1, reason="no"))
    found = status.status_lines(tmp_path, None)
    assert "failed (25, 5 not listed (--all)):" in found
    assert len(found) == 2 + 2 + 20
    assert len(status.status_lines(tmp_path, None, listed=None)) == 2 + 2 + 25


def test_a_run_without_a_state_file_is_in_the_state_of_its_record(tmp_path: Path) -> None:
    reference = sorted(
        (composition.CONF.parent / "results" / "reference" / "miniature").glob("*.record.json")
    )[0]
    folder = enrolled(tmp_path, "old")
    folder.mkdir()
    (folder / "record.json").write_bytes(reference.read_bytes())
    [found] = status.scan_cells(tmp_path)
    assert found.state == "done"
    text = (folder / "record.json").read_text()
    verdict = '"outcome":"first","reason":null'
    assert verdict in text
    (folder / "record.json").write_text(text.replace(verdict, '"outcome":"unscored","reason":"down"', 1))
    [found] = status.scan_cells(tmp_path)
    assert found.state == "pending" and found.known is not None and found.known.unscored == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["status", "rewrds"], "rewrds"),
        (["status", "math", "rewards"], "one experiment"),
        (["resume", "seed=1"], "seed=1"),
        (["status", "fail_fast=true"], "fail_fast=true"),
        (["status", "results_dir="], "results_dir is empty"),
        *(
            ([command, "results_dir=nowhere"], "nowhere does not exist")
            for command in ("resume", "retry", "pending")
        ),
    ],
)
def test_an_unknown_word_is_one_sentence(
    sweep: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    assert main([words[0], f"results_dir={sweep}", *words[1:]]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert named in printed.err


@pytest.fixture
def add_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds toy cells to the ledger; nothing needs preparation."""
    monkeypatch.setattr(preparation, "prepare", lambda runs: None)

    def add(*overrides: str) -> None:
        line = ["-m", f"results_dir={tmp_path}", *toy_cells.OVERRIDES, *overrides]
        runner.add_to_ledger(composition.compose_cells(line))

    return add


def states(root: Path) -> dict[str, str]:
    """The states of the cells by the last word of their command lines."""
    return {cell.entry.overrides[-1]: cell.state for cell in status.scan_cells(root)}


def test_resume_runs_pending_cells_and_retry_failed_ones(
    tmp_path: Path, add_cells: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    add_cells("seed=0,1,2")
    where = [f"results_dir={tmp_path}", TRUST]
    assert set(states(tmp_path).values()) == {"pending"}
    assert main(["resume", *where]) == 75
    assert states(tmp_path) == {"seed=0": "done", "seed=1": "failed", "seed=2": "interrupted"}
    capsys.readouterr()
    (tmp_path / "mended").touch()
    assert main(["retry", *where]) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("failed before: KeyError: 'a bug'")
    assert states(tmp_path) == {"seed=0": "done", "seed=1": "done", "seed=2": "interrupted"}
    assert main(["resume", *where]) == 0
    assert set(states(tmp_path).values()) == {"done"}
    attempts = {p.parent.name.split("-s")[-1][0]: len(p.read_text().split()) for p in tmp_path.glob("*/ran")}
    assert attempts == {"0": 1, "1": 2, "2": 2}
    capsys.readouterr()
    for command, states_of_it in (("resume", "pending or interrupted"), ("retry", "failed")):
        assert main([command, *where]) == 0
        said = f"nothing to {command} in {tmp_path}: no cell is {states_of_it}\n"
        assert capsys.readouterr() == ("", said)


def test_resume_says_that_failed_cells_are_left_out(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(entries: Iterable[Entry], *_: object) -> int:
        return 0 * len(list(entries))

    monkeypatch.setattr(runner, "run_entries", read)
    assert main(["resume", f"results_dir={sweep}"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "1 failed cells are left out; `retry` runs them"


def test_fail_fast_leaves_the_rest_pending(tmp_path: Path, add_cells: Callable[..., None]) -> None:
    add_cells("seed=1,0")
    assert main(["resume", f"results_dir={tmp_path}", TRUST, "fail_fast=True"]) == 1
    assert [cell.state for cell in status.scan_cells(tmp_path)] == ["failed", "pending"]


def test_a_cell_that_cannot_run_does_not_keep_the_others_of_its_batch_from_running(
    tmp_path: Path,
    add_cells: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One whose command line gives another run now, one that does not compose, and one that cannot be prepared."""

    def prepare(runs: list[Run]) -> None:
        if any(run.seed == 5 for run in runs):
            raise BadConfig("seed=5 asks for more prompts than there are")

    monkeypatch.setattr(preparation, "prepare", prepare)
    monkeypatch.setattr(launchers, "_complete_settings", lambda settings, cell: [])  # a batch in this process
    ledger.add_entries(tmp_path, [Entry("renamed", "miniature", None, [*toy_cells.OVERRIDES])])
    ledger.add_entries(tmp_path, [Entry("misspelled", "miniature", None, ["rewrd=cme"])])
    add_cells("seed=5,0,7")
    assert main(["resume", f"results_dir={tmp_path}", TRUST, "hydra/launcher=local"]) == 1
    found = [cell.state for cell in status.scan_cells(tmp_path)]
    assert found == ["pending", "pending", "pending", "done", "done"]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 3
    assert "renamed: its command line now gives miniature-qwen" in lines[0]
    assert "misspelled: rewrd" in lines[1] and "-s5-" in lines[2]


@pytest.mark.parametrize("spelling", ["./runs/", "{here}/it's elsewhere, now"])
def test_a_results_dir_may_be_spelled_otherwise_or_moved(
    tmp_path: Path,
    add_cells: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spelling: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    add_cells("results_dir=runs")
    assert "results_dir" not in Path("runs/cells.jsonl").read_text()
    where = spelling.format(here=tmp_path)
    if "elsewhere" in where:
        Path("runs").rename(where)
    assert main(["pending", f"results_dir={where}", TRUST]) == 0
    [command] = capsys.readouterr().out.splitlines()
    [config] = composition.compose_cells(shlex.split(command)[2:])
    assert Path(config.results_dir) == Path(where)
    assert main(["resume", f"results_dir={where}", TRUST]) == 0
    assert [cell.state for cell in status.scan_cells(Path(where))] == ["done"]
