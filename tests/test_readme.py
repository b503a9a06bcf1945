"""README and docs: what the reader is told to type composes, and what they link to exists."""

import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from composed_runs import compose
from paths import ROOT

from analysis.experiments import EXPERIMENTS
from cme.runtime import shipped
from experiments.__main__ import COMMANDS
from experiments.config import composition
from experiments.config.components import configured_targets
from experiments.config.validation import BadConfig

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
# an experiment's or a judge's name; what the reader is shown how to add; arguments left out
PLACEHOLDERS = ("NAME", "shortness", "temperature", "COMMAND", "...")


def commands(start: str) -> list[str]:
    """The commands of README and docs that begin so, in blocks and between backticks, without their comments."""
    found = []
    for text in (page.read_text() for page in PAGES):
        lines = [line for block in FENCED.findall(text) for line in block.splitlines()]
        lines += [" ".join(quoted.split()) for quoted in re.findall(r"`([^`]+)`", FENCED.sub("", text))]
        found += [re.split(r"\s+#", line)[0].strip() for line in lines if line.startswith(start)]
    return [c for c in dict.fromkeys(found) if not any(word in c for word in PLACEHOLDERS)]


def check(arguments: list[str]) -> None:
    """Compose and validate the first cell of a command line; tests/experiments/config has the other grids."""
    if {"--cfg", "--help"} & {*arguments}:
        return
    line = composition.expand_command_line(arguments)[0]
    cell = [a if "{" in a or "[" in a else a.split(",")[0] for a in line if a != "-m"]
    if "trainer.use_vllm=true" in cell and find_spec("vllm") is None:  # all else is checked before
        with pytest.raises(BadConfig, match="needs the package vllm"):
            composition.compose_one_line(cell)
    else:
        assert compose(*cell)


@pytest.mark.parametrize("command", commands("python run.py "))
def test_a_run_composes(command: str) -> None:
    check(shlex.split(command)[2:])


@pytest.mark.parametrize("command", commands("cme ") + commands("python -m "))
def test_a_command_exists_and_composes(command: str) -> None:
    program, *words = shlex.split(command.removeprefix("python -m ").replace("--judge ", "judge="))
    if program not in ("cme", "experiments"):
        assert find_spec(program) is not None
        return
    name, *arguments = words
    assert name in COMMANDS
    if name in ("run", "probe"):
        check(arguments)
    elif name == "judge":
        # a finished run has data of its own, such as these
        own = ["data=instruction_following"] if "RUN" in arguments else []
        check([*own, *(a for a in arguments if re.match(r"[\w.]+=", a))])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", FENCED.sub("", page.read_text()))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def classes(page: str) -> list[str]:
    """The files in Python of a page that define a class."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    return [block for block in blocks if re.search(r"^class ", block, re.M)]


def test_the_reward_of_the_readme_works() -> None:
    from cme.rewards import Reward

    [source] = classes("README.md")
    names: dict[str, Any] = {}
    exec(source, names)
    assert issubclass(names["Shortness"], Reward)
    assert names["Shortness"]()(["a prompt"] * 2, ["one", "two"], [[4], [5, 6]]) == [-1, -2]


def test_what_a_reader_is_shown_how_to_add_composes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes and YAML files of README and CONTRIBUTING, each file where its own command looks for it."""
    from cme import rewards

    conf = shutil.copytree(composition.CONF, tmp_path / "conf")
    for module in (composition, shipped):
        monkeypatch.setattr(module, "CONF", conf)
    made = []
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text()
        for source in classes(page):
            names: dict[str, Any] = {"__name__": "cme.rewards.example"}
            exec(source, names)
            [name] = re.findall(r"^class (\w+)", source, re.M)
            monkeypatch.setattr(rewards, name, names[name], raising=False)
        for block in re.findall(r"^```yaml\n(# python run.py .*?)^```", text, re.M | re.S):
            arguments = shlex.split(block.splitlines()[0])[3:]
            group, name = arguments[-1].split("=")
            (conf / group / f"{name}.yaml").write_text(block)
            configured_targets.cache_clear()
            [run] = composition.compose_cells(arguments)
            assert getattr(run, group).name == name
            made.append(arguments[-1])
            if name == "capped":
                assert run.verifiers == [run.verifier.checkpoint]
    assert made == ["reward=shortness", "reward=capped", "family=mine"]


def test_every_experiment_is_documented() -> None:
    """Ours are; one that a user defines needs no more than its file."""
    text = (ROOT / "docs" / "experiments.md").read_text()
    names = {*EXPERIMENTS, "judge_sanity", "separation", "tuning"}
    assert names <= {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_the_readme_names_every_reward() -> None:
    text = (ROOT / "README.md").read_text()
    rewards = {path.stem for path in (ROOT / "conf" / "reward").glob("*.yaml")}
    assert {name for name in rewards if f"`{name}`" not in text} == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180
