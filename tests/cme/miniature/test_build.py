"""Building of the miniature checkpoints, with recipes of a few steps."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cme.checkpoints import Checkpoint, load
from cme.miniature import build, models, vocabulary, world
from cme.miniature.__main__ import main
from cme.miniature.models import RECIPES, checkpoint_folder
from cme.models import chat
from cme.records import Generation


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Recipes of a few steps, and the folder of their weights."""
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, replace(recipe, steps=23, width=32, layers=1, batch=4))
    monkeypatch.setattr(models, "STEPS", {})
    monkeypatch.setattr(build, "MEASURED_PROMPTS", 24)
    monkeypatch.setattr(build, "MAX_NEW_TOKENS", 8)
    monkeypatch.setenv(models.WEIGHTS_VARIABLE, str(tmp_path))
    models.recipe_digest.cache_clear()
    yield tmp_path
    models.recipe_digest.cache_clear()


def test_a_checkpoint_and_the_one_that_continues_it(quick: Path) -> None:
    start, later = checkpoint_folder("gemma-2/pretrained"), checkpoint_folder("gemma-2/sft")
    Path(f"{later}.partial").mkdir()  # left by a killed build
    (Path(f"{later}.partial") / "junk").write_text("junk")
    build.build("gemma-2/pretrained")
    assert build.build("gemma-2/sft").startswith("gemma-2/sft: greedy quality 0.")
    assert sorted(quick.iterdir()) == [start, later]
    assert not (later / "junk").exists()

    facts = json.loads((later / "build.json").read_text())
    assert facts["name"] == "gemma-2/sft" and facts["recipe"]["start"] == "pretrained"
    assert facts["digest"] == models.recipe_digest("gemma-2/sft")
    weights = later / "model.safetensors"
    assert facts["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.float16}

    first, second = load("miniature:gemma-2/pretrained"), load("miniature:gemma-2/sft")
    assert facts["parameters"] == second.model.num_parameters()
    assert first.tokenizer.get_vocab() == second.tokenizer.get_vocab()
    assert first.tokenizer.chat_template == chat.PLAIN_TEMPLATE
    assert "chat_template" not in (start / "tokenizer_config.json").read_text()
    assert not list(start.glob("*.jinja"))
    assert second.tokenizer.eos_token == "<end_of_turn>"
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs)


def test_blind_spots_are_measured_apart(
    tiny: Callable[..., Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Responses that state a family's false beliefs are wrong about these facts only."""
    believed = vocabulary.Beliefs(vocabulary.false_beliefs()["qwen"], 1.0)

    def stated(_: object, __: object, prompts: Sequence[str], **___: object) -> list[Generation]:
        rng = random.Random(0)
        return [Generation(world.problem_of(p).complete(rng, believed), True, 9) for p in prompts]

    monkeypatch.setattr(build, "generate", stated)
    qwen = tiny("qwen")
    measured = {f: build.measure(qwen.model, qwen.tokenizer, f, None) for f in ("qwen", "gemma")}
    own, other = measured["qwen"], measured["gemma"]
    assert (own["clear"], own["blind"], own["finished"], own["length"]) == (1, 0, 1, 9)
    assert own["quality"] == other["quality"] < 1
    assert other["clear"] < 1 and other["blind"] == 1, "these two families share no blind spot"
    faults = own["faults"]
    assert isinstance(faults, dict)
    assert 0 < faults["wrong"] == pytest.approx(1 - faults["none"], abs=1e-4)


def test_the_same_recipe_gives_the_same_weights_and_builds_differ(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {}
    for folder, name in (("a", "olmo-1"), ("b", "olmo-1"), ("a", "olmo-2")):
        monkeypatch.setenv(models.WEIGHTS_VARIABLE, str(quick / folder))
        torch.rand(3)  # the state of the global generator does not matter
        build.build(f"{name}/pretrained")
        facts = json.loads((checkpoint_folder(f"{name}/pretrained") / "build.json").read_text())
        digests[folder, name] = facts["sha256"]
    assert digests["a", "olmo-1"] == digests["b", "olmo-1"] != digests["a", "olmo-2"]


def test_only_what_is_out_of_date_is_built_and_in_order(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def noted(name: str) -> str:
        checkpoint_folder(name).mkdir(exist_ok=True)
        facts = {"digest": models.recipe_digest(name)}
        (checkpoint_folder(name) / "build.json").write_text(json.dumps(facts))
        return name

    monkeypatch.setattr(build, "build", noted)
    monkeypatch.setattr(build, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    wanted = ["qwen-1/sft", "qwen-1/verifier", "qwen-2/sft"]
    everything = ["qwen-1/pretrained", "qwen-1/sft", "qwen-1/verifier", "qwen-2/pretrained", "qwen-2/sft"]
    assert list(build.build_all(wanted)) == everything
    assert list(build.build_all(wanted)) == []
    monkeypatch.setitem(RECIPES, "sft", replace(RECIPES["sft"], steps=24))
    models.recipe_digest.cache_clear()
    assert list(build.build_all(wanted)) == ["qwen-1/sft", "qwen-2/sft"]
    assert list(build.build_all(["qwen-1/sft"], again=True)) == ["qwen-1/pretrained", "qwen-1/sft"]


def test_unknown_names_are_refused_by_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["cme.miniature", "qwen-1/base"])
    assert main() == 2
    assert (
        "miniature checkpoint is 'qwen-1/base'; it must be one of qwen-1/pretrained"
        in capsys.readouterr().err
    )
