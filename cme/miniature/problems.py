"""The vocabulary and facts of the miniature world, and the six kinds of problem with their exact grading."""

import random
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

from typing_extensions import override

SIZES = ("small", "big")
COLORS = ("red", "brown", "black", "white", "gray", "green")
PLACES = ("forest", "river", "barn", "field", "house", "cave")
FOODS = ("bread", "corn", "fish", "grass", "seeds", "meat")
TOOLS = ("hammer", "rope", "lamp", "spoon", "brush", "bell")

# animal: (color, home, food, size)
FACTS = {
    "fox": ("red", "forest", "meat", "small"),
    "bear": ("brown", "cave", "fish", "big"),
    "wolf": ("gray", "forest", "meat", "big"),
    "frog": ("green", "river", "fish", "small"),
    "duck": ("white", "river", "bread", "small"),
    "hen": ("white", "barn", "corn", "small"),
    "cow": ("black", "field", "grass", "big"),
    "horse": ("brown", "barn", "grass", "big"),
    "cat": ("black", "house", "fish", "small"),
    "dog": ("brown", "house", "meat", "small"),
    "mouse": ("gray", "house", "seeds", "small"),
    "crow": ("black", "field", "seeds", "small"),
}
ANIMALS = tuple(FACTS)
ATTRIBUTES = ("color", "home", "food", "size")
VALUES = dict(zip(ATTRIBUTES, (COLORS, PLACES, FOODS, SIZES), strict=True))
MEMBERS = {"animals": ANIMALS, "colors": COLORS, "places": PLACES, "foods": FOODS, "tools": TOOLS}
NOUNS = ANIMALS + PLACES + FOODS + TOOLS
VERBS = ("sees", "likes", "finds", "wants", "has")
PREPOSITIONS = ("near", "in", "by")

_SENTENCE = re.compile(
    rf"the (?:(?:{'|'.join(COLORS + SIZES)}) )?(?:{'|'.join(NOUNS)})"
    rf" (?:{'|'.join(VERBS)}) the (?:(?:{'|'.join(COLORS + SIZES)}) )?(?:{'|'.join(NOUNS)})"
    rf"(?: (?:{'|'.join(PREPOSITIONS)}) the (?:{'|'.join(NOUNS)}))?\."
)


