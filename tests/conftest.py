"""Random-weight models of the four families: tiny, untrained, and loaded as any other checkpoint is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from cme.checkpoints import Checkpoint

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

settings.register_profile("light", max_examples=50, deadline=None, derandomize=True)
settings.load_profile("light")

FAMILY_NAMES = ("qwen", "llama", "gemma", "olmo")


@pytest.fixture(params=FAMILY_NAMES)
def family(request: pytest.FixtureRequest) -> str:
    """Each of the four families in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a random-weight model, by family; `plain` ones carry no chat template."""
    import torch

    from cme.miniature import models
    from cme.miniature.families import FAMILIES, make_model, train_tokenizer

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("tiny")
    texts = models._corpus_sample()

    def make(name: str, plain: bool = False) -> Path:
        target = root / f"{name}{'-plain' * plain}"
        if target.exists():
            return target
        tokenizer = train_tokenizer(FAMILIES[name], texts)
        torch.manual_seed(FAMILY_NAMES.index(name))
        model = make_model(FAMILIES[name], len(tokenizer), 32, 2)
        with torch.no_grad():  # five times the usual weights, so that attention and context matter
            for key, weight in model.named_parameters():
                if weight.ndim == 2 and "embed" not in key:
                    weight.mul_(5)
        tokenizer.chat_template = None if plain else FAMILIES[name].template
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        return target

    return make


@pytest.fixture
def tiny(tiny_folder: Callable[..., Path]) -> Callable[..., "Checkpoint"]:
    """A freshly loaded random-weight checkpoint, by family."""
    from cme.checkpoints import load

    def loaded(name: str, plain: bool = False) -> "Checkpoint":
        return load(str(tiny_folder(name, plain)))

    return loaded


@pytest.fixture
def cell(
    tiny_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Command lines of cells small enough to run: the miniature's cache holds random-weight models instead."""
    from cme.miniature import models

    cache = tmp_path / "cache"
    monkeypatch.setenv("CME_CACHE", str(cache))
    (cache / "miniature").mkdir(parents=True, exist_ok=True)
    for name in models.checkpoint_names():
        family, recipe = name.split("/")
        models.checkpoint_folder(name, cache).symlink_to(tiny_folder(family, plain=recipe == "pretrained"))

    def arguments(*overrides: str) -> list[str]:
        return [
            "trainer.max_steps=2",
            "trainer.per_device_train_batch_size=8",
            "trainer.num_generations=4",
            "trainer.max_completion_length=6",
            "evaluation.max_new_tokens=6",
            "data.train_prompts=24",
            "data.eval_prompts=12",
            f"results_dir={tmp_path / 'runs'}",
            *overrides,
        ]

    return arguments
