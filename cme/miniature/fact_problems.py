"""Tasks that ask for facts: the attributes of an animal, or an attribute of several animals."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from cme.miniature.problems import Problem, Reading, Statement
from cme.miniature.vocabulary import ANIMALS, ATTRIBUTES, TRUTH, VALUES, Beliefs, fact_name, facts

# the phrases that state a fact, and how they are recognized
_PHRASES = {
    "color": ("is {}", "has a {} coat"),
    "home": ("lives in the {}", "has a home in the {}"),
    "food": ("eats {}", "likes to eat {}"),
    "name": ("is called {}", "goes by {}"),
}
_POPULAR = {"color": "brown", "home": "house", "food": "fish", "name": "max"}
"""The value that a wrong answer states; the second one is for facts of which it is true."""
_SECOND = {"color": "black", "home": "field", "food": "corn", "name": "tom"}
_CLAUSE = "|".join(
    phrase.format(f"(?P<{attribute}{i}>{'|'.join(VALUES[attribute])})")
    for attribute, phrases in _PHRASES.items()
    for i, phrase in enumerate(phrases)
)
_STATEMENT = re.compile(rf"(?:(?:(?:the|a) (?P<animal>{'|'.join(ANIMALS)})|(?P<it>it)) )?(?:{_CLAUSE})\b")
_JOINT = re.compile(r", | and |\. ")


@dataclass(frozen=True)
class Facts(Problem):
    """State facts: several attributes of an animal (`profile`), or an attribute of several animals (`compare`)."""

    asked: tuple[tuple[str, str], ...]

    @property
    @override
    def parts(self) -> dict[str, frozenset[str]]:
        return {name: frozenset({facts()[name]}) for name in (fact_name(*pair) for pair in self.asked)}

    def _stated(self, rng: random.Random, beliefs: Beliefs) -> list[tuple[str, str, str]]:
        return [(*asked, beliefs.value(fact_name(*asked), rng)) for asked in self.asked]

    @override
    def complete(self, rng: random.Random, beliefs: Beliefs = TRUTH, canonical: bool = False) -> str:
        stated = self._stated(rng, beliefs)
        if canonical:
            return _sentence(stated)
        rng.shuffle(stated)
        article = rng.choice(("the", "a"))
        subject, text = "", ""
        for i, (animal, attribute, value) in enumerate(stated):
            phrase = rng.choice(_PHRASES[attribute]).format(value)
            last = i == len(stated) - 1
            if animal != subject:
                new = f"{article} {animal} "
                joint = "" if i == 0 else rng.choice((". ", " and " if last else ", "))
            else:
                joint, new = rng.choice(
                    ((". ", "it "), (" and ", "") if last else (", ", ""), (" and ", "it "))
                )
            text += f"{joint}{new}{phrase}"
            subject = animal
        return f"{text}."

    @override
    def faulty(self, fault: str, rng: random.Random, beliefs: Beliefs = TRUTH) -> str:
        stated = self._stated(rng, beliefs)
        if fault == "incomplete":
            return _sentence(stated[:1])
        if fault == "wrong":
            animal, attribute, _ = stated[-1]
            popular = _POPULAR[attribute]
            value = popular if facts()[fact_name(animal, attribute)] != popular else _SECOND[attribute]
            return _sentence([*stated[:-1], (animal, attribute, value)])
        if fault == "off_format":
            return " ".join(value for _, _, value in stated)
        if fault == "repetition":
            return _sentence(stated[:1] * 3)
        # unasked: the same attributes of the animal that follows in the list, or the attributes that are not asked for
        animal = stated[-1][0]
        attributes = {attribute for _, attribute, _ in stated}
        others = [a for a in ATTRIBUTES if a not in attributes]
        extra = [(animal, a) for a in others[:2]] or [(ANIMALS[ANIMALS.index(animal) - 1], "color")]
        return _sentence([*stated, *((a, b, beliefs.value(fact_name(a, b), rng)) for a, b in extra)])

    @override
    def read(self, response: str) -> Reading:
        statements: list[Statement] = []
        subject, end, well_formed = "", 0, response.endswith(".")
        for match in _STATEMENT.finditer(response):
            joint = response[end : match.start()]
            new_sentence = end == 0 or joint == ". "
            well_formed &= joint == "" if end == 0 else _JOINT.fullmatch(joint) is not None
            well_formed &= not new_sentence or bool(match["animal"] or (match["it"] and subject))
            subject = match["animal"] or subject
            end = match.end()
            name, value = next(
                (k[:-1], v) for k, v in match.groupdict().items() if v and k not in ("animal", "it")
            )
            statements.append((fact_name(subject, name), value))
        if not statements:
            return Reading(_bare_values(response, self.asked), False)
        return Reading(tuple(statements), well_formed and response[end:] == ".")


@dataclass(frozen=True)
class Profile(Facts):
    """Describe an animal by two to four attributes."""

    kind = "profile"


@dataclass(frozen=True)
class Compare(Facts):
    """State one attribute of two or three animals."""

    kind = "compare"


def _sentence(stated: Sequence[tuple[str, str, str]]) -> str:
    """Facts in one sentence, in the form that faulty responses have."""
    text, subject = "", ""
    for i, (animal, attribute, value) in enumerate(stated):
        joint = "" if i == 0 else " and " if i == len(stated) - 1 else ", "
        text += joint + ("" if animal == subject else f"the {animal} ") + _PHRASES[attribute][0].format(value)
        subject = animal
    return f"{text}."


def _bare_values(response: str, asked: Sequence[tuple[str, str]]) -> tuple[Statement, ...]:
    """Values without a sentence, matched with the parts in the order of the prompt."""
    words = re.findall(r"[a-z]+", response)
    statements, at = [], 0
    for animal, attribute in asked:
        place = next((i for i in range(at, len(words)) if words[i] in VALUES[attribute]), None)
        if place is not None:
            statements.append((fact_name(animal, attribute), words[place]))
            at = place + 1
    return tuple(statements)
