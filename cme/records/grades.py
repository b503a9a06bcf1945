"""The true quality of responses, where the data have an oracle."""

from collections.abc import Callable
from dataclasses import dataclass

from cme.records.codec import Strict


@dataclass(frozen=True)
class Grade(Strict):
    """The truth about one response.

    Attributes:
        quality: From 0 to 1.
        fault: The response's main fault; `none` if it has none.
        parts: For each part that the prompt asks for, whether the response has it right. A part that is a fact is
            named `animal attribute`, such as `fox color`.

    Raises ValueError for a quality outside of [0, 1].
    """

    quality: float
    fault: str
    parts: dict[str, bool]

    def __post_init__(self) -> None:
        if not 0.0 <= self.quality <= 1.0:
            raise ValueError(f"quality is {self.quality}; it must be from 0 to 1")

    @property
    def facts(self) -> dict[str, bool]:
        """The parts that are facts, such as `fox color`, and not `step 1` or `member 1 of places`."""
        words = {part: part.split() for part in self.parts}
        return {p: self.parts[p] for p, w in words.items() if len(w) == 2 and not w[1].isdigit()}


Oracle = Callable[[str, str, bool], Grade]
"""The grade of a response, given the prompt, the response, and whether the response ended by itself."""


@dataclass(frozen=True)
class Grades(Strict):
    """The grades of responses to the evaluation prompts, in the order of the record's pairs.

    Attributes:
        cut_start: Those of the untrained model's responses, each cut at its first sentence end.
        selected: Those of the selected checkpoint's responses; None if the record has none.
    """

    start: list[Grade]
    policy: list[Grade]
    cut_start: list[Grade]
    selected: list[Grade] | None = None
