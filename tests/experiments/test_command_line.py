"""The command `cme`: its subcommands, their help, and arguments that it refuses."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cme import __version__
from experiments.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"run"}))
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m experiments {command}")


@pytest.mark.parametrize("arguments", [["--help"], ["-h", "family=qwn"], ["--version"]])
def test_run_only_explains(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *arguments]) == 0
    expected = f"cme {__version__}" if "--version" in arguments else "Train a policy"
    assert capsys.readouterr().out.startswith(expected)


def test_cost_prints_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    cells = ["-m", "scale=paper", "family=llama,gemma", "regime=instruct"]
    assert main(["cost", *cells]) == main(["run", *cells, "plan=true"]) == 0
    printed = capsys.readouterr().out
    once = printed[: len(printed) // 2]
    assert printed == 2 * once and once.startswith("plan of 2 runs")


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.endswith("\nerror: give a command\n")
    for text in (overview, printed.err):
        assert all(f"  {name} " in text for name in COMMANDS)
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["stress"], ["help"], ["pending", "--watch"], ["judge"], ["status", "--watch", "soon"]]
)
def test_arguments_that_it_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "error:" in printed.err


def test_ctrl_c_from_the_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments", "status", "--watch", "0.1"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    # tests that a shell started in the background ignore SIGINT, and would pass that on
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=environment
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with started as process:
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"interrupted\n")


DEEP = "[" * 200_000


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("in.jsonl", ["score", "--verifier=any", "in.jsonl"]),
        ("a.json", ["judge", "--start=a.json", "--policy=a.json"]),
        ("a__b.json", ["import", "--start=ok.json", "--policy=ok2.json", "--verdicts=a__b.json"]),
        ("in.jsonl", ["judge", "--start=ok.json", "--policy=ok2.json", "--prompts=in.jsonl", "judge=local"]),
        ("runs/cells.jsonl", ["status", "results_dir=runs"]),
        ("runs/r/record.json", ["measure", "runs"]),
        ("runs/r/record.json", ["analyze", "runs"]),
    ],
)
@pytest.mark.parametrize("text", [DEEP + "\n", '{"a": \udcff}\n', '{"schema": 1, "config": 5}\n'])
def test_a_file_that_is_no_json_of_ours_is_one_sentence(
    file: str,
    arguments: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nested too deeply, no UTF-8, cut short, and of another form."""
    monkeypatch.chdir(tmp_path)
    for name in ("ok.json", "ok2.json"):
        Path(name).write_text('[{"instruction": "a", "output": "b"}]')
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(text, errors="surrogateescape")
    assert main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and file in line and len(line) < 1000


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_intervals_that_it_refuses(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", f"--watch={seconds}"]) == 2
    assert seconds in capsys.readouterr().err.splitlines()[-1]


def test_help_and_status_do_not_load_torch() -> None:
    code = (
        "import sys\nfrom experiments.__main__ import main\n"
        "for words in (['--help'], ['status'], ['score', '--help'], ['probe', '--help']):\n"
        "    assert main(words) == 0\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.source=5", "data.source=5; it must have a _target_"),
        ("data.oracle=5", "data.oracle=5; it must have a _target_"),
    ],
)
def test_an_override_that_makes_no_run_is_one_sentence(
    override: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", override]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line and len(line) < 300
