"""Building the miniature checkpoints, with recipes of a few steps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cme.checkpoints import load
from cme.miniature import models
from cme.miniature.families import FAMILIES, make_model, train_tokenizer
from cme.miniature.models import RECIPES, build_missing, checkpoint_folder, checkpoint_names, recipe_digest
from cme.models import chat


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Recipes of a few steps, and the cache they are built in."""
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, replace(recipe, steps=23, width=32, layers=1, batch=4))
    monkeypatch.setenv("CME_CACHE", str(tmp_path))
    return tmp_path


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    assert len(checkpoint_names()) == 16
    with pytest.raises(ValueError, match=r"'qwen/base'.*qwen/pretrained.*olmo/verifier"):
        checkpoint_folder("qwen/base", tmp_path)
    with pytest.raises(ValueError, match="'qwen'"):
        build_missing(["qwen"], tmp_path)


def test_a_checkpoint_is_built_once_after_the_one_it_starts_from(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    build = models._build
    monkeypatch.setattr(models, "_build", lambda name, *rest: (built.append(name), build(name, *rest)))
    start, later = checkpoint_folder("gemma/pretrained", quick), checkpoint_folder("gemma/sft", quick)
    Path(f"{later}.partial").mkdir(parents=True)  # left by a killed build
    (Path(f"{later}.partial") / "model.safetensors").write_text("junk")
    summary = models._build_locked("gemma/sft", quick)
    models._build_locked("gemma/sft", quick)
    assert built == ["gemma/pretrained", "gemma/sft"]
    assert summary.startswith("gemma/sft: sampled oracle quality 0.")
    folders = {"gemma/sft": later, "gemma/pretrained": start}
    assert build_missing(list(folders), quick) == folders
    assert not list(quick.rglob("*.partial"))

    facts = json.loads((later / "build.json").read_text())
    assert facts["name"] == "gemma/sft"
    assert 0 <= facts["quality"] <= 1
    first, second = load("miniature:gemma/pretrained"), load("miniature:gemma/sft")
    assert facts["parameters"] == second.model.num_parameters()
    assert first.tokenizer.chat_template == chat.PLAIN_TEMPLATE
    assert second.tokenizer.eos_token == "<end_of_turn>"
    assert first.tokenizer.get_vocab() == second.tokenizer.get_vocab()
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs)


def test_the_same_recipe_gives_the_same_weights(quick: Path) -> None:
    models._build("olmo/pretrained", quick / "a", quick)
    models._build("olmo/pretrained", quick / "b", quick)
    a, b = (quick / n / "model.safetensors" for n in "ab")
    assert a.read_bytes() == b.read_bytes()


def test_a_digest_depends_on_the_recipe_and_on_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: recipe_digest(name) for name in checkpoint_names() if name.startswith("qwen/")}
    assert len(set(before.values())) == 4
    assert recipe_digest("llama/sft") != before["qwen/sft"]
    monkeypatch.setitem(RECIPES, "sft", replace(RECIPES["sft"], steps=999))
    changed = {name for name in before if recipe_digest(name) != before[name]}
    assert changed == {"qwen/sft", "qwen/instruct"}


def test_training_lowers_the_loss_on_responses(quick: Path) -> None:
    family = FAMILIES["llama"]
    tokenizer = train_tokenizer(family, models._corpus_sample())
    tokenizer.chat_template = family.template
    torch.manual_seed(0)
    model = make_model(family, len(tokenizer), 32, 1)
    head = chat.prompt_ids(tokenizer, "what color is the fox?")
    tail = [*chat.response_ids(tokenizer, "red."), chat.end_of_turn_id(tokenizer)]

    def loss() -> float:
        ids = torch.tensor([head + tail])
        labels = torch.tensor([[-100] * len(head) + tail])
        with torch.no_grad():
            return float(model(input_ids=ids, labels=labels).loss)

    before = loss()
    models._train(model, tokenizer, replace(RECIPES["verifier"], steps=40, batch=8), "llama/verifier")
    assert loss() < before - 1
    assert not model.training
