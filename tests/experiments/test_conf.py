"""Every YAML of every group opens with a command line, and that command line is valid."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments import grid, identity
from experiments.grid import CONF

FILES = sorted(CONF.rglob("*.yaml"))
GROUPS = sorted(p.name for p in CONF.iterdir() if p.is_dir())


def command(file: Path) -> list[str]:
    """The arguments of the command that a file opens with."""
    lines = [line for line in file.read_text().splitlines()[:2] if line.startswith("# python run.py")]
    assert len(lines) == 1, f"{file} does not open with the command that runs it"
    return shlex.split(lines[0])[3:]


def first_cell(arguments: list[str]) -> list[str]:
    """The same command line without its sweep."""
    return [a.split(",")[0] for a in arguments if a != "-m"]


def test_there_are_the_groups_of_the_design() -> None:
    assert {
        "family",
        "regime",
        "verifier",
        "reward",
        "data",
        "judge",
        "trainer",
        "scale",
        "experiment",
        "capabilities",
    } == set(GROUPS)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(CONF)))
def test_it_composes_and_validates_by_its_own_command(file: Path) -> None:
    [config] = grid.cells(first_cell(command(file)))
    for path in identity.leaves(config):
        assert identity.changes_results(path) in (True, False)
    group = file.parent.name
    if group in ("family", "regime", "verifier", "reward", "data", "judge", "scale"):
        assert config[group].name == file.stem
    if group == "experiment":
        assert config.experiment.name == (None if file.stem == "none" else file.stem)


def test_the_same_data_have_every_split_that_is_named() -> None:
    from cme.data import hub, instructions
    from cme.miniature import world

    known = {
        "world": world.SPLITS,
        "instructions": instructions.SPLITS,
        "ultrafeedback": ("train", "eval"),
    }
    assert hub.load_prompts.__name__ == instructions.load_prompts.__name__ == "load_prompts"
    for file in sorted((CONF / "data").glob("*.yaml")):
        data = OmegaConf.load(file)
        assert {data.train_split, data.eval_split} <= set(known[file.stem])


def trls_config(method: str) -> type[Any]:
    import trl

    found: type[Any] = {"grpo": trl.GRPOConfig, "dpo": trl.DPOConfig, "sft": trl.SFTConfig}[method]
    return found


CELLS = [
    (m, s)
    for m in ("grpo", "dpo", "sft")
    for s in ("miniature", "laptop", "paper")
    if (m, s) != ("dpo", "laptop")
]


@pytest.mark.parametrize(("method", "scale"), CELLS)
def test_every_setting_reaches_trl_unchanged(method: str, scale: str) -> None:
    from experiments.methods import OURS, _settings

    [config] = grid.cells([f"scale={scale}", f"trainer={method}"])
    settings = _settings(config)
    assert {*settings, *OURS} >= set(config.trainer) and not {*settings} & {*OURS}
    made = trls_config(method)(output_dir="x", report_to=[], bf16=False, use_cpu=True, **settings)
    for name, value in settings.items():
        expected = [value] if (method, name) == ("dpo", "loss_type") else value
        assert getattr(made, name) == expected, name


@pytest.mark.parametrize("scale", ["miniature", "laptop", "paper"])
def test_a_verifier_is_never_its_generators_family_by_default(scale: str) -> None:
    families = {"laptop": "smollm2 regime=instruct"}.get(scale, "llama")
    [config] = grid.cells([f"scale={scale}", *f"family={families}".split()])
    assert config.verifier.family != config.family.name
    assert config.verifier.checkpoint != config.generator


@pytest.mark.slow
def test_the_whole_reference_grid_is_valid() -> None:
    cells = grid.cells(command(CONF / "experiment" / "reference.yaml"))
    assert len(cells) == len({identity.run_id(c) for c in cells}) == 4 * 3 * 5 * 3
    assert len({identity.start_id(c) for c in cells}) == 4 * 3
