"""The four families: real architectures, different tokenizers, and tokenizers that preserve text."""

import json
import random
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cme.checkpoints import Checkpoint, load_tokenizer
from cme.miniature import corpus, world
from cme.miniature.families import FAMILIES
from cme.miniature.problems import Problem
from cme.miniature.vocabulary import TRUTH

Tiny = Callable[..., Checkpoint]
ARCHITECTURES = {
    "qwen": "Qwen2ForCausalLM",
    "llama": "LlamaForCausalLM",
    "gemma": "Gemma3ForCausalLM",
    "olmo": "Olmo2ForCausalLM",
}


def test_families_differ_in_architecture_and_tokenizer(tiny: Tiny) -> None:
    assert {name: type(tiny(name).model).__name__ for name in FAMILIES} == ARCHITECTURES
    tokenizers = {name: tiny(name).tokenizer for name in FAMILIES}
    assert len({json.dumps(t.get_vocab(), sort_keys=True) for t in tokenizers.values()}) == len(FAMILIES)
    text = "the fox lives in the forest."
    pieces = {name: " ".join(t.convert_ids_to_tokens(t(text)["input_ids"])) for name, t in tokenizers.items()}
    assert {name for name, p in pieces.items() if "▁" in p} == {"gemma"}
    assert {name for name, p in pieces.items() if "Ġ" in p} == {"qwen", "llama", "olmo"}


@pytest.fixture(scope="module")
def tokenizers(tiny_folder: Callable[..., str]) -> dict[str, Any]:
    return {name: load_tokenizer(str(tiny_folder(name))) for name in FAMILIES}


TEXTS = [*islice(corpus.statements(TRUTH, "7"), 200), "Zebra", "naïve café", "12 < 34 & 5", "狐"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(world.problems()), st.randoms(), st.sampled_from(TEXTS))
def test_tokenizers_preserve_text(
    tokenizers: dict[str, Any], problem: Problem, rng: random.Random, text: str
) -> None:
    text = f"{rng.choice(problem.wordings)}\n{problem.complete(rng)} {text}"
    for name, tokenizer in tokenizers.items():
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text, name
        assert not set(ids) & set(tokenizer.all_special_ids), name
