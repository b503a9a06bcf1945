"""run.py as a user runs it, on random-weight models."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cme.records import read_record
from experiments.config import composition
from experiments.run import pipeline

SCRIPT = Path(composition.CONF).parent / "run.py"


def run(arguments: list[str], where: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, cwd=where, timeout=300
    )


def report(done: "subprocess.CompletedProcess[str]") -> Path:
    """Where the report lies that a finished command names."""
    assert done.returncode == 0, done.stderr
    [line] = [x for x in done.stdout.splitlines() if x.startswith("report: ")]
    return Path(line.removeprefix("report: "))


def test_a_sweep_runs_every_cell_and_reports(cell: Callable[..., list[str]], tmp_path: Path) -> None:
    done = run(["-m", *cell("reward=random,ground_truth")], tmp_path)
    assert report(done).exists()
    records = sorted((tmp_path / "runs").glob("*/record.json"))
    assert sorted(read_record(p).reward for p in records) == ["ground_truth", "random"]


@pytest.mark.parametrize(
    "experiment", sorted(p.stem for p in (composition.CONF / "experiment").glob("*.yaml"))
)
def test_every_experiment_runs_at_miniature_scale(cell: Callable[..., list[str]], experiment: str) -> None:
    line = composition.expand_command_line(["-m", *cell(f"experiment={experiment}")])[0]
    first = [override.split(",")[0] for override in line if override != "-m"]
    small = [re.sub(r"^selection\.every=\d+$", "selection.every=1", override) for override in first]
    [config] = composition.compose_one_line(small)
    record = read_record(pipeline.run(config))
    assert record.experiment == config.experiment.name
    assert len(record.history["step"]) == config.trainer.max_steps
    assert len(record.verdicts) == 2 * config.data.eval_prompts


@pytest.mark.slow
def test_a_sweep_run_again_does_nothing_and_reports_the_same(
    cell: Callable[..., list[str]], tmp_path: Path
) -> None:
    first = run(["-m", *cell("reward=random,ground_truth")], tmp_path)
    written = {p: p.read_bytes() for p in (tmp_path / "runs").glob("*/record.json")}
    again = run(["-m", *cell("reward=random,ground_truth")], tmp_path)
    assert report(again) == report(first)
    assert again.stderr.count("done before, skipped") == 2
    assert "training" not in again.stderr
    assert {p: p.read_bytes() for p in (tmp_path / "runs").glob("*/record.json")} == written
    assert len(written) == 2


def test_a_checkpoint_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    done = run(["generator=no-such-owner/no-such-model", f"results_dir={tmp_path / 'runs'}"], tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "no-such-owner/no-such-model" in done.stderr
    assert list(tmp_path.iterdir()) == []
