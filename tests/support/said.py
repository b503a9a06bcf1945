"""Responses of the miniature world that are made from known statements, and their grades by counting.

Nothing here reads a response: the grade follows from the statements that a text is made of, and the parts from the
words of the prompt.
"""

import re
from dataclasses import dataclass

from hypothesis import strategies as st

from cme.miniature.problems import BOILERPLATE
from cme.miniature.vocabulary import ANIMALS, CATEGORIES, VALUES, facts
from cme.records import Grade

COUNTS = ("zero", "one", "two", "three", "four")
PHRASES = {
    "color": ("is {}", "has a {} coat"),
    "home": ("lives in the {}", "has a home in the {}"),
    "food": ("eats {}", "likes to eat {}"),
    "name": ("is called {}", "goes by {}"),
}
ENDINGS = st.sampled_from([".", ".", ".", ".", "", "!", ".."])
ORDER = ("unfinished", "boilerplate", "off_format", "wrong", "repetition", "unasked", "incomplete")
"""The fault that is reported is the first of those that a response has."""


def steps_of(prompt: str) -> list[tuple[int, str, int, int]]:
    """The steps (left, sign, right, result) of the calculation that a prompt asks for."""
    value, *rest = re.findall(r"\d+|plus|minus", prompt)
    left, steps = int(value), []
    for sign, right in zip(rest[::2], map(int, rest[1::2]), strict=True):
        result = left + right if sign == "plus" else left - right
        steps.append((left, sign, right, result))
        left = result
    return steps


def parts_of(prompt: str) -> dict[str, set[str]]:
    """The right values of each part that the words of a prompt ask for, by its name."""
    words = re.findall(r"\w+", prompt)
    if ("of" in words and any(w in ANIMALS for w in words)) or prompt.startswith("describe"):
        named = [f"{a} {b}" for a in words if a in ANIMALS for b in words if b in VALUES]
        return {name: {facts()[name]} for name in named}
    if "plus" in words or "minus" in words:
        return {
            f"step {i}": {f"{a} {sign} {b} is {c}"} for i, (a, sign, b, c) in enumerate(steps_of(prompt), 1)
        }
    wanted = [(words[i + 3], COUNTS.index(w)) for i, w in enumerate(words) if w in COUNTS]
    return {f"member {i} of {c}": set(CATEGORIES[c]) for c, count in wanted for i in range(1, count + 1)}


@dataclass(frozen=True)
class Said:
    """A text, and what it states: names of parts, or of what is not asked for, and values."""

    text: str
    statements: list[tuple[str, str]]

    def grade(self, prompt: str, well_formed: bool, boilerplate: int, finished: bool) -> Grade:
        """The grade by the definition: a quarter off for each extra statement, half of it for a bad form."""
        parts = parts_of(prompt)
        values: dict[str, list[str]] = {name: [] for name in parts}
        repeated = unasked = 0
        for name, value in self.statements:
            if name not in parts:
                unasked += 1
            elif value in values[name]:
                repeated += 1
            else:
                values[name].append(value)
        right = {name: bool(values[name]) and set(values[name]) <= parts[name] for name in parts}
        wrong = sum(not set(values[name]) <= parts[name] for name in parts)
        quality = max(0, sum(right.values()) - (wrong + repeated + unasked + boilerplate) / 4) / len(parts)
        present = {
            "unfinished": not finished,
            "boilerplate": boilerplate > 0,
            "off_format": not well_formed,
            "wrong": wrong > 0,
            "repetition": repeated > 0,
            "unasked": unasked > 0,
            "incomplete": not all(right.values()),
        }
        fault = next((name for name in ORDER if present[name]), "none")
        return Grade(quality if well_formed and finished else quality / 2, fault, right)


def said_facts(draw: st.DrawFn, prompt: str) -> Said:
    """Statements of facts, most of them asked for, in random sentences."""
    asked = [tuple(name.split()) for name in parts_of(prompt)]
    text, subject, statements = "", "", []
    for i in range(draw(st.integers(1, 5))):
        animal, attribute = draw(
            st.sampled_from(asked) | st.tuples(st.sampled_from(ANIMALS), st.sampled_from(list(VALUES)))
        )
        name = f"{animal} {attribute}"
        value = draw(st.just(facts()[name]) | st.sampled_from(VALUES[attribute]))
        joint = draw(st.sampled_from([". ", ", ", " and "])) if i else ""
        subjects = [f"the {animal} ", f"a {animal} "]
        if animal == subject:
            subjects += ["it "] if joint == ". " else ["it ", ""]
        text += joint + draw(st.sampled_from(subjects))
        text += draw(st.sampled_from(PHRASES[attribute])).format(value)
        statements.append((name, value))
        subject = animal
    return Said(text, statements)


def said_members(draw: st.DrawFn, prompt: str) -> Said:
    """A list of words, most of them asked for. Another word stands for a part that is missing, if there is one."""
    parts = parts_of(prompt)
    wanted = sorted(set.union(*parts.values()))
    every = sorted(w for members in CATEGORIES.values() for w in members)
    words = draw(st.lists(st.sampled_from(wanted) | st.sampled_from(every), min_size=1, max_size=6))
    names: dict[str, str] = {}
    for asked in (True, False):  # members first, then other words
        for word in words:
            free = [
                n for n, members in parts.items() if n not in names.values() and (word in members) == asked
            ]
            if word not in names and free:
                names[word] = free[0]
    text = draw(st.sampled_from(["", "here are ", "i name "])) + words[0]
    for i, word in enumerate(words[1:], 2):
        text += (draw(st.sampled_from([", ", " and "])) if i == len(words) else ", ") + word
    return Said(text, [(names.get(w, f"not asked for: {w}"), w) for w in words])


def said_steps(draw: st.DrawFn, prompt: str) -> Said:
    """Steps of a calculation. One that is not asked for stands for the part in its place, if that is not stated yet."""
    asked = steps_of(prompt)
    names = {step[:3]: f"step {i}" for i, step in enumerate(asked, 1)}
    number = st.integers(0, 9)
    other = st.tuples(number, st.sampled_from(["plus", "minus"]), number, number)
    text, statements = draw(st.sampled_from(["", "first "])), list[tuple[str, str]]()
    for i in range(1, draw(st.integers(1, 5)) + 1):
        a, sign, b, c = draw(st.sampled_from(asked) | other)
        place = f"step {i}" if i <= len(asked) and f"step {i}" not in dict(statements) else f"another {i}"
        statements.append((names.get((a, sign, b), place), f"{a} {sign} {b} is {c}"))
        text += draw(st.sampled_from([" and ", ". ", ", ", ", then ", ". then "])) if i > 1 else ""
        text += f"{a} {sign} {b} {draw(st.sampled_from(['is', 'makes', 'gives']))} {c}"
    return Said(text, statements)


@st.composite
def graded(draw: st.DrawFn, prompt: str, kind: str) -> tuple[str, bool, Grade]:
    """A response to a prompt, whether it ended by itself, and its grade."""
    make = {"list": said_members, "sum": said_steps}.get(kind, said_facts)
    said, ending, finished = make(draw, prompt), draw(ENDINGS), draw(st.booleans())
    before, after = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    text = f"{BOILERPLATE} " * before + said.text + ending + f" {BOILERPLATE}" * after
    return text, finished, said.grade(prompt, ending == ".", before + after, finished)
