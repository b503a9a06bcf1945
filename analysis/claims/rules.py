"""From intervals to a verdict on a claim: the stated rules, as data and pure functions.

A comparison supports a claim, contradicts it, or leaves it open. A claim is reproduced if all comparisons support it,
mixed if some do, not reproduced if none does and at least one contradicts it, and not testable if all leave it open. A
difference within `margin` of the null value counts as no difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.render import format_interval

Verdict = Literal["reproduced", "not reproduced", "mixed", "not testable here"]
Side = Literal["supports", "contradicts", "open"]
UNTESTED: Verdict = "not testable here"


@dataclass(frozen=True)
class Part:
    """One comparison: an estimate with its 95 % interval, over `prompts` prompts (0: over seeds alone) and `seeds`.

    `scope` names what the interval generalises over.
    """

    name: str
    value: float
    lo: float
    hi: float
    prompts: int
    seeds: int
    scope: str = "prompts"

    @property
    def enough(self) -> bool:
        """Whether there are enough prompts, or seeds if the interval is over seeds alone."""
        return self.prompts >= FEW_PROMPTS if self.prompts else self.seeds >= MIN_SEEDS


@dataclass(frozen=True)
class Range:
    """A range of values; `closed` if its ends belong to it."""

    low: float = -inf
    high: float = inf
    closed: bool = False

    def contains(self, part: Part) -> bool:
        """Whether the whole interval of a part lies in the range; False for NaN bounds."""
        if self.closed:
            return self.low <= part.lo and part.hi <= self.high
        return self.low < part.lo and part.hi < self.high


@dataclass(frozen=True)
class Rule:
    """Which intervals support a claim and which contradict it; any other interval is `otherwise`.

    `text` is the rule in words, `null` the value of no effect. With `any_part`, one comparison that does not contradict
    the claim is enough to reproduce it.
    """

    text: str
    supports: Sequence[Range]
    contradicts: Sequence[Range]
    null: float = 0
    decimals: int = 1
    otherwise: Side = "open"
    any_part: bool = False

    def side(self, part: Part) -> Side:
        """What a part says; too few prompts or seeds leave everything open."""
        if not part.enough:
            return "open"
        if any(side.contains(part) for side in self.supports):
            return "supports"
        return "contradicts" if any(side.contains(part) for side in self.contradicts) else self.otherwise

    def format(self, part: Part) -> str:
        """A part's estimate with its interval, with a sign if it is a difference."""
        sign = "+" if self.null == 0 else ""
        return f"{part.value:{sign}.{self.decimals}f} {format_interval(part.lo, part.hi, self.decimals)}"


def near(null: float, margin: float) -> Range:
    """The values within a margin of the null value."""
    return Range(null - margin, null + margin, closed=True)


def above(null: float, margin: float, decimals: int = 1) -> Rule:
    """Supported by an interval above `null`; contradicted by one below it or within `margin` of it."""
    within = f" or within {margin:g} of it" if margin else ""
    text = f"the interval lies above {null:g}. Contradicted if it lies below it{within}."
    return Rule(text, [Range(null)], [Range(high=null), near(null, margin)], null, decimals)


def below(null: float, margin: float, decimals: int = 1) -> Rule:
    """Supported by an interval below `null`; contradicted by one above it or within `margin` of it."""
    within = f" or within {margin:g} of it" if margin else ""
    text = f"the interval lies below {null:g}. Contradicted if it lies above it{within}."
    return Rule(text, [Range(high=null)], [Range(null), near(null, margin)], null, decimals)


def same(margin: float) -> Rule:
    """Supported by an interval within `margin` of 0; contradicted by any other that excludes 0."""
    text = f"the interval lies within {margin:g} of 0. Contradicted if it excludes 0 instead."
    return Rule(text, [near(0, margin)], [Range(0), Range(high=0)])


def between(low: float, high: float) -> Rule:
    """Supported by an interval inside a range; contradicted by one outside it."""
    text = f"the interval lies within {low:g} to {high:g}. Contradicted if it lies outside."
    return Rule(text, [Range(low, high, closed=True)], [Range(high=low), Range(high)], low)


def differs(null: float, margin: float) -> Rule:
    """Supported by an interval that excludes `null`, on either side; contradicted by one within `margin` of it."""
    text = f"the interval excludes {null:g}. Contradicted if it lies within {margin:g} of it instead."
    return Rule(text, [Range(null), Range(high=null)], [near(null, margin)], null)


def no_less(margin: float, decimals: int = 1) -> Rule:
    """Supported by an interval that stays above -`margin`; contradicted by any other below 0."""
    text = f"the interval lies above -{margin:g}. Contradicted if it does not and lies below 0."
    return Rule(text, [Range(-margin)], [Range(high=0)], decimals=decimals)


def some_not_above(null: float) -> Rule:
    """Supported by a single interval that does not lie above `null`."""
    text = f"any whose interval does not lie above {null:g}."
    return Rule(text, [], [Range(null)], null, otherwise="supports", any_part=True)


@dataclass(frozen=True)
class Result:
    """The verdict of one scale's records on a claim."""

    verdict: Verdict
    reason: str
    parts: Sequence[Part] = ()


def decide(parts: Sequence[Part], rule: Rule, missing: str, note: str = "") -> Result:
    """The verdict of the parts, with `missing` as the reason if there are none; `note` is added to the reason."""
    if not parts:
        return Result(UNTESTED, f"{missing}. {note}" if note else missing)
    sides = [rule.side(part) for part in parts]
    supporting, against, undecided = (sides.count(side) for side in ("supports", "contradicts", "open"))
    verdict: Verdict = "mixed"
    if supporting == len(parts) or (rule.any_part and against < len(parts)):
        verdict = "reproduced"
    elif not supporting:
        verdict = "not reproduced" if against else UNTESTED
    reason = f"Comparisons: {supporting} supporting, {against} contradicting, {undecided} open"
    if few := sum(not part.enough for part in parts):
        reason += f" ({few} with fewer than {FEW_PROMPTS} prompts, or {MIN_SEEDS} seeds if only seeds count)"
    reason += ". No interval is narrow enough to decide." if undecided == len(parts) else "."
    return Result(verdict, f"{reason} {note}".strip(), parts)