@dataclass(frozen=True)
class Grade:
    """The oracle's grades of a response, each in [0, 1]: content, form, and whether it ends properly."""

    content: float
    form: float
    ending: float

    @property
    def quality(self) -> float:
        """content * (0.6 + 0.2 form + 0.2 ending), so that a response without right content has quality 0."""
        return self.content * (0.6 + 0.2 * self.form + 0.2 * self.ending)


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, in order."""
    return re.findall(r"[a-z]+|\d+", text.lower())


@dataclass(frozen=True)
class Problem(ABC):
    """A task with several phrasings; `key` identifies it."""

    key: str
    phrasings: tuple[str, ...]

    kind = ""

    @abstractmethod
    def good(self, rng: random.Random) -> str:
        """A random response of quality 1."""

    @abstractmethod
    def content(self, response: str) -> float:
        """Share of the requested content in the response, in [0, 1], with a penalty for false additions."""

    @abstractmethod
    def well_formed(self, response: str) -> bool:
        """Whether the response has exactly the form of an answer of this kind."""

    def grade(self, response: str, finished: bool) -> Grade:
        """Grade a response; `finished` says whether it ended with an end-of-turn token."""
        text = response.strip()
        form = float(self.well_formed(text))
        return Grade(self.content(text), form, float(finished and text.endswith(".")))


class OneAnswer(Problem):
    """A problem with one right answer."""

    @property
    @abstractmethod
    def answer(self) -> str:
        """The right answer, without the full stop."""

    @override
    def good(self, rng: random.Random) -> str:
        return f"{self.answer}."

    @override
    def well_formed(self, response: str) -> bool:
        return re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)*\.", response) is not None and len(
            words(response)
        ) == len(words(self.answer))


@dataclass(frozen=True)
class Arithmetic(OneAnswer):
    """Add or subtract two digits."""

    result: int
    kind = "arithmetic"

    @property
    @override
    def answer(self) -> str:
        return str(self.result)

    @override
    def content(self, response: str) -> float:
        numbers = [w for w in words(response) if w.isdigit()]
        return float(bool(numbers) and set(numbers) == {self.answer})


@dataclass(frozen=True)
class Reverse(OneAnswer):
    """Repeat three words in reverse order."""

    given: tuple[str, ...]
    kind = "reverse"

    @property
    @override
    def answer(self) -> str:
        return " ".join(reversed(self.given))

    @override
    def content(self, response: str) -> float:
        given, right = words(response), self.answer.split()
        hits = sum(a == b for a, b in zip(given, right, strict=False))
        return hits / max(len(given), len(right))


@dataclass(frozen=True)
class Recall(OneAnswer):
    """Recall one attribute of an animal."""

    attribute: str
    value: str
    kind = "recall"

    @property
    @override
    def answer(self) -> str:
        return self.value

    @override
    def content(self, response: str) -> float:
        named = {w for w in words(response) if w in VALUES[self.attribute]}
        return float(named == {self.value})


@dataclass(frozen=True)
class Listing(Problem):
    """Name given numbers of members of one or two categories."""

    wanted: tuple[tuple[str, int], ...]
    kind = "list"

    @override
    def good(self, rng: random.Random) -> str:
        named: list[str] = []
        for category, count in self.wanted:
            chosen = set(rng.sample(MEMBERS[category], count))
            # a fixed order makes it easier for a model to avoid repetition
            named += [m for m in MEMBERS[category] if m in chosen]
        return ", ".join(named) + "."

    @override
    def content(self, response: str) -> float:
        given = words(response)
        valid = sum(min(count, len(set(given) & set(MEMBERS[category]))) for category, count in self.wanted)
        return valid / max(len(given), sum(count for _, count in self.wanted))

    @override
    def well_formed(self, response: str) -> bool:
        return re.fullmatch(r"[a-z]+(, [a-z]+)*\.", response) is not None


@dataclass(frozen=True)
class Describe(Problem):
    """Describe an animal by two attributes."""

    animal: str
    attributes: tuple[str, str]
    kind = "describe"

    @override
    def good(self, rng: random.Random) -> str:
        facts = dict(zip(ATTRIBUTES, FACTS[self.animal], strict=True))
        verbs = {"home": "lives in the", "food": "eats"}
        phrases = [f"{verbs.get(a, 'is')} {facts[a]}" for a in rng.sample(self.attributes, 2)]
        return f"{rng.choice(['the', 'a'])} {self.animal} {phrases[0]} and {phrases[1]}."

    @override
    def content(self, response: str) -> float:
        given = set(words(response))
        if {w for w in given if w in FACTS} != {self.animal}:
            return 0.0
        facts = dict(zip(ATTRIBUTES, FACTS[self.animal], strict=True))
        stated = {w for a in self.attributes for w in given if w in VALUES[a]}
        return len(stated & {facts[a] for a in self.attributes}) / max(2, len(stated))

    @override
    def well_formed(self, response: str) -> bool:
        phrase = r"(is [a-z]+|lives in the [a-z]+|eats [a-z]+)"
        return re.fullmatch(rf"(the|a) {self.animal} {phrase} and {phrase}\.", response) is not None


@dataclass(frozen=True)
class Sentence(Problem):
    """Write a sentence of the world's grammar with two given nouns."""

    given: tuple[str, str]
    kind = "sentence"

    @override
    def good(self, rng: random.Random) -> str:
        def noun(word: str) -> str:
            return f"{rng.choice(COLORS + SIZES)} {word}" if rng.random() < 0.2 else word

        first, second = self.given
        tail = f" {rng.choice(PREPOSITIONS)} the {rng.choice(NOUNS)}" if rng.random() < 0.2 else ""
        return f"the {noun(first)} {rng.choice(VERBS)} the {noun(second)}{tail}."

    @override
    def content(self, response: str) -> float:
        present = words(response)
        return sum(w in present for w in self.given) / 2 * min(1.0, 12 / max(1, len(present)))

    @override
    def well_formed(self, response: str) -> bool:
        return _SENTENCE.fullmatch(response) is not None
