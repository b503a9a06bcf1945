"""run.py as a user runs it, on random-weight models."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from omegaconf import OmegaConf

from cme.records import read_record
from experiments.config import composition
from experiments.run import pipeline
from experiments.sweep import runner

CONF = Path(composition.CONF)
Cell = Callable[..., list[str]]


def report(done: "subprocess.CompletedProcess[str]") -> Path:
    """The report that a finished command names."""
    assert done.returncode == 0, done.stderr
    [line] = [x for x in done.stdout.splitlines() if x.startswith("report: ")]
    return Path(line.removeprefix("report: "))


def test_a_sweep_runs_every_cell_reports_and_is_not_run_twice(cell: Cell, tmp_path: Path) -> None:
    arguments = ["-m", *cell("reward=random,ground_truth")]
    first = forked.run(arguments, tmp_path)
    assert report(first).exists()
    written = {p: p.read_bytes() for p in (tmp_path / "runs").glob("*/record.json")}
    assert sorted(read_record(p).reward for p in written) == ["ground_truth", "random"]
    again = forked.run(arguments, tmp_path)
    assert report(again) == report(first)
    assert again.stderr.count("done before, skipped") == 2 and "training" not in again.stderr
    assert {p: p.read_bytes() for p in (tmp_path / "runs").glob("*/record.json")} == written


def test_a_probe_is_run_in_place_of_the_pipeline(
    cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.main(cell("experiment=judge_sanity")) == 0
    assert "Sanity check of judges" in capsys.readouterr().out
    assert len(list((tmp_path / "runs").glob("*/sanity.json"))) == 1
    assert not list((tmp_path / "runs").glob("*/record.json"))


# one with further models, one with gold answers, one with saved checkpoints, and one with other prompts; the others
# differ from them in settings
QUICK = ("main_table", "math", "overoptimisation", "tuning")


def runs_at_miniature_scale(file: Path) -> bool:
    sweep = OmegaConf.load(file).experiment.get("sweep", {})
    return not sweep or "miniature" in sweep


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(file.stem, marks=() if file.stem in QUICK else pytest.mark.slow)
        for file in sorted((CONF / "experiment").glob("*.yaml"))
        if runs_at_miniature_scale(file)
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
