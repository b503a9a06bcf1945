"""A ledger from elsewhere runs no code but ours: it names no package to trust, no launcher, and no other folder."""

import json
import pickle
import shlex
from pathlib import Path

import pytest
import toy_cells

from cme.records import RunState, write_record
from cme.runtime.files import check_links
from experiments.__main__ import main
from experiments.config import composition, foreign
from experiments.config.validation import BadConfig
from experiments.run import preparation
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


KEY = "sk-very-secret-8431"
OPENAI = ["judge=openai", "judge.model=m"]
SELECTING = [
    "selection.every=5",
    "judge@selection.judge=openai",
    "selection.judge.model=m",
    "selection.judge.base_url=https://stranger.example",
]
REWARDED = [
    "reward=pairwise_judge",
    "judge@reward.judge=openai",
    "reward.judge.model=m",
    "reward.judge.max_calls=1000000",
    "reward.judge.base_url=https://stranger.example",
]
GADGET = [
    "data.oracle._target_=cme.scoring.command_line.main",
    "data.oracle._partial_=false",
    "+data.oracle.arguments=[--help]",
    "+data.oracle.prog=x",
]
"""A function of ours that would read and write files of the ledger's choice."""
SERVED = [
    "+reward.server.url=http://10.0.0.7:8000",
    "+reward.server.model=m",
    "+reward.server.dialect=vllm",
    "+reward.server.api_key_variable=VLLM_KEY",
]


@pytest.fixture
def never_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test once a cell is prepared, which would ask its judge."""

    def prepare(runs: list[object]) -> None:
        assert runs == [], "the cell was prepared"

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(preparation, "prepare", prepare)


@pytest.mark.parametrize("command", ["resume", "retry"])
def test_a_key_goes_to_no_host_that_a_ledger_chose(
    tmp_path: Path, command: str, never_prepared: None, capsys: pytest.CaptureFixture[str]
) -> None:
    where = write_ledger(tmp_path, [*OPENAI, "judge.base_url=https://stranger.example/v1"])
    if command == "retry":
        write_record(tmp_path / "from-elsewhere" / "state.json", RunState("failed", 1, reason="no"))
    assert main([command, where]) == 1
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    for part in (
        "OPENAI_API_KEY",
        "judge.base_url=https://stranger.example/v1",
        "--allow-host stranger.example",
    ):
        assert part in said
    assert KEY not in said


@pytest.mark.parametrize(
    ("overrides", "host"),
    [
        (
            [*OPENAI, "judge.base_url=https://api.openai.com.stranger.example/v1"],
            "api.openai.com.stranger.example",
        ),
        ([*OPENAI, "judge.base_url=http://api.openai.com/v1"], "api.openai.com"),  # the key in plain text
        ([*OPENAI, "judge.base_url=http://127.0.0.1.stranger.example"], "127.0.0.1.stranger.example"),
        ([*OPENAI, "judge.base_url=http://2130706433/v1"], "2130706433"),
        ([*OPENAI, "judge.api_key_variable=HF_TOKEN"], "api.openai.com"),
        (["judge=anthropic", "judge.base_url=https://api.openai.com/v1"], "api.openai.com"),
        (["judge=vllm", "judge.model=m", "judge.base_url=http://10.0.0.7/v1"], "10.0.0.7"),
        (["judge=panel", "judge.members.anthropic.base_url=https://stranger.example"], "stranger.example"),
        (SELECTING, "stranger.example"),
        (REWARDED, "stranger.example"),
        (SERVED, "10.0.0.7"),
        (["reward=[cme,length]", *(w.replace("reward.", "reward.members.cme.") for w in SERVED)], "10.0.0.7"),
    ],
)
def test_hosts_are_named_by_whoever_resumes(overrides: list[str], host: str) -> None:
    [run] = composition.compose_cells(overrides)
    with pytest.raises(BadConfig, match=f"--allow-host {host} if you trust it"):
        foreign.check_cell(run)
    with pytest.raises(BadConfig, match="--allow-host"):
        foreign.check_cell(run, ["other.example"])
    foreign.check_cell(run, [host.upper()])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        OPENAI,
        ["judge=panel"],
        [*OPENAI, "judge.base_url=http://127.0.0.1:8000/v1", "judge.api_key_variable=OTHER_KEY"],
        [*OPENAI, "judge.base_url='http://[::1]:8000/v1'"],
        ["judge=vllm", "judge.model=m"],
        ["judge=arena_hard"],
    ],
)
def test_servers_of_ours_and_of_this_machine_need_no_name(overrides: list[str]) -> None:
    [run] = composition.compose_cells(overrides)
    foreign.check_cell(run)


@pytest.mark.parametrize("address", ["http://evil.example\\@localhost/v1", "http://localhost#.evil.example"])
def test_an_address_that_programs_read_differently_is_refused(address: str) -> None:
    [run] = composition.compose_cells(OPENAI)
    run.values["judge"]["base_url"] = address
    with pytest.raises(BadConfig, match="it must have the form http://HOST"):
        foreign.check_cell(run, ["localhost", "evil.example"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["judge.name='${oc.env:MY_NOTES}'"], "MY_NOTES"),
        (["+judge.x=env", "judge.name='${oc.${judge.x}:MY_NOTES}'"], "MY_NOTES"),
        (
            GADGET,
            "data.oracle._target_=cme.scoring.command_line.main, which no file in conf/ names",
        ),
        (["judge=alpaca_eval", "judge.annotator=./weighted"], "annotator"),
        (["judge=alpaca_eval", "judge.annotator=FOLDER"], "which server gets OPENAI_API_KEY"),
    ],
)
def test_a_ledger_reads_no_environment_and_calls_nothing_but_what_conf_names(
    tmp_path: Path,
    words: list[str],
    reason: str,
    never_prepared: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MY_NOTES", "private-notes")
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "configs.yaml").write_text("{}")
    where = write_ledger(tmp_path, [word.replace("FOLDER", str(tmp_path / "judge")) for word in words])
    assert main(["resume", where]) == 1
    said = capsys.readouterr().err
    assert reason in said and "private-notes" not in said


@pytest.mark.parametrize("name", ["from-elsewhere/verdicts.jsonl", "trainings"])
def test_a_link_out_of_the_folder_is_refused(
    tmp_path: Path, name: str, never_prepared: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A verdict log is appended to, and one that is a link to ~/.bashrc would be executed."""
    outside, runs = tmp_path / "outside", tmp_path / "runs"
    outside.mkdir()
    (runs / "from-elsewhere").mkdir(parents=True)
    (runs / name).symlink_to(outside)
    (runs / "inside").symlink_to(runs / "from-elsewhere")
    (runs / "t" / "wandb").mkdir(parents=True)
    (runs / "t" / "wandb" / "debug.log").symlink_to(outside)
    where = write_ledger(runs, [])
    assert main(["resume", where]) == 2
    assert f"{runs / name} is a link to {outside}" in capsys.readouterr().err
    (runs / name).unlink()
    (runs / name).symlink_to(runs / name)  # it leads nowhere
    check_links(runs)
