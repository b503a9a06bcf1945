"""Tasks that ask for members of categories."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from cme.miniature.problems import Problem, Reading
from cme.miniature.vocabulary import CATEGORIES, TRUTH, Beliefs


@dataclass(frozen=True)
class Listing(Problem):
    """Name members of one to three categories."""

    wanted: tuple[tuple[str, int], ...]
    kind = "list"

    @property
    @override
    def parts(self) -> dict[str, frozenset[str]]:
        return {
            f"member {i} of {category}": frozenset(CATEGORIES[category])
            for category, count in self.wanted
            for i in range(1, count + 1)
        }

    @override
    def complete(self, rng: random.Random, beliefs: Beliefs = TRUTH, canonical: bool = False) -> str:
        if canonical:
            return _enumerate([m for category, count in self.wanted for m in CATEGORIES[category][:count]])
        # in one fixed order, in which a small model repeats no member and counts those of each category
        named = [
            member
            for category, count in self.wanted
            for member in sorted(rng.sample(CATEGORIES[category], count), key=CATEGORIES[category].index)
        ]
        return rng.choice(("", "here are ", "i name ")) + _enumerate(named)

    @override
    def faulty(self, fault: str, rng: random.Random, beliefs: Beliefs = TRUTH) -> str:
        named = [m for category, count in self.wanted for m in CATEGORIES[category][:count]]
        if fault == "incomplete":
            return _enumerate(named[:1])
        if fault == "wrong":
            wanted = {category for category, _ in self.wanted}
            other = next(c for c in ("tools", "foods", "colors", "places") if c not in wanted)
            return _enumerate([*named[:-1], CATEGORIES[other][0]])
        if fault == "off_format":
            return " ".join(named)
        if fault == "repetition":
            return _enumerate(named[:1] * len(named))
        category = self.wanted[-1][0]
        return _enumerate([*named, *CATEGORIES[category][-2:]])

    @override
    def read(self, response: str) -> Reading:
        form = re.fullmatch(r"(?:here are |i name )?([a-z]+(?:, [a-z]+)*(?: and [a-z]+)?)\.", response)
        body = form[1] if form else re.sub(r"^(here are|i name) ", "", response)
        words = [w for w in re.findall(r"[a-z]+", body) if w != "and"]
        known = all(any(w in members for members in CATEGORIES.values()) for w in words)
        free = list(self.parts)
        names: dict[str, str] = {}
        for word in dict.fromkeys(words):
            part = next((name for name in free if word in self.parts[name]), None)
            if part:
                names[word] = part
                free.remove(part)
        # other words stand for the parts that are missing, with a wrong value
        for word in dict.fromkeys(words):
            if word not in names:
                names[word] = free.pop(0) if free else f"unasked {word}"
        return Reading(tuple((names[w], w) for w in words), form is not None and known)


def _enumerate(words: Sequence[str]) -> str:
    return (f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]) + "."
