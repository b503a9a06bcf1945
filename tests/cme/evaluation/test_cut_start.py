"""The cut start is cut where it says."""

from collections.abc import Callable

import pytest

from cme.checkpoints import Checkpoint
from cme.evaluation.cut_start import cut_at_sentence_end, cut_to_length
from cme.models import chat
from cme.records import Generation


def generation(text: str, finished: bool = True, tokens: int | None = 9) -> Generation:
    return Generation(text, finished, tokens)


@pytest.mark.parametrize(
    ("text", "finished", "cut", "ended"),
    [
        ("the fox is red. it eats meat.", False, "the fox is red.", True),
        ("why? because.", True, "why?", True),
        ("the sum is 3.5 or so! yes", True, "the sum is 3.5 or so!", True),
        ("the fox is red.", False, "the fox is red.", True),  # it would have ended here
        ("the fox is red", False, "the fox is red", False),
        ("", True, "", True),
    ],
)
def test_a_response_is_cut_at_its_first_sentence_end(
    text: str, finished: bool, cut: str, ended: bool
) -> None:
    found = cut_at_sentence_end(generation(text, finished))
    assert (found.response, found.finished) == (cut, ended)


def test_without_an_oracle_a_stop_string_or_the_policys_length_cuts(tiny: Callable[..., Checkpoint]) -> None:
    tokenizer = tiny("qwen").tokenizer
    text = "the fox is red and the bear is brown and the duck is white."
    ids = chat.response_ids(tokenizer, text)
    whole = generation(text, False, len(ids))
    for length in (0, 1, 5):
        for finished in (True, False):  # the end-of-turn token is no part of the text
            found = cut_to_length(tokenizer, whole, generation("", finished, length + finished))
            assert found.response == tokenizer.decode(ids[:length]) and found.finished is False
    assert cut_to_length(tokenizer, whole, generation("", False, len(ids))) == whole
    for mark in ("\nUser: and the frog?", "\n\n### Instruction:\nGo on.", "\n<|im_start|>user"):
        asked = generation(f"{text}\n\nIt is so.{mark}", False, 99)
        found = cut_to_length(tokenizer, asked, generation("", True, 2))
        assert (found.response, found.finished) == (f"{text}\n\nIt is so.", True)
