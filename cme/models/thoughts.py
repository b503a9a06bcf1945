"""The thoughts of reasoning models: text between markers such as `<think>` and `</think>` in front of a response."""

import re
from dataclasses import dataclass

MARKERS = (
    ("<think>", "</think>"),  # Qwen 3, DeepSeek R1, OLMo 3
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|channel>thought", "<channel|>"),  # Gemma 4
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
)
"""Where a thought begins and ends, by family."""


@dataclass(frozen=True)
class Thoughts:
    """A text split into its thoughts and the response behind them.

    Attributes:
        length: the number of characters in front of the response, which are its thoughts.
        response: the text behind the thoughts; empty if the last thought is not closed.
        closed: whether every thought is closed. A text with an open thought is unfinished.
    """

    length: int
    response: str
    closed: bool


def split_thoughts(text: str) -> Thoughts:
    """Split the thoughts at the beginning of a text from the response behind them.

    A closing marker without an opening one in front of it ends a thought that the prompt opened, if a line ends behind
    it, as models write it. All other markers behind the beginning of the response are text.
    """
    response = text
    for opening, closing in MARKERS:
        end = re.search(rf"{re.escape(closing)}[ \t]*$", text, re.MULTILINE)
        if end and opening not in text[: end.start()]:
            response = text[end.end() :].lstrip()
            break
    while opened := next((pair for pair in MARKERS if response.lstrip().startswith(pair[0])), None):
        _, found, after = response.partition(opened[1])
        if not found:
            return Thoughts(len(text), "", closed=False)
        response = after.lstrip()
    return Thoughts(len(text) - len(response), response, closed=True)


def opened_thought(text: str) -> tuple[str, str] | None:
    """The markers of the thought within which a text ends; None if it ends within none."""
    return next((pair for pair in MARKERS if text.rfind(pair[0]) > text.rfind(pair[1])), None)
