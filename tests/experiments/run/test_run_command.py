"""run.py as a user runs it, on random-weight models, alone and by `accelerate launch`."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from paths import SUPPORT
from small_runs import comparable

from cme.records import read_record
from experiments.config import composition
from experiments.run import pipeline
from experiments.sweep import runner

ROOT = Path(__file__).parents[3]
KNOWN = SUPPORT / "scripts" / "run_known.py"
CPU = ROOT / "conf" / "accelerate" / "cpu_ddp.yaml"

Cell = Callable[..., list[str]]


def test_a_sweep_runs_every_cell_reports_and_is_not_run_twice(
    cell: Cell, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-m", *cell("reward=random,ground_truth")]

    def run() -> tuple[Path, str]:
        """The report that the finished command names, and what it says on stderr."""
        assert runner.main(arguments) == 0
        said = capfd.readouterr()
        [line] = [x for x in said.out.splitlines() if x.startswith("report: ")]
        return Path(line.removeprefix("report: ")), said.err

    report, _ = run()
    assert report.exists()
    written = {p: p.read_bytes() for p in (tmp_path / "runs").glob("*/record.json")}
    assert sorted(read_record(p).reward for p in written) == ["ground_truth", "random"]
    again, said = run()
    assert again == report
    assert said.count("done before, skipped") == 2 and "training" not in said
    assert {p: p.read_bytes() for p in (tmp_path / "runs").glob("*/record.json")} == written


def test_a_probe_is_run_in_place_of_the_pipeline(
    cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.main(cell("experiment=judge_sanity")) == 0
    assert "Sanity check of judges" in capsys.readouterr().out
    assert len(list((tmp_path / "runs").glob("*/sanity.json"))) == 1
    assert not list((tmp_path / "runs").glob("*/record.json"))


# one with further models, and one with gold answers; the others differ from them in settings and prompts
QUICK = ("main_table", "math")


def trains_at_miniature_scale(file: Path) -> bool:
    experiment = OmegaConf.load(file).experiment
    sweep = experiment.get("sweep", {})
    return "run" not in experiment and (not sweep or "miniature" in sweep)


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(file.stem, marks=() if file.stem in QUICK else pytest.mark.slow)
        for file in sorted((composition.CONF / "experiment").glob("*.yaml"))
        if trains_at_miniature_scale(file)
    ],
)
def test_every_experiment_runs_at_miniature_scale(cell: Cell, experiment: str) -> None:
    line = composition.expand_command_line(["-m", *cell(f"experiment={experiment}")])[0]
    first = [override.split(",")[0] for override in line if override != "-m"]
    small = [re.sub(r"^selection\.every=\d+$", "selection.every=1", override) for override in first]
    [config] = composition.compose_one_line(small)
    record = read_record(pipeline.run(config))
    assert record.experiment == config.experiment.name
    assert len(record.history["step"]) == config.trainer.max_steps
    assert len(record.verdicts) == 2 * config.data.eval_prompts


def test_a_checkpoint_that_cannot_be_had_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.main(["generator=no-such-owner/no-such-model", f"results_dir={tmp_path / 'runs'}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "no-such-owner/no-such-model" in line
    assert list(tmp_path.iterdir()) == []


def command(script: Path, arguments: Sequence[str], launched: bool) -> tuple[list[str], dict[str, str]]:
    """What runs a script by itself or launched, and its environment."""
    launcher = ["-m", "accelerate.commands.launch", "--config_file", str(CPU), "--main_process_port", "0"]
    line = [sys.executable, *(launcher if launched else []), str(script), *arguments]
    return line, os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(script: Path, arguments: Sequence[str], launched: bool) -> subprocess.CompletedProcess[str]:
    line, given = command(script, arguments, launched)
    return subprocess.run(line, cwd=ROOT, env=given, capture_output=True, text=True, timeout=600, check=False)


def check_same(alone: Path, launched: Path) -> None:
    """Both folders have the same record, up to the order of additions in the history."""
    one, both = (read_record(path) for folder in (alone, launched) for path in folder.glob("*/record.json"))
    for column, values in one.history.items():
        for value, other in zip(values, both.history[column], strict=True):
            assert value == (None if other is None else pytest.approx(other, rel=2e-3, abs=2e-4)), column
    empty: dict[str, Any] = {"history": {}, "environment": {}}
    assert replace(comparable(one), **empty) == replace(comparable(both), **empty)


@pytest.mark.slow
def test_the_record_is_that_of_one_process(cell: Cell, tmp_path: Path) -> None:
    """A group of 8 completions, 4 in each process, whose reward is a vote of the group."""
    folders = {launched: tmp_path / f"launched-{launched}" for launched in (False, True)}
    for launched, folder in folders.items():
        own = (
            "reward=majority_vote",
            "trainer.num_generations=8",
            "selection.every=1",
            "selection.prompts=6",
        )
        done = run(KNOWN, [*cell(*own), f"results_dir={folder}"], launched)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("win rate") == 1, "one process reports"
    check_same(folders[False], folders[True])
    [path] = folders[True].glob("*/record.json")
    assert read_record(path).environment["processes"] == "2"


@pytest.mark.slow
def test_a_launch_that_is_interrupted_goes_on(cell: Cell, tmp_path: Path) -> None:
    """SIGTERM to the launcher after the first checkpoint; the same command then ends as an uninterrupted one."""
    own = cell("reward=random", "trainer.max_steps=8", "checkpoint.every=1")
    whole, folder = tmp_path / "whole", tmp_path / "interrupted"
    assert run(KNOWN, [*own, f"results_dir={whole}"], launched=False).returncode == 0
    line, given = command(KNOWN, [*own, f"results_dir={folder}"], launched=True)
    launch = subprocess.Popen(
        line, cwd=ROOT, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not any(folder.glob("trainings/*/resume/*/whole.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    launch.send_signal(signal.SIGTERM)
    said = launch.communicate(timeout=120)[1]
    assert launch.returncode != 0 and not any(folder.glob("*/record.json")), said[-3000:]
    again = run(KNOWN, [*own, f"results_dir={folder}"], launched=True)
    assert again.returncode == 0, again.stderr[-3000:]
    check_same(whole, folder)
