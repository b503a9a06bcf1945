"""The command `cme`: its subcommands, their help, and arguments that it refuses."""

import subprocess
import sys

import pytest

from cme import __version__
from experiments.__main__ import COMMANDS, FORMER_NAMES, main


@pytest.mark.parametrize("command", [*sorted(COMMANDS.keys() - {"run"}), *FORMER_NAMES])
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    name = FORMER_NAMES.get(command, command)
    assert capsys.readouterr().out.startswith(f"usage: python -m experiments {name}")


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert set(COMMANDS) <= set(listed)
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["stres"], ["pending", "--watch"], ["judge"], ["status", "--watch", "soon"]]
)
def test_arguments_that_it_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "error:" in printed.err


def test_help_and_status_do_not_load_torch() -> None:
    code = (
        "import sys\nfrom experiments.__main__ import main\n"
        "for words in (['--help'], ['status'], ['score', '--help'], ['cost', '--help']):\n    assert main(words) == 0\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)
