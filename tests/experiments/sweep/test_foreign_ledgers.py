"""A ledger from elsewhere runs no code but ours, and sends nothing to a server of its choice."""

import json
import pickle
import shlex
from pathlib import Path

import pytest
import toy_cells

from cme.records import RunState, write_record
from cme.runtime.files import check_links
from experiments.__main__ import main
from experiments.config import composition
from experiments.config.validation import BadConfig
from experiments.run import preparation
from experiments.sweep import foreign, runner

TRUST = "trusted_packages=[toy_cells]"
KEY = "sk-very-secret-8431"
OPENAI = ["judge=openai", "judge.model=m"]
STRANGER = "https://stranger.example/v1"


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def write_ledger(folder: Path, overrides: list[str], run_id: str = "from-elsewhere") -> str:
    """A ledger of one cell; returns the argument that names its folder."""
    entry = {"run_id": run_id, "scale": "miniature", "experiment": None, "overrides": overrides}
    (folder / "cells.jsonl").write_text(json.dumps(entry) + "\n")
    return f"results_dir={folder}"


@pytest.mark.parametrize("trust", ["", "++"])
def test_a_ledger_names_no_package_to_trust(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trust: str
) -> None:
    canary = tmp_path / "ran"
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Payload(canary)))
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
    ("word", "run_id", "named"),
    [
        ("+hydra.launcher.x={_target_:joblib.load}", "a", "line 1 is not a cell"),
        ("hydra={launcher:{x:{_target_:joblib.load}}}", "a", "line 1 is not a cell"),
        ("+judge@hydra.launcher.x=openai", "a", "line 1 is not a cell"),
        ("--config-dir=elsewhere", "a", "line 1 is not a cell"),
        ("generator=\x1b[2Jx", "a", "line 1 is not a cell"),
        *(("seed=1", name, "run_id=") for name in ("../elsewhere", "/tmp/elsewhere", ".hidden", "")),
    ],
)
def test_a_line_sets_fields_of_a_run_in_its_own_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, run_id: str, named: str
) -> None:
    where = write_ledger(tmp_path, [word], run_id)
    for command in ("resume", "retry", "pending", "status"):
        assert main([command, where]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and named in printed.err


def test_a_foreign_state_prints_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = write_ledger(tmp_path, [])
    write_record(tmp_path / "from-elsewhere" / "state.json", RunState("failed", 1, reason="\x1b[2Jno"))
    assert main(["status", where]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and r"\x1b[2Jno" in printed


@pytest.fixture
def never_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test once a cell is prepared, which would ask its judge."""

    def prepare(runs: list[object]) -> None:
        assert runs == [], "the cell was prepared"

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("MY_NOTES", "private-notes")
    monkeypatch.setattr(preparation, "prepare", prepare)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([*OPENAI, f"judge.base_url={STRANGER}"], [STRANGER, "OPENAI_API_KEY", "--allow-host stranger.example"]),
        (["judge.name='${oc.env:MY_NOTES}'"], ["MY_NOTES"]),
        (["+judge.x=env", "judge.name='${oc.${judge.x}:MY_NOTES}'"], ["MY_NOTES"]),
        (["data.oracle._target_=cme.scoring.command_line.main"], ["which no file in conf/ names"]),
        (["judge=alpaca_eval", "judge.annotator=FOLDER"], ["annotator", "which server gets OPENAI_API_KEY"]),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("never_prepared")
def test_a_cell_reads_no_environment_and_sends_no_key(
    tmp_path: Path, words: list[str], named: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "configs.yaml").write_text("{}")
    where = write_ledger(tmp_path, [word.replace("FOLDER", str(tmp_path)) for word in words])
    assert main(["resume", where]) == 1
    write_record(tmp_path / "from-elsewhere" / "state.json", RunState("failed", 1, reason="no"))
    assert main(["retry", where]) == 1
    for line in (line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")):
        assert all(part in line for part in named), line
        assert KEY not in line and "private-notes" not in line


SELECTED = ["selection.every=5", "judge@selection.judge=openai", "selection.judge.model=m"]
REWARDED = [
    *("reward=pairwise_judge", "judge@reward.judge=openai"),
    *("reward.judge.model=m", "reward.judge.max_calls=1000000"),
]
SERVED = ["+reward.server.url=http://10.0.0.7:8000", "+reward.server.model=m", "+reward.server.dialect=vllm"]


@pytest.mark.parametrize(
    ("overrides", "host"),
    [
        ([*OPENAI, "judge.base_url=https://api.openai.com.stranger.example/v1"], "api.openai.com.stranger.example"),
        ([*OPENAI, "judge.base_url=http://api.openai.com/v1"], "api.openai.com"),  # the key in plain text
        ([*OPENAI, "judge.base_url=http://2130706433/v1"], "2130706433"),
        ([*OPENAI, "judge.api_key_variable=HF_TOKEN"], "api.openai.com"),
        (["judge=anthropic", "judge.base_url=https://api.openai.com/v1"], "api.openai.com"),
        (["judge=panel", f"judge.members.anthropic.base_url={STRANGER}"], "stranger.example"),
        ([*SELECTED, f"selection.judge.base_url={STRANGER}"], "stranger.example"),
        ([*REWARDED, f"reward.judge.base_url={STRANGER}"], "stranger.example"),
        (SERVED, "10.0.0.7"),
        (["reward=[cme,length]", *(w.replace("reward.", "reward.members.cme.") for w in SERVED)], "10.0.0.7"),
    ],
)  # fmt: skip
def test_hosts_are_named_by_whoever_resumes(overrides: list[str], host: str) -> None:
    [run] = composition.compose_cells(overrides)
    for allowed in ([], ["other.example"]):
        with pytest.raises(BadConfig, match=f"--allow-host {host} if you trust it"):
            foreign.check_servers(run, allowed)
    foreign.check_servers(run, [host.upper()])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        OPENAI,
        ["judge=panel"],
        [*OPENAI, "judge.base_url=http://127.0.0.1:8000/v1", "judge.api_key_variable=OTHER_KEY"],
        [*OPENAI, "judge.base_url='http://[::1]:8000/v1'"],
        ["judge=vllm", "judge.model=m"],
    ],
)
def test_servers_of_ours_and_of_this_machine_need_no_name(overrides: list[str]) -> None:
    [run] = composition.compose_cells(overrides)
    foreign.check_servers(run)


@pytest.mark.parametrize("address", ["http://evil.example\\@localhost/v1", "http://localhost#.evil.example"])
def test_an_address_that_programs_read_differently_is_refused(address: str) -> None:
    [run] = composition.compose_cells(OPENAI)
    run.values["judge"]["base_url"] = address
    with pytest.raises(BadConfig, match="it must have the form http://HOST"):
        foreign.check_servers(run, ["localhost", "evil.example"])


@pytest.mark.parametrize("name", ["from-elsewhere/verdicts.jsonl", "trainings"])
@pytest.mark.usefixtures("never_prepared")
def test_a_link_out_of_the_folder_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A verdict log is appended to, and one that is a link to ~/.bashrc would be executed."""
    outside, runs = tmp_path / "outside", tmp_path / "runs"
    outside.mkdir()
    (runs / "from-elsewhere").mkdir(parents=True)
    (runs / name).symlink_to(outside)
    (runs / "inside").symlink_to(runs / "from-elsewhere")
    assert main(["resume", write_ledger(runs, [])]) == 2
    assert f"{runs / name} is a link to {outside}" in capsys.readouterr().err
    (runs / name).unlink()
    check_links(runs)


def test_our_own_ledger_leaves_trust_to_whoever_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"results_dir={tmp_path}"
    runner.add_to_ledger(composition.compose_cells([where, *toy_cells.OVERRIDES]))
    assert "trusted_packages" not in (tmp_path / "cells.jsonl").read_text()
    assert main(["pending", where, TRUST]) == 0
    assert shlex.split(capsys.readouterr().out)[-1] == TRUST
