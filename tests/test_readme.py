"""What README and docs tell the reader to type composes."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from experiments.config import composition
from experiments.config.validation import BadConfig

ROOT = Path(__file__).resolve().parent.parent
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACEHOLDERS = (
    "NAME",
    "shortness",
    "temperature",
)  # an experiment's name; what the reader is shown how to add


def commands(start: str) -> list[str]:
    """The commands of README and docs that begin so, in blocks and between backticks, without their comments."""
    found = []
    for text in (path.read_text() for path in TEXTS):
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
        lines = [line for block in blocks for line in block.splitlines()]
        prose = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.M | re.S)
        lines += [" ".join(quoted.split()) for quoted in re.findall(r"`([^`]+)`", prose)]
        found += [re.split(r"\s+#", line)[0].strip() for line in lines if line.startswith(start)]
    return list(dict.fromkeys(c for c in found if not any(word in c for word in PLACEHOLDERS)))


def composed(arguments: list[str]) -> None:
    """Compose and validate the first cell of each grid of a command line."""
    for line in composition.expand_command_line(arguments):
        cell = [a if "{" in a or "[" in a else a.split(",")[0] for a in line if a not in ("-m", "--dry-run")]
        if "trainer.use_vllm=true" in cell and find_spec("vllm") is None:  # all else is checked before
            with pytest.raises(BadConfig, match="needs the package vllm"):
                composition.compose_one_line(cell)
        else:
            assert composition.compose_one_line(cell) or {"--cfg", "--help"} & {*cell}


@pytest.mark.parametrize("command", commands("python run.py"))
def test_a_command_is_valid(command: str) -> None:
    composed(shlex.split(command)[2:])


@pytest.mark.parametrize("command", commands("python -m"))
def test_a_module_is_there(command: str) -> None:
    module, *arguments = shlex.split(command)[2:]
    assert find_spec(module) is not None
    if module == "experiments" and arguments and arguments[0] in ("stress", "cost"):
        composed(arguments[1:])


def test_every_experiment_is_in_the_table() -> None:
    text = (ROOT / "README.md").read_text()
    names = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")} - {"none"}
    assert {name for name in names if f"`{name}`" not in text} == set()
