"""From intervals to a verdict on a claim: the stated rules, pure functions.

A part supports a claim, contradicts it, or leaves it open. A claim that every part supports is reproduced, one that
some support is mixed, one that none supports and one contradicts is not reproduced, and one that all leave open
cannot be tested here. A difference within `margin` of none counts as none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.claims.evidence import Part
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.metrics import MIN_SEEDS
from analysis.tables.win_rates import format_interval

Verdict = Literal["reproduced", "not reproduced", "mixed", "not testable here"]
Side = Literal["supports", "contradicts", "open"]


@dataclass(frozen=True)
class Rule:
    """Which intervals support a claim; `null` is the value that says nothing, `text` the rule in words."""

    side: Callable[[Part], Side]
    text: str
    null: float
    decimals: int = 1


@dataclass(frozen=True)
class Result:
    """What one scale's records say of a claim."""

    verdict: Verdict
    reason: str
    parts: Sequence[Part] = ()


def above(null: float, margin: float, what: str, decimals: int = 1) -> Rule:
    """Supported by an interval above `null`; contradicted by one below it or within `margin` of it."""

    def side(part: Part) -> Side:
        if part.lo > null:
            return "supports"
        return "contradicts" if part.hi < null or inside(part, null, margin) else "open"

    near = f" or within {margin:g} of it" if margin else ""
    text = f"{what}: the interval lies above {null:g}. Contradicted where it lies below it{near}."
    return Rule(side, text, null, decimals)


def below(null: float, margin: float, what: str, decimals: int = 1) -> Rule:
    """Supported by an interval below `null`; contradicted by one above it or within `margin` of it."""

    def side(part: Part) -> Side:
        if part.hi < null:
            return "supports"
        return "contradicts" if part.lo > null or inside(part, null, margin) else "open"

    near = f" or within {margin:g} of it" if margin else ""
    text = f"{what}: the interval lies below {null:g}. Contradicted where it lies above it{near}."
    return Rule(side, text, null, decimals)


def same(margin: float, what: str) -> Rule:
    """Supported by an interval within `margin` of 0; contradicted by any other that excludes it."""

    def side(part: Part) -> Side:
        if inside(part, 0, margin):
            return "supports"
        return "contradicts" if part.lo > 0 or part.hi < 0 else "open"

    text = f"{what}: the interval lies within {margin:g} of 0. Contradicted where it excludes 0 instead."
    return Rule(side, text, 0)


def between(low: float, high: float, what: str) -> Rule:
    """Supported by an interval inside a range; contradicted by one outside of it."""

    def side(part: Part) -> Side:
        if low <= part.lo and part.hi <= high:
            return "supports"
        return "contradicts" if part.hi < low or part.lo > high else "open"

    text = (
        f"{what}: the interval lies within {low:g} to {high:g}. Contradicted where it lies outside of that."
    )
    return Rule(side, text, low)


def differs(null: float, margin: float, what: str) -> Rule:
    """Supported by an interval that excludes `null`, on either side; contradicted by one within `margin` of it."""

    def side(part: Part) -> Side:
        if part.lo > null or part.hi < null:
            return "supports"
        return "contradicts" if inside(part, null, margin) else "open"

    text = (
        f"{what}: the interval excludes {null:g}. Contradicted where it lies within {margin:g} of it instead."
    )
    return Rule(side, text, null)


def no_less(margin: float, what: str, decimals: int = 1) -> Rule:
    """Supported by an interval that stays above -`margin`; contradicted by any other below 0."""

    def side(part: Part) -> Side:
        if part.lo > -margin:
            return "supports"
        return "contradicts" if part.hi < 0 else "open"

    text = f"{what}: the interval lies above -{margin:g}. Contradicted where it does not and lies below 0."
    return Rule(side, text, 0, decimals)


def inside(part: Part, null: float, margin: float) -> bool:
    """Whether an interval lies within a margin of a value."""
    return part.lo >= null - margin and part.hi <= null + margin


def part_side(part: Part, rule: Rule) -> Side:
    """What a part says; too few prompts or seeds leave everything open."""
    return rule.side(part) if part.enough else "open"


def decide(parts: Sequence[Part], rule: Rule, missing: str, note: str = "") -> Result:
    """The verdict of the parts, or `missing` where there are none; `note` goes behind the reason."""
    if not parts:
        return Result("not testable here", missing)
    sides = [part_side(part, rule) for part in parts]
    counts = {side: sides.count(side) for side in ("supports", "contradicts", "open")}
    verdict: Verdict = "mixed"
    if counts["supports"] == len(parts):
        verdict = "reproduced"
    elif not counts["supports"]:
        verdict = "not reproduced" if counts["contradicts"] else "not testable here"
    reason = (
        f"Of {len(parts)} comparison{'s' * (len(parts) > 1)} {counts['supports']} support"
        f"{'s' * (counts['supports'] == 1)} it, {counts['contradicts']} contradict"
        f"{'s' * (counts['contradicts'] == 1)} it, {counts['open']} {'is' if counts['open'] == 1 else 'are'} open"
    )
    reason += f" ({few(parts)})." if any(not part.enough for part in parts) else "."
    if counts["open"] == len(parts):
        reason += " No interval is narrow enough to tell."
    return Result(verdict, f"{reason} {note}".strip(), parts)


def few(parts: Sequence[Part]) -> str:
    """How many parts rest on too little, in words."""
    number = sum(not part.enough for part in parts)
    return f"{number} on fewer than {FEW_PROMPTS} prompts, or {MIN_SEEDS} seeds where only seeds count"


def format_part(part: Part, rule: Rule) -> str:
    """A part's estimate with its interval."""
    sign = "+" if rule.null == 0 else ""
    return f"{part.value:{sign}.{rule.decimals}f} {format_interval(part.lo, part.hi, rule.decimals)}"
