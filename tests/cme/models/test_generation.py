"""Batched greedy generation against a loop that runs one prompt, without cache or padding."""

from collections.abc import Callable

import pytest
import torch

from cme.checkpoints import Checkpoint
from cme.models import chat, generation
from cme.models.generation import generate
from cme.records import Generation

Tiny = Callable[..., Checkpoint]
PROMPTS = [
    "what is 3 plus 4?",
    "tell the color and home of the horse.",
    "say lamp frog meat backwards.",
    "name two animals but not fox.",
    "describe the mouse by its color and size. " * 8,  # longer than Gemma's sliding window
]
NEW = 10


@torch.no_grad()
def slow(checkpoint: Checkpoint, prompt: str) -> list[int]:
    """NEW greedy tokens, whatever they are."""
    ids = chat.prompt_ids(checkpoint.tokenizer, prompt)
    own: list[int] = []
    for _ in range(NEW):
        own.append(int(checkpoint.model(input_ids=torch.tensor([ids + own])).logits[0, -1].argmax()))
    return own


def expected(checkpoint: Checkpoint, own: list[int], end: int) -> Generation:
    finished = end in own
    said = own[: own.index(end)] if finished else own
    text = checkpoint.tokenizer.decode(said, skip_special_tokens=True)
    return Generation(text, finished, len(said) + (1 if finished else 0))


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_batched_equals_one_by_one(
    tiny: Tiny, family: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tiny(family)
    runs = [slow(checkpoint, p) for p in PROMPTS]
    assert len({tuple(r) for r in runs}) > 1, "the prompts must lead to different responses"
    end = runs[0][3]  # a random model never ends its turn: let a token that it does say be the end
    monkeypatch.setattr(generation.chat, "end_of_turn_id", lambda _: end)
    found = generate(
        checkpoint.model, checkpoint.tokenizer, PROMPTS, max_new_tokens=NEW, batch_size=batch_size
    )
    assert found == [expected(checkpoint, run, end) for run in runs]
    assert found[0].finished and found[0].tokens <= 4


def test_unfinished_responses_use_all_their_tokens(tiny: Tiny) -> None:
    checkpoint = tiny("llama")
    [found] = generate(checkpoint.model, checkpoint.tokenizer, PROMPTS[:1], max_new_tokens=NEW, batch_size=8)
    assert not found.finished
    assert found.tokens == NEW


def test_an_immediate_end_is_an_empty_finished_response(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tiny("qwen")
    end = slow(checkpoint, PROMPTS[0])[0]
    monkeypatch.setattr(generation.chat, "end_of_turn_id", lambda _: end)
    found = generate(checkpoint.model, checkpoint.tokenizer, PROMPTS[:1], max_new_tokens=NEW, batch_size=1)
    assert found == [Generation("", True, 1)]


def test_sampling_follows_torchs_generator(tiny: Tiny) -> None:
    checkpoint = tiny("olmo")

    def draw(seed: int) -> list[Generation]:
        torch.manual_seed(seed)
        return generate(
            checkpoint.model, checkpoint.tokenizer, PROMPTS, max_new_tokens=6, batch_size=5, temperature=1.0
        )

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


def test_a_seed_decides_alone_and_leaves_torchs_generator(tiny: Tiny) -> None:
    checkpoint = tiny("olmo")

    def draw(seed: int) -> list[Generation]:
        return generate(
            checkpoint.model,
            checkpoint.tokenizer,
            PROMPTS,
            max_new_tokens=6,
            batch_size=2,
            temperature=1.0,
            seed=seed,
        )

    torch.manual_seed(1)
    expected_next = torch.rand(3)
    torch.manual_seed(1)
    first = draw(0)
    assert torch.equal(torch.rand(3), expected_next)
    torch.manual_seed(2)
    assert draw(0) == first != draw(1)


def test_token_ids_are_what_the_text_was_read_from(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tiny("qwen")
    end = slow(checkpoint, PROMPTS[0])[3]
    monkeypatch.setattr(generation.chat, "end_of_turn_id", lambda _: end)
    found = generation.generate_ids(
        checkpoint.model, checkpoint.tokenizer, PROMPTS, max_new_tokens=NEW, batch_size=5
    )
    for prompt, ids in zip(PROMPTS, found, strict=True):
        own = slow(checkpoint, prompt)
        assert ids == (own[: own.index(end) + 1] if end in own else own)
