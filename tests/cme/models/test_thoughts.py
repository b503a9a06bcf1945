"""Thoughts in front of a response."""

import pytest

from cme.grading.answers import answer_span, extract_answer, is_correct
from cme.models.thoughts import Thoughts, opened_thought, split_thoughts


@pytest.mark.parametrize(
    ("text", "thoughts", "response"),
    [
        ("It is 7.", "", "It is 7."),
        ("<think>\nMaybe 8?\n</think>\n\nIt is 7.", "<think>\nMaybe 8?\n</think>\n\n", "It is 7."),
        ("\n<think></think>It is 7.", "\n<think></think>", "It is 7."),
        ("Maybe 8?\n</think>\nIt is 7.", "Maybe 8?\n</think>\n", "It is 7."),  # the prompt opened the thought
        ("<think>a</think> <think>b</think> c", "<think>a</think> <think>b</think> ", "c"),
        ("<|channel>thought\n8?<channel|>7", "<|channel>thought\n8?<channel|>", "7"),
        ("It is <think>8</think>", "", "It is <think>8</think>"),
        ("The tag </think> closes a thought.", "", "The tag </think> closes a thought."),
        ("Maybe 8?</think> \nIt is 7.", "Maybe 8?</think> \n", "It is 7."),
    ],
)
def test_thoughts_are_in_front_of_the_response(text: str, thoughts: str, response: str) -> None:
    assert split_thoughts(text) == Thoughts(len(thoughts), response, closed=True)
    if thoughts:
        assert extract_answer(text, "number") == extract_answer(response, "number")
        assert answer_span(text, "whole") == (len(thoughts), len(text))


@pytest.mark.parametrize("text", ["<think>", "<think>Is it 8? It is \\boxed{8}", "<think>a</think><think>b"])
def test_an_open_thought_has_no_response(text: str) -> None:
    assert split_thoughts(text) == Thoughts(len(text), "", closed=False)
    assert [answer_span(text, kind) for kind in ("whole", "number", "boxed")] == [None] * 3


def test_a_prompt_may_open_a_thought() -> None:
    assert opened_thought("<|im_start|>assistant\n<think>\n") == ("<think>", "</think>")
    assert opened_thought("<|im_start|>assistant\n<think>\n\n</think>\n\n") is None
    assert opened_thought("<|im_start|>assistant\n") is None


def test_a_boxed_answer_is_behind_the_thoughts() -> None:
    assert extract_answer("<think>\\boxed{8}</think>\nIt is \\boxed{7}.", "boxed") == "7"
    assert is_correct("<think>It is \\boxed{7}.</think> I do not know.", "7", "boxed") is False
