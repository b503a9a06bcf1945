"""What README and docs tell the reader to type composes, and README's tree is the tree."""

import re
import shlex
from collections import Counter
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
LISTED = ("cme", "cme/miniature", "experiments", "analysis")  # folders of which the tree has every module


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


def tree() -> list[str]:
    """The paths in README's tree, from the root, a folder's with a slash behind them."""
    [block] = re.findall(r"^## The tree\n\n```\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    found, folder = [], {0: ""}
    for line in block.splitlines():
        depth = len(line) - len(line.lstrip())
        if depth not in folder:  # a comment that goes on
            continue
        for name in line.split("  ")[depth // 2].split() if depth else line.split("  ")[0].split():
            found.append(folder[depth] + name)
            if name.endswith("/"):
                folder[depth + 2] = found[-1]
    return found


def test_the_tree_is_there_and_each_path_stands_once() -> None:
    paths = tree()
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [path for path, count in Counter(paths).items() if count > 1] == []


@pytest.mark.parametrize("folder", LISTED)
def test_every_module_is_in_the_tree(folder: str) -> None:
    there = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py", "__main__.py"}
    assert there - {path.rpartition("/")[2] for path in tree() if path.rpartition("/")[0] == folder} == set()


def test_every_experiment_is_in_the_table() -> None:
    text = (ROOT / "README.md").read_text()
    names = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")} - {"none"}
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_every_group_is_in_the_tree() -> None:
    [line] = re.findall(r"^conf/ .*?(?=^\S)", (ROOT / "README.md").read_text(), re.M | re.S)
    assert {folder.name for folder in (ROOT / "conf").iterdir() if folder.is_dir()} <= set(
        re.findall(r"\w+", line)
    )
