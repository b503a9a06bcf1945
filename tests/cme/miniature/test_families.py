"""The four families: real architectures, different tokenizers, and tokenizers that preserve text."""

import json
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cme.checkpoints import Checkpoint
from cme.miniature import corpus, world
from cme.miniature.families import FAMILIES, make_model

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
    assert len({len(t) for t in tokenizers.values()}) == len(FAMILIES)
    assert len({json.dumps(t.get_vocab(), sort_keys=True) for t in tokenizers.values()}) == len(FAMILIES)
    text = "the fox lives in the forest."
    pieces = {name: " ".join(t.convert_ids_to_tokens(t(text)["input_ids"])) for name, t in tokenizers.items()}
    assert {name for name, p in pieces.items() if "▁" in p} == {"gemma"}
    assert {name for name, p in pieces.items() if "Ġ" in p} == {"qwen", "llama", "olmo"}


def test_the_lm_head_covers_the_tokenizer(tiny: Tiny, family: str) -> None:
    checkpoint = tiny(family)
    logits = checkpoint.model(input_ids=torch.tensor([[3, 4]])).logits
    assert logits.shape[-1] == len(checkpoint.tokenizer)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_tokenizers_preserve_text_of_the_world(
    tiny_tokenizers: dict[str, object], data: st.DataObject
) -> None:
    problem = data.draw(st.sampled_from(world.problems()))
    text = f"{data.draw(st.sampled_from(problem.phrasings))}\n{problem.good(data.draw(st.randoms()))}"
    for tokenizer in tiny_tokenizers.values():
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text  # type: ignore[operator,attr-defined]


@pytest.fixture(scope="module")
def tiny_tokenizers(tiny_folder: Callable[..., str]) -> dict[str, object]:
    from cme.checkpoints import load

    return {name: load(str(tiny_folder(name))).tokenizer for name in FAMILIES}


def test_tokenizers_preserve_statements_without_special_tokens(tiny_tokenizers: dict[str, object]) -> None:
    told = corpus.statements(7)
    for _ in range(200):
        text = next(told)
        for name, tokenizer in tiny_tokenizers.items():
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
            assert tokenizer.decode(ids) == text, name  # type: ignore[attr-defined]
            assert not set(ids) & set(tokenizer.all_special_ids), name  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["Zebra", "naïve café", "12 < 34 & 5", "狐"])
def test_tokenizers_preserve_any_other_text(tiny_tokenizers: dict[str, object], text: str) -> None:
    for name, tokenizer in tiny_tokenizers.items():
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text, name  # type: ignore[operator,attr-defined]


def test_random_weights_depend_on_torchs_seed(family: str) -> None:
    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(make_model(FAMILIES[family], 300, 32, 1).parameters())

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))
