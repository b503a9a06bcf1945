"""Tasks that ask for a calculation in two or three steps."""

import random
import re
from dataclasses import dataclass

from typing_extensions import override

from cme.miniature.problems import Problem, Reading, Statement
from cme.miniature.vocabulary import TRUTH, Beliefs

_STEP = re.compile(r"(?:(?:first|then) )?(\d+) (plus|minus) (\d+) (?:is|makes|gives) (\d+)")


@dataclass(frozen=True)
class Sum(Problem):
    """Calculate in two or three steps; `steps` are (left, `plus` or `minus`, right, result)."""

    steps: tuple[tuple[int, str, int, int], ...]
    kind = "sum"

    @property
    def answer(self) -> str:
        """The result."""
        return str(self.steps[-1][3])

    @property
    @override
    def parts(self) -> dict[str, frozenset[str]]:
        return {f"step {i}": frozenset({_step(step)}) for i, step in enumerate(self.steps, 1)}

    @override
    def complete(self, rng: random.Random, beliefs: Beliefs = TRUTH, canonical: bool = False) -> str:
        if canonical:
            return " and ".join(_step(s) for s in self.steps) + "."
        text = rng.choice(("", "first "))
        for i, step in enumerate(self.steps):
            joint = rng.choice((" and ", ". ", ", then ", ". then ")) if i else ""
            text += joint + _step(step, rng.choice(("is", "makes", "gives")))
        return f"{text}."

    @override
    def faulty(self, fault: str, rng: random.Random, beliefs: Beliefs = TRUTH) -> str:
        right = [_step(s) for s in self.steps]
        if fault == "incomplete":
            return f"{right[0]}."
        if fault == "wrong":
            left, sign, other, result = self.steps[-1]
            return " and ".join([*right[:-1], _step((left, sign, other, result + 1))]) + "."
        if fault == "off_format":
            return " ".join(str(s[3]) for s in self.steps)
        if fault == "repetition":
            return " and ".join(right[:1] * 3) + "."
        result = self.steps[-1][3]
        return " and ".join([*right, _step((result, "plus", 0, result))]) + "."

    @override
    def read(self, response: str) -> Reading:
        names = {f"{a} {sign} {b}": f"step {i}" for i, (a, sign, b, _) in enumerate(self.steps, 1)}
        statements: list[Statement] = []
        end, well_formed = 0, response.endswith(".")
        for match in _STEP.finditer(response):
            joint = response[end : match.start()]
            well_formed &= joint == "" if end == 0 else joint in (" and ", ", ", ". ")
            end = match.end()
            left, sign, right, result = match.groups()
            called = f"{left} {sign} {right}"
            # a step that is not asked for stands for the asked step in its place, with a wrong value
            place = f"step {len(statements) + 1}"
            taken = {name for name, _ in statements}
            name = names.get(called) or (
                place if place not in taken and place in self.parts else f"unasked {called}"
            )
            statements.append((name, f"{called} is {result}"))
        if not statements:
            numbers = re.findall(r"\d+", response)
            last = list(
                zip(reversed(self.steps), range(len(self.steps), 0, -1), reversed(numbers), strict=False)
            )
            bare = tuple((f"step {i}", f"{a} {sign} {b} is {n}") for (a, sign, b, _), i, n in reversed(last))
            return Reading(bare, False)
        return Reading(tuple(statements), well_formed and response[end:] == ".")


def _step(step: tuple[int, str, int, int], verb: str = "is") -> str:
    left, sign, right, result = step
    return f"{left} {sign} {right} {verb} {result}"
