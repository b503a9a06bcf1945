"""Every checkpoint's prompt and stop tokens against a table written by hand."""

from collections.abc import Callable

import pytest
from scripted import forced, logits_of

from cme.checkpoints import load, load_tokenizer
from cme.models import chat
from cme.models.generation import generate
from tests.rehearsal.expected import EXPECTED, ids_of
from tests.rehearsal.stand_ins.checkpoints import recipes
from tests.rehearsal.stand_ins.data_sets import SPELLED_CONTROLS

Snapshot = Callable[[str], str]


def test_the_table_has_every_checkpoint() -> None:
    assert EXPECTED.keys() == recipes().keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_prompt(snapshot: Snapshot, name: str) -> None:
    expected, tokenizer = EXPECTED[name], load_tokenizer(snapshot(name))
    for question in (expected.question, "What is 3 plus 4? 日本語 🙂"):
        ids = chat.prompt_ids(tokenizer, question)
        assert ids == ids_of(snapshot(name), expected.render(question), controls=True)
    # control tokens that a question spells are text
    controls = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    found, plain = (chat.prompt_ids(tokenizer, f"Explain {t}.") for t in (SPELLED_CONTROLS, "it"))
    assert [i for i in found if i in controls] == [i for i in plain if i in controls]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_response_ends_at_each_stop_token(snapshot: Snapshot, name: str) -> None:
    """`ab<|endoftext|>cd` is `ab`, finished, three tokens."""
    folder = snapshot(name)
    checkpoint = load(folder)
    stops = {i for stop in EXPECTED[name].stops for i in ids_of(folder, stop, controls=True)}
    assert set(checkpoint.end_ids) == stops, "it goes on after any other control token"
    for stop in EXPECTED[name].stops:
        script = [i for text in ("a", "b", stop, "c", "d", "a") for i in ids_of(folder, text, controls=True)]
        assert len(script) == 6
        with forced(checkpoint.model, logits_of(script, checkpoint.model)):
            [response] = generate(
                checkpoint.model, checkpoint.tokenizer, ["Name two animals."], max_new_tokens=6, batch_size=1
            )
        assert (response.response, response.finished, response.tokens) == ("ab", True, 3)
