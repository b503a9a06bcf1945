"""status, pending, resume and retry on simulated folders: what is said of each cell, and which are run."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_cells

from cme.records import Progress, RunState, write_record
from experiments.__main__ import main
from experiments.config import composition
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import preparation, state
from experiments.sweep import launchers, ledger, runner, status
from experiments.sweep.ledger import Entry

HOLD = (
    "import sys\nfrom pathlib import Path\nfrom experiments.run import state\n"
    "with state.run_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
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
    put(enrolled(tmp_path, "whole", "rewards"), RunState("done", 1, record="record.json"))
    put(enrolled(tmp_path, "unscored", "rewards"), RunState("done", 1, record="record.json", unscored=3))
    put(enrolled(tmp_path, "gone", "rewards"), RunState("done", 1, record="record.json"))
    (tmp_path / "gone" / "record.json").unlink()
    put(enrolled(tmp_path, "broken", "rewards"), RunState("failed", 2, reason="OutOfMemoryError: no"))
    killed = enrolled(tmp_path, "killed", "rewards")
    put(killed, RunState("running", 1, owner="process 1 on there"))
    state.report_progress(killed, Progress("judging"))
    put(enrolled(tmp_path, "stopped", "math"), RunState("interrupted", 1, reason="interrupted by SIGTERM"))
    enrolled(tmp_path, "untouched", "math")
    met = RunState("done", 1, record="record.json", comparators={"instruct": "x"})
    put(enrolled(tmp_path, "met", None, instruct="x"), met)
    put(enrolled(tmp_path, "unmet", None, instruct="y"), met)
    return tmp_path


def test_every_cell_is_in_its_state(sweep: Path) -> None:
    assert {cell.entry.run_id: cell.state for cell in status.scan_cells(sweep)} == {
        "whole": "done",
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
        "  killed  its process was killed while judging",
        "  stopped  interrupted by SIGTERM",
        "",
        "failed (1):",
        "  broken  OutOfMemoryError: no (attempt 2)",
        "",
        "pending (4, 2 not listed):",
        "  unscored  3 unscored verdicts",
        "  unmet  has pending comparators",
    ]


def test_a_running_cell_tells_step_rate_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = enrolled(tmp_path, "busy")
    put(folder, RunState("running", 1, owner="process 7 on here"))
    state.report_progress(folder, Progress("training", 40, 60, 12.5))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=composition.CONF.parent,
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    main(["status", f"results_dir={tmp_path}"])
    # 20 steps of 12.5 s
    told = "training, step 40 of 60, 12.5 s per step, 4 min 10 s of training left, process 7 on here"
    assert capsys.readouterr().out.splitlines()[-2:] == ["running (1):", f"  busy  {told}"]
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


def test_a_run_from_before_there_were_states_is_read_off_its_record(tmp_path: Path) -> None:
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
    ],
)
def test_what_it_does_not_know_is_one_sentence(
    sweep: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    assert main([*words, f"results_dir={sweep}"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert named in said.err


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, str]]:
    """Three toy cells in the ledger, none begun; gives their states by seed."""
    monkeypatch.setattr(preparation, "prepare", lambda configs: None)
    runner.add_to_ledger(
        composition.compose_cells(
            [
                "-m",
                f"results_dir={tmp_path}",
                *toy_cells.OVERRIDES,
                "seed=0,1,2",
            ]
        )
    )

    def states() -> dict[str, str]:
        return {cell.entry.overrides[-1]: cell.state for cell in status.scan_cells(tmp_path)}

    return states


def test_resume_runs_what_is_pending_and_retry_what_failed(
    tmp_path: Path, toys: Callable[[], dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"results_dir={tmp_path}"
    assert set(toys().values()) == {"pending"}
    assert main(["resume", where]) == 75
    assert toys() == {"seed=0": "done", "seed=1": "failed", "seed=2": "interrupted"}
    capsys.readouterr()
    (tmp_path / "mended").touch()
    assert main(["retry", where]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].endswith("failed before: KeyError: 'a bug'")
    assert toys() == {"seed=0": "done", "seed=1": "done", "seed=2": "interrupted"}
    assert main(["resume", where]) == 0
    assert set(toys().values()) == {"done"}
    ran = {p.parent.name.split("-s")[-1][0]: len(p.read_text().split()) for p in tmp_path.glob("*/ran")}
    assert ran == {"0": 1, "1": 2, "2": 2}
    assert main(["resume", where]) == 0, "nothing is left"


@pytest.mark.parametrize("said", ["true", "True", "1"])
def test_fail_fast_leaves_the_rest_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(preparation, "prepare", lambda configs: None)
    runner.add_to_ledger(
        composition.compose_cells(
            [
                "-m",
                f"results_dir={tmp_path}",
                *toy_cells.OVERRIDES,
                "seed=1,0",
            ]
        )
    )
    assert main(["resume", f"results_dir={tmp_path}", f"fail_fast={said}"]) == 1
    assert [cell.state for cell in status.scan_cells(tmp_path)] == ["failed", "pending"]


def test_a_cell_whose_words_have_come_to_mean_another_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preparation, "prepare", lambda configs: None)
    words = [f"results_dir={tmp_path}", *toy_cells.OVERRIDES]
    ledger.add_entries(tmp_path, [Entry("of-another-time", "miniature", None, words)])
    assert main(["resume", f"results_dir={tmp_path}"]) == 1
    assert "of-another-time: its command line now gives miniature-qwen" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/ran"))


def test_cells_that_cannot_be_run_keep_none_of_their_batch_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(configs: list[Run]) -> None:
        if any(config.seed == 5 for config in configs):
            raise BadConfig("seed=5 asks for more prompts than there are")

    monkeypatch.setattr(preparation, "prepare", prepare)
    monkeypatch.setattr(launchers, "_complete_settings", lambda own, cell: [])  # a batch, run in this process
    words = [*toy_cells.OVERRIDES]
    ledger.add_entries(tmp_path, [Entry("of-another-time", "miniature", None, words)])
    ledger.add_entries(tmp_path, [Entry("of-no-time", "miniature", None, ["rewrd=cme"])])
    runner.add_to_ledger(composition.compose_cells(["-m", f"results_dir={tmp_path}", *words, "seed=5,0,7"]))
    assert main(["resume", f"results_dir={tmp_path}", "hydra/launcher=local"]) == 1
    assert [cell.state for cell in status.scan_cells(tmp_path)] == [
        "pending",
        "pending",
        "pending",
        "done",
        "done",
    ]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert (
        len(said) == 3
        and "of-another-time" in said[0]
        and "of-no-time: rewrd" in said[1]
        and "-s5-" in said[2]
    )


@pytest.mark.parametrize("spelling", ["runs", "./runs/", "{here}/runs", "{here}/it's elsewhere, now"])
def test_a_results_dir_may_be_spelled_otherwise_or_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spelling: str
) -> None:
    monkeypatch.setattr(preparation, "prepare", lambda configs: None)
    monkeypatch.chdir(tmp_path)
    runner.add_to_ledger(composition.compose_cells(["results_dir=runs", *toy_cells.OVERRIDES]))
    assert "results_dir" not in Path("runs/cells.jsonl").read_text()
    where = spelling.format(here=tmp_path)
    if "elsewhere" in where:
        Path("runs").rename(where)
    assert main(["pending", f"results_dir={where}"]) == 0
    [command] = capsys.readouterr().out.splitlines()
    [config] = composition.compose_cells(shlex.split(command)[2:])
    assert Path(config.results_dir) == Path(where)
    assert main(["resume", f"results_dir={where}"]) == 0
    assert [cell.state for cell in status.scan_cells(Path(where))] == ["done"]
