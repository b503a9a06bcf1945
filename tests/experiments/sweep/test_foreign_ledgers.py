"""A ledger from elsewhere runs no code but ours: it names no package to trust, no launcher, and no other folder."""

import json
import pickle
import shlex
from pathlib import Path

import pytest
import toy_cells

from cme.records import RunState, write_record
from experiments.__main__ import main
from experiments.config import composition
from experiments.sweep import runner

TRUST = "trusted_packages=[toy_cells]"


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """The file that exists once foreign code ran; `bad.pkl` creates it."""
    path = tmp_path / "ran"
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Payload(path)))
    return path


def write_ledger(folder: Path, overrides: list[str], run_id: str = "from-elsewhere") -> str:
    """A ledger of one cell; returns the argument that names its folder."""
    entry = {"run_id": run_id, "scale": "miniature", "experiment": None, "overrides": overrides}
    (folder / "cells.jsonl").write_text(json.dumps(entry) + "\n")
    return f"results_dir={folder}"


@pytest.mark.parametrize("trust", ["", "++"])
def test_a_ledger_names_no_package_to_trust(
    tmp_path: Path, canary: Path, capsys: pytest.CaptureFixture[str], trust: str
) -> None:
    overrides = [
        f"{trust}trusted_packages=[joblib]",
        "data.oracle._target_=joblib.load",
        "data.oracle._partial_=false",
        f"+data.oracle.filename='{tmp_path / 'bad.pkl'}'",
    ]
    where = write_ledger(tmp_path, overrides)
    assert main(["resume", where]) == 1
    assert "if you trust it, add trusted_packages=[joblib]" in capsys.readouterr().err
    assert main(["pending", where]) == 0
    assert "trusted_packages" not in capsys.readouterr().out
    assert not canary.exists()


@pytest.mark.parametrize(
    "word",
    [
        "+hydra.launcher.x={_target_:joblib.load,filename:'FILE'}",
        "hydra={launcher:{x:{_target_:joblib.load,filename:'FILE'}}}",
        "+hydra.job.env_set.LD_PRELOAD=FILE",
        "+judge@hydra.launcher.x=openai",
        "--config-dir=FILE",
        "generator=\x1b[2Jx",
    ],
)
@pytest.mark.parametrize("command", ["resume", "retry", "pending", "status"])
def test_a_ledger_sets_nothing_but_fields_of_a_run(
    tmp_path: Path, canary: Path, capsys: pytest.CaptureFixture[str], word: str, command: str
) -> None:
    where = write_ledger(tmp_path, [word.replace("FILE", str(tmp_path / "bad.pkl"))])
    assert main([command, where]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "cells.jsonl, line 1 is not a cell" in printed.err
    assert not canary.exists()


@pytest.mark.parametrize("run_id", ["../elsewhere", "/tmp/elsewhere", "a/b", ".hidden", ""])
def test_a_ledger_names_no_other_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run_id: str
) -> None:
    assert main(["status", write_ledger(tmp_path, [], run_id)]) == 2
    assert "run_id=" in capsys.readouterr().err


def test_our_own_ledger_leaves_trust_to_whoever_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"results_dir={tmp_path}"
    runner.add_to_ledger(composition.compose_cells([where, *toy_cells.OVERRIDES]))
    assert "trusted_packages" not in (tmp_path / "cells.jsonl").read_text()
    assert main(["pending", where, TRUST]) == 0
    assert shlex.split(capsys.readouterr().out)[-1] == TRUST


def test_a_foreign_state_prints_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = write_ledger(tmp_path, [])
    write_record(
        tmp_path / "from-elsewhere" / "state.json", RunState("failed", 1, reason="\x1b[2J\x1b]0;x\x07no")
    )
    assert main(["status", where]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and r"\x1b[2J\x1b]0;x\x07no" in printed
