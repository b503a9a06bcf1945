"""What every kind of task has in common: its faults, and the exact grading of its responses.

A task asks for two to four parts: facts, steps of a calculation, or members of categories. Its complete responses are
diverse. Its faulty ones are stereotyped, one form per fault, as in real models, whose greedy responses repeat the same
fault although the models know better.

    quality = max(0, right - 0.25 extra) / parts,     halved if the response is not well formed

`right` counts the parts that are right. `extra` counts the parts with a false value, repeated and unasked statements,
and boilerplate.
"""

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass

from cme.miniature.vocabulary import TRUTH, Beliefs
from cme.records import Grade

FAULTS = ("incomplete", "wrong", "off_format", "boilerplate", "repetition", "unasked", "unfinished")
"""Faults of a response:

- incomplete: a part is missing.
- wrong: a part has a wrong value.
- off_format: it is not made of sentences of the task's form.
- boilerplate: it has a phrase that could answer any prompt.
- repetition: it states a part twice.
- unasked: it states something that is not asked for.
- unfinished: it does not end by itself.
"""
BOILERPLATE = "that is a good question."
EXTRA_COST = 0.25
FORM_FACTOR = 0.5

Statement = tuple[str, str]
"""What a response states: the name of a part, and its value."""


@dataclass(frozen=True)
class Reading:
    """What a response says, in the order in which it says it; `well_formed`: it is made of sentences of the form."""

    statements: tuple[Statement, ...]
    well_formed: bool


@dataclass(frozen=True)
class Problem(ABC):
    """A task with several wordings. Tasks with the same `key` ask for the same, in another order."""

    key: str
    wordings: tuple[str, ...]

    kind = ""

    @property
    @abstractmethod
    def parts(self) -> dict[str, frozenset[str]]:
        """The right values of each part that is asked for, by its name."""

    @abstractmethod
    def complete(self, rng: random.Random, beliefs: Beliefs = TRUTH, canonical: bool = False) -> str:
        """A random complete response under some beliefs; `canonical`: in the one form that faulty responses have."""

    @abstractmethod
    def faulty(self, fault: str, rng: random.Random, beliefs: Beliefs = TRUTH) -> str:
        """A response with a fault, one of FAULTS other than boilerplate and unfinished."""

    @abstractmethod
    def read(self, response: str) -> Reading:
        """What a response without boilerplate states."""

    def respond(
        self, fault: str, rng: random.Random, beliefs: Beliefs = TRUTH, canonical: float = 0.0
    ) -> str:
        """A response with a fault, or a complete one for fault `none`, canonical with the given probability."""
        if fault == "none":
            return self.complete(rng, beliefs, rng.random() < canonical)
        return BOILERPLATE if fault == "boilerplate" else self.faulty(fault, rng, beliefs)

    def grade(self, response: str, finished: bool) -> Grade:
        """Grade a response; `finished` says whether it ended with an end-of-turn token."""
        stock = response.count(BOILERPLATE)
        reading = self.read(" ".join(response.replace(BOILERPLATE, " ").split()))
        parts, stated = self.parts, dict[str, list[str]]()
        for name, value in reading.statements:
            stated.setdefault(name, []).append(value)
        right = {
            name: set(stated.get(name, ())) <= values and name in stated for name, values in parts.items()
        }
        wrong = [n for n, values in parts.items() if n in stated and not set(stated[n]) <= values]
        repeated = sum(len(given) - len(set(given)) for name, given in stated.items() if name in parts)
        unasked = sum(len(given) for name, given in stated.items() if name not in parts)
        extra = len(wrong) + repeated + unasked + stock
        well_formed = reading.well_formed and finished
        quality = max(0.0, sum(right.values()) - EXTRA_COST * extra) / len(parts)
        found = {
            "unfinished": not finished,
            "boilerplate": stock > 0,
            "off_format": not well_formed,
            "wrong": bool(wrong),
            "repetition": repeated > 0,
            "unasked": unasked > 0,
            "incomplete": not all(right.values()),
        }
        fault = next((name for name, present in found.items() if present), "none")
        return Grade(quality if well_formed else FORM_FACTOR * quality, fault, right)
