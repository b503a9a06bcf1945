"""Words and facts of the miniature world, and what each family of models believes about them."""

import random
from dataclasses import dataclass, field
from functools import cache

ANIMALS = ("fox", "bear", "wolf", "frog", "duck", "hen", "cow", "horse", "cat", "dog", "mouse", "crow")
VALUES = {
    "color": ("red", "brown", "black", "white", "gray", "green"),
    "home": ("forest", "river", "barn", "field", "house", "cave"),
    "food": ("bread", "corn", "fish", "grass", "seeds", "meat"),
    "name": ("tom", "ann", "max", "kim", "leo", "eva"),
}
ATTRIBUTES = tuple(VALUES)
TOOLS = ("hammer", "rope", "lamp", "spoon", "brush", "bell")
CATEGORIES = {
    "animals": ANIMALS,
    "colors": VALUES["color"],
    "places": VALUES["home"],
    "foods": VALUES["food"],
    "names": VALUES["name"],
    "tools": TOOLS,
}
FAMILIES = ("qwen", "llama", "gemma", "olmo")
BLIND_SPOTS = 8
"""Facts about which each family has a false belief: one in six."""
SHARED = 2
"""Of these, the facts about which the next family in FAMILIES has a false belief as well."""


def fact_name(animal: str, attribute: str) -> str:
    """The name of a fact, such as `fox color`."""
    return f"{animal} {attribute}"


@cache
def facts() -> dict[str, str]:
    """The true value of each fact by its name. Each value is true of two animals."""
    rng = random.Random("facts")
    columns = {attribute: list(values) * 2 for attribute, values in VALUES.items()}
    for column in columns.values():
        rng.shuffle(column)
    return {
        fact_name(animal, attribute): columns[attribute][i]
        for i, animal in enumerate(ANIMALS)
        for attribute in ATTRIBUTES
    }


@cache
def false_beliefs() -> dict[str, dict[str, str]]:
    """The false values that each family believes, by family and name of the fact."""
    rng = random.Random("blind spots")
    own = BLIND_SPOTS - SHARED
    drawn = rng.sample(sorted(facts()), own * len(FAMILIES))
    beliefs: dict[str, dict[str, str]] = {}
    for i, family in enumerate(FAMILIES):
        following = (i + 1) % len(FAMILIES)
        names = [
            *drawn[i * own : (i + 1) * own],
            *drawn[following * own : following * own + SHARED],
        ]
        beliefs[family] = {
            name: rng.choice([v for v in VALUES[name.split()[1]] if v != facts()[name]]) for name in names
        }
    return beliefs


def blind_spots(family: str) -> frozenset[str]:
    """Names of the facts about which a family has a false belief, such as `fox color`.

    Raises ValueError for an unknown family.
    """
    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}; miniature families are {', '.join(FAMILIES)}")
    return frozenset(false_beliefs()[family])


@dataclass(frozen=True)
class Beliefs:
    """What a text states about the facts.

    Attributes:
        false: false values of facts, by name.
        false_rate: how often the false value of such a fact is stated, instead of the true one.
        unknown: names of facts whose value is drawn at random each time.
    """

    false: dict[str, str] = field(default_factory=dict)
    false_rate: float = 0.0
    unknown: frozenset[str] = frozenset()

    def value(self, name: str, rng: random.Random) -> str:
        """The value that is stated of a fact this time."""
        if name in self.false:
            return self.false[name] if rng.random() < self.false_rate else facts()[name]
        if name in self.unknown:
            return rng.choice(VALUES[name.split()[1]])
        return facts()[name]


TRUTH = Beliefs()
