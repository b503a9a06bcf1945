"""How one cell ends, and what is written of it: states, locks, failures, interruptions, two processes at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_cells
from paths import SUPPORT
from small_runs import composed

from cme import Interrupted
from cme.records import Progress, RunState, read_record, write_record
from experiments.config.runs import Run
from experiments.run import cell as cells
from experiments.run import training

ROOT = SUPPORT.parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{SUPPORT}"}


def toy(results: Path, *overrides: str) -> Run:
    return composed([f"results_dir={results}", *toy_cells.OVERRIDES, *overrides])


def begun(config: Run) -> "subprocess.Popen[str]":
    """A process of its own that runs a toy cell."""
    code = (
        "import sys\nfrom experiments.config import composition\nfrom experiments.run import cell\n"
        "[config] = composition.compose_cells(sys.argv[1:])\ncell.run(config)\n"
    )
    words = [f"results_dir={config.results_dir}", *toy_cells.OVERRIDES, f"seed={config.seed}"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT,
    )  # fmt: skip


def until(what: Callable[[], bool]) -> None:
    for _ in range(600):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def test_any_exception_is_the_cells_state_and_the_next_attempt_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy(tmp_path, "seed=1")
    folder = toy_cells.record_path(config).parent
    cells.run(config)
    found = read_record(folder / "state.json", RunState)
    assert (found.state, found.attempts, found.reason) == ("failed", 1, "KeyError: 'a bug'")
    assert found.traceback is not None and 'raise KeyError("a bug")' in found.traceback
    kept = f"its traceback is in {folder / 'state.json'}"
    assert capsys.readouterr().err == f"{folder.name}: failed: KeyError: 'a bug'; {kept}\n"
    (tmp_path / "mended").touch()
    cells.run(config)
    found = read_record(folder / "state.json", RunState)
    assert (found.state, found.attempts, found.reason, found.traceback) == ("done", 2, None, None)
    assert found.owner is None and found.record == "separation.json"
    with pytest.raises(cells.SweepStopped, match="a bug"):
        cells.run(toy(tmp_path / "other", "seed=1", "fail_fast=true"))


def test_an_interruption_is_written_down_and_goes_on_up(tmp_path: Path) -> None:
    config = toy(tmp_path, "seed=2")
    folder = toy_cells.record_path(config).parent
    with pytest.raises(Interrupted):
        cells.run(config)
    found = read_record(folder / "state.json", RunState)
    assert (found.state, found.reason) == ("interrupted", "interrupted by SIGTERM at step 40 of 60")
    assert not cells.is_held(folder)


def test_no_secret_and_no_variable_is_in_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-your-eyes")
    config = toy(tmp_path, "seed=4")
    cells.run(config)
    path = toy_cells.record_path(config).with_name("state.json")
    assert read_record(path, RunState).reason == "RuntimeError: the server said: wrong key $OPENAI_API_KEY"
    assert "sk-not" not in path.read_text() + capsys.readouterr().err


def test_a_killed_run_is_interrupted_and_holds_no_lock(tmp_path: Path) -> None:
    config = toy(tmp_path, "seed=3")
    folder = toy_cells.record_path(config).parent
    process = begun(config)
    until(lambda: (folder / "ran").exists())
    running = cells.current_state(folder)
    assert running is not None and running.state == "running"
    assert running.owner is not None and f"process {process.pid} " in running.owner
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = cells.current_state(folder)
    assert killed is not None and (killed.state, killed.attempts) == ("interrupted", 1)
    assert killed.reason == "its process was killed while starting"


def test_two_processes_run_a_cell_once_and_the_second_says_who_is_at_it(tmp_path: Path) -> None:
    config = toy(tmp_path, f"seed={toy_cells.WAITS}")
    folder = toy_cells.record_path(config).parent
    first = begun(config)
    until(lambda: (folder / "ran").exists())
    second = begun(config)
    assert second.stderr is not None
    told = second.stderr.readline()
    assert f"{folder.name}: process {first.pid} on " in told and "waiting" in told
    (tmp_path / "go").touch()
    assert [process.communicate(timeout=100)[1] for process in (first, second)] == ["", ""]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert (folder / "ran").read_text().split() == [str(first.pid)]
    found = read_record(folder / "state.json", RunState)
    assert (found.state, found.attempts) == ("done", 1)


def test_a_state_that_cannot_be_read_is_a_failure_and_no_guess(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"state": "do')
    found = cells.current_state(tmp_path)
    assert found is not None and found.state == "failed"
    assert found.reason is not None and str(tmp_path / "state.json") in found.reason
    write_record(tmp_path / "state.json", RunState("done", 1, record="record.json"))
    assert cells.current_state(tmp_path) is None, "done without its record is not done"


def test_steps_are_written_with_their_rate_from_where_a_training_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import TrainerControl, TrainerState

    clock = [100.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    control = TrainerControl()
    written = tmp_path / "progress.json"
    callback = training.ProgressFile(tmp_path)

    def at(step: int) -> TrainerState:
        return TrainerState(global_step=step, max_steps=60, is_world_process_zero=True)

    callback.on_train_begin(None, at(40), control)  # type: ignore[arg-type]
    assert read_record(written, Progress) == Progress("training", 40, 60, None)
    for step in range(41, 45):  # four steps of 0.4 s each, of which the third is past the second
        clock[0] += 0.4
        callback.on_step_end(None, at(step), control)  # type: ignore[arg-type]
    assert read_record(written, Progress) == Progress("training", 43, 60, 0.4)
    clock[0] += 0.1
    callback.on_step_end(None, at(60), control)  # type: ignore[arg-type]
    assert read_record(written, Progress).step == 60, "the last step is written whenever it comes"


def test_fail_fast_goes_through_what_catches_exceptions(tmp_path: Path) -> None:
    with pytest.raises(cells.SweepStopped, match="a bug"):
        cells.run(toy(tmp_path, "seed=1", "fail_fast=true"))
    assert not issubclass(cells.SweepStopped, Exception)


def test_a_real_run_leaves_its_state_and_its_steps(cell: Callable[..., list[str]]) -> None:
    config = composed(cell("trainer.max_steps=3"))
    cells.run(config)
    folder = cells.record_path(config).parent
    found = read_record(folder / "state.json", RunState)
    assert (found.state, found.attempts, found.unscored, found.record) == ("done", 1, 0, "record.json")
    assert found.seconds > 0
    assert read_record(folder / "progress.json", Progress).stage == "comparing with cut start"
