"""Every checkpoint's prompt and stop tokens against a table written by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from scripted import forced, logits_of

from cme.checkpoints import load, load_tokenizer
from cme.models import chat
from cme.models.generation import generate
from tests.rehearsal.expected_prompts import EXPECTED, ids_of
from tests.rehearsal.stand_ins.checkpoints import recipes
from tests.rehearsal.stand_ins.data_sets import SPELLED_CONTROLS

Snapshot = Callable[[str], str]


def test_the_table_has_every_checkpoint() -> None:
    assert EXPECTED.keys() == recipes().keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_prompt(snapshot: Snapshot, name: str) -> None:
    expected, folder = EXPECTED[name], snapshot(name)
    for question in (expected.question, "What is 3 plus 4? 日本語 🙂"):
        ids = chat.prompt_ids(load_tokenizer(folder), question)
        assert ids == ids_of(folder, expected.render(question), controls=True)


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen2.5-0.5B-Instruct", "google/gemma-4-E4B-it", "allenai/OLMo-2-0425-1B"]
)
def test_control_tokens_that_a_question_spells_are_text(snapshot: Snapshot, name: str) -> None:
    folder = snapshot(name)
    controls = {"<|im_end|>", "<bos>", "<|eot_id|>", "<end_of_turn>", "<turn|>"} & _vocabulary(folder)
    question = f"Explain {SPELLED_CONTROLS} <turn|>."
    ids = chat.prompt_ids(load_tokenizer(folder), question)
    plain = chat.prompt_ids(load_tokenizer(folder), "Explain.")
    for control in controls:
        [control_id] = ids_of(folder, control, controls=True)
        assert ids.count(control_id) == plain.count(control_id), control


def _vocabulary(folder: str) -> set[str]:
    return set(load_tokenizer(folder).get_vocab())


@pytest.mark.parametrize(
    ("name", "stop"), [(name, stop) for name, expected in EXPECTED.items() for stop in expected.stops]
)
def test_a_response_ends_at_each_stop_token(snapshot: Snapshot, name: str, stop: str) -> None:
    """`ab<|endoftext|>cd` is `ab`, finished, three tokens."""
    folder = snapshot(name)
    script = [_id(folder, text) for text in ("a", "b", stop, "c", "d", "a")]
    [response] = _follow(folder, script)
    assert (response.response, response.finished, response.tokens) == ("ab", True, 3)


@pytest.mark.parametrize(
    ("name", "control"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", "<|im_start|>"),
        ("meta-llama/Llama-3.2-1B-Instruct", "<|python_tag|>"),
        ("google/gemma-4-E4B-it", "<|channel>"),
        ("allenai/OLMo-2-0425-1B", "<|im_end|>"),
    ],
)
def test_a_response_goes_on_after_any_other_control_token(
    snapshot: Snapshot, name: str, control: str
) -> None:
    folder = snapshot(name)
    script = [_id(folder, text) for text in ("a", control, "b", "c")]
    [response] = _follow(folder, script)
    assert (response.response.endswith("bc"), response.finished, response.tokens) == (True, False, 4)


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-Math-7B-Instruct"])
def test_greedy_decoding_takes_the_likeliest_token(snapshot: Snapshot, name: str) -> None:
    """With the penalty on repetition that the hub's file has, the second token would come second."""
    folder = snapshot(name)
    first, second = _id(folder, "a"), _id(folder, "b")
    checkpoint = load(folder)
    likely = torch.full((checkpoint.model.get_output_embeddings().weight.shape[0],), -10.0)
    likely[first], likely[second] = 5.0, 4.9
    with forced(checkpoint.model, [likely] * 4):
        [response] = generate(
            checkpoint.model, checkpoint.tokenizer, ["Name two animals."], max_new_tokens=4, batch_size=1
        )
    assert response.response == "aaaa"


def _id(folder: str, token: str) -> int:
    [token_id] = ids_of(folder, token, controls=True)
    return token_id


def _follow(folder: str, script: Sequence[int]) -> list[Any]:
    """The response of a checkpoint that writes the tokens of a script."""
    checkpoint = load(folder)
    with forced(checkpoint.model, logits_of(script, checkpoint.model)):
        return generate(
            checkpoint.model,
            checkpoint.tokenizer,
            ["Name two animals."],
            max_new_tokens=len(script),
            batch_size=1,
        )
