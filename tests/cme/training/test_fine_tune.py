"""Fine-tuned checkpoints: the loss and its rows, determinism, and what stands beside the weights."""

import dataclasses
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from naive import score_ids
from verifiers import Tiny

from cme import Unavailable
from cme.availability import check_available, commit
from cme.checkpoints import Checkpoint, load
from cme.data import instruction_following, instructions
from cme.models import chat, fine_tuned, packages
from cme.models.fine_tuned import Recipe
from cme.training import fine_tune

PAIRS = [("what is 0 plus 5?", "5."), ("fox and bell: who sees?", "the fox sees the bell."), ("bell?", "12.")]
RECIPE = Recipe("tiny", epochs=2, batch=2, learning_rate=1e-2, seed=0, minutes=1)


@pytest.fixture
def recipe(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Recipe], None]:
    """Sets the recipe of the checkpoint `tuned:tiny`, which begins with a tiny model and has PAIRS as its text."""
    (tmp_path / "tiny.jsonl").write_text(
        "".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in PAIRS)
    )
    package = packages.Package(0, "0" * 64, 1000, "", torch.float32)
    monkeypatch.setitem(packages.PACKAGES, "tiny", package)
    monkeypatch.setattr(fine_tuned, "ANSWERS", tmp_path)
    monkeypatch.setattr(fine_tune, "load", lambda name: {"package:tiny": tiny("gemma", True)}[name])
    monkeypatch.setenv("CME_CACHE", str(tmp_path / "cache"))

    def use(chosen: Recipe) -> None:
        monkeypatch.setitem(fine_tuned.RECIPES, "tiny", chosen)

    use(RECIPE)
    return use


def mean_loss(checkpoint: Checkpoint) -> float:
    """Nats per token of the answers with their ends, row by row."""
    tokenizer, scores = checkpoint.tokenizer, []
    for prompt, answer in PAIRS:
        tail = [*chat.response_ids(tokenizer, answer), chat.end_of_turn_id(tokenizer)]
        scores.append(score_ids(checkpoint.model, chat.prompt_ids(tokenizer, prompt), tail))
    return -sum(one.total for one in scores) / sum(len(one.ids) for one in scores)


def test_the_loss_is_that_of_the_answers_tokens_and_falls(
    recipe: Callable[[Recipe], None], tiny: Tiny
) -> None:
    before = mean_loss(tiny("gemma", True))
    recipe(dataclasses.replace(RECIPE, learning_rate=0.0))
    fine_tune.build("tiny")
    assert fine_tuned.facts("tiny")["loss"] == pytest.approx([before, before], rel=1e-4)
    recipe(RECIPE)
    fine_tune.build("tiny")
    assert mean_loss(load("tuned:tiny")) < before - 0.5


def test_a_build_is_deterministic_and_done_once(recipe: object, monkeypatch: pytest.MonkeyPatch) -> None:
    fine_tune.build("tiny")
    first, sha256 = fine_tuned.folder("tiny"), fine_tuned.facts("tiny")["sha256"]
    assert hashlib.sha256((first / "model.safetensors").read_bytes()).hexdigest() == sha256
    assert commit("tuned:tiny") == f"sha256:{sha256}"
    first.rename(first.with_name("other"))
    random.seed(1)
    torch.manual_seed(1)
    fine_tune.build("tiny")
    assert fine_tuned.facts("tiny")["sha256"] == sha256
    monkeypatch.setattr(fine_tune, "load", None)
    fine_tune.build("tiny")  # there already


def test_another_recipe_or_other_answers_have_another_place(recipe: Callable[[Recipe], None]) -> None:
    places = [fine_tuned.folder("tiny")]
    recipe(dataclasses.replace(RECIPE, minutes=2))
    assert fine_tuned.folder("tiny") == places[0]
    for change in ({"learning_rate": 1e-3}, {"epochs": 1}, {"seed": 1}):
        recipe(dataclasses.replace(RECIPE, **change))
        places.append(fine_tuned.folder("tiny"))
    recipe(RECIPE)
    file = fine_tuned.ANSWERS / "tiny.jsonl"
    file.write_text(file.read_text().replace("12.", "13."))
    places.append(fine_tuned.folder("tiny"))
    assert len(set(places)) == 5


def test_one_that_is_not_built_is_a_sentence_with_the_command(recipe: object) -> None:
    with pytest.raises(
        Unavailable, match=r"tuned:tiny is not built.*python -m cme\.training\.fine_tune tiny"
    ):
        check_available(["tuned:tiny"])
    assert commit("tuned:tiny") is None
    with pytest.raises(ValueError, match=r"'tuned:tiini'; fine-tuned are gemma-3-270m-sft"):
        check_available(["tuned:tiini"])


def test_the_text_is_of_training_prompts_and_no_prompt_of_the_default_data() -> None:
    known = {p.text for p in instructions.load_prompts("train", 266, 0)}
    pairs = fine_tuned.pairs("gemma-3-270m-sft")
    assert len({prompt for prompt, _ in pairs}) == len(pairs) == 160
    assert {prompt for prompt, _ in pairs} <= known and all(answer.strip() for _, answer in pairs)
    others = [
        *instruction_following.load_prompts("train", 326, 0),
        *instruction_following.load_prompts("eval", 344, 0),
    ]
    others += instructions.load_prompts("eval", 140, 0)
    assert not {prompt for prompt, _ in pairs} & {p.text for p in others}
