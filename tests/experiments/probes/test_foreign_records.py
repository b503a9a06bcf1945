"""A record from elsewhere: what it makes `judge`, `measure` and `analyze` call, read and write."""

from pathlib import Path
from typing import Any

import pytest

from cme.records import Generation, Pair, RunRecord, write_record
from experiments.__main__ import main

RESPONSE = Generation("a", True, 1)
GADGET = {"_target_": "cme.scoring.command_line.main", "_partial_": False}


def write_run(folder: Path, **config: Any) -> Path:
    """The folder of a finished run with this configuration."""
    record = RunRecord(
        run_id="run\x1b[2J", scale="miniature", family="qwen", regime="sft", reward="cme", verifier="gemma",
        judge="oracle", seed=0, experiment=None, generator_checkpoint="g", verifier_checkpoint="v",
        heldout_checkpoint="miniature:llama-1/verifier", config=config, environment={}, warnings=[], stopped=None,
        history={}, pairs=[Pair("e", "?", None, RESPONSE, RESPONSE)], verdicts=[], seconds={},
    )  # fmt: skip
    write_record(folder / "record.json", record)
    return folder


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"name": "world", "oracle": GADGET}, "cme.scoring.command_line.main, which no file in conf/ names"),
        ({"name": "world", "train_split": "${oc.env:HOME}"}, "config.data has an interpolation"),
        ({"name": 5}, "config.data.name is 5"),
        ({"name": "world", "surprise": 1}, "the settings of the data"),
        ({"name": "world", "seed": {"a": 1}}, "the settings of the data"),
    ],
)
def test_the_data_of_a_record_call_and_read_nothing_else(
    tmp_path: Path, data: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", str(write_run(tmp_path, data=data)), "judge=oracle"]) == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert said in line and "\x1b" not in line and printed.out == ""


def test_nothing_is_written_through_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside, run = tmp_path / "outside", write_run(tmp_path / "runs" / "run")
    outside.write_text("mine")
    (run / "verdicts-oracle.jsonl").symlink_to(outside)
    assert main(["judge", str(run), "judge=oracle"]) == 2
    assert f"verdicts-oracle.jsonl is a link to {outside}" in capsys.readouterr().err
    (run / "verdicts-oracle.jsonl").unlink()
    (run.parent / "analysis").mkdir()
    (run.parent / "analysis" / "report.html").symlink_to(outside)
    assert main(["analyze", str(run.parent)]) == 2
    assert f"report.html is a link to {outside}" in capsys.readouterr().err
    (run.parent / "analysis" / "report.html").unlink()
    (run.parent / "analysis").rmdir()
    (run.parent / "analysis").symlink_to(tmp_path)
    assert main(["analyze", str(run.parent)]) == 2
    assert "analysis is a link; name the folder to write to with --out" in capsys.readouterr().err
    assert outside.read_text() == "mine"


def test_scoring_that_is_no_runs_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, scoring={"dtype": "float32", "surprise": 1})
    assert main(["measure", str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "config.scoring dtype, surprise; it must have max_prompt_tokens" in line and "\x1b" not in line
