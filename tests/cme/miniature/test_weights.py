"""The weights that are part of the package."""

import json
from pathlib import Path

import pytest

from cme.checkpoints import load
from cme.miniature import build, models
from cme.miniature.models import checkpoint_folder, checkpoint_names

MEGABYTES = 70


@pytest.fixture(autouse=True)
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's weights, even where the environment names others."""
    monkeypatch.delenv(models.WEIGHTS_VARIABLE, raising=False)


@pytest.mark.parametrize("name", checkpoint_names())
def test_weights_are_those_that_the_recipe_made(name: str) -> None:
    assert models.missing_weights(name) is None
    facts = json.loads((checkpoint_folder(name) / "build.json").read_text())
    assert (facts["name"], facts["digest"]) == (name, models.recipe_digest(name))


def test_nothing_else_is_shipped() -> None:
    folders = {checkpoint_folder(name) for name in checkpoint_names()}
    assert set(models.weights_folder().iterdir()) == folders
    files = [file for folder in folders for file in folder.iterdir()]
    assert {file.suffix for file in files} <= {".json", ".jinja", ".safetensors"}
    assert sum(file.stat().st_size for file in files) < MEGABYTES * 10**6


def quality(name: str) -> float:
    checkpoint = load(f"miniature:{name}")
    measured = build.measure(checkpoint.model, checkpoint.tokenizer, models.split_name(name)[0], None)
    return float(str(measured["quality"]))


@pytest.mark.slow
def test_the_recipe_makes_a_checkpoint_of_the_shipped_quality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = checkpoint_folder("qwen-1/pretrained")
    facts = json.loads((checkpoint_folder("qwen-1/sft") / "build.json").read_text())
    assert quality("qwen-1/sft") == pytest.approx(facts["greedy"]["quality"], abs=0.02)
    (tmp_path / start.name).symlink_to(start)
    monkeypatch.setenv(models.WEIGHTS_VARIABLE, str(tmp_path))
    build.build("qwen-1/sft")
    rebuilt = json.loads((checkpoint_folder("qwen-1/sft") / "build.json").read_text())
    assert rebuilt["greedy"]["quality"] == pytest.approx(facts["greedy"]["quality"], abs=0.05)
    assert rebuilt["sampled"]["finished"] > 0.9
