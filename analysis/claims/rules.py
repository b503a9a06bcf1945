"""From intervals to a verdict on a claim: the stated rules, as data and pure functions.

A claim says where a true value lies. The margin comes before the sign: values within it of the value of no effect
count as no difference. A comparison supports a claim if its interval lies wholly where the claim says, contradicts it
if wholly elsewhere, and otherwise leaves it open. Only sensitive comparisons are ruled on, and their p-values are
corrected by Holm for the number of comparisons ruled on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, isnan
from typing import Literal

import numpy as np

from analysis.claims.parts import Part
from analysis.stats.intervals import FEW_PROMPTS, LEVEL, holm_adjusted
from analysis.stats.seeds import MIN_SEEDS
from analysis.tables.render import format_interval

Verdict = Literal["reproduced", "not reproduced", "undecided", "not testable here"]
Side = Literal["supports", "contradicts", "open", "not testable"]
Quantifier = Literal["universal", "existential"]
Control = Literal["gain", "lead", "loss"]
UNTESTED: Verdict = "not testable here"
NO_TRUTH = "no run with the ground truth as reward in this place"


@dataclass(frozen=True)
class Rule:
    """Where a claim says that the true value lies.

    Attributes:
        text: The rule in words.
        claimed: Disjoint ranges of values.
        null: The value of no effect.
        margin: A distance from it that counts as no difference.
        control: What shows that a comparison could have come out as claimed, or not. `lead`: the ground-truth reward
            passes the same test, and a perfect policy would be beyond the margin. `gain`: the ground-truth reward beats
            the untrained model, and a perfect policy would too. `loss`: the ground-truth reward is better than the
            reference by more than the margin, and the worst policy would be worse by more.
        unproven: The claim is about intervals, not about true values: any that does not lie above `null` supports it.
    """

    text: str
    claimed: Sequence[tuple[float, float]]
    null: float = 0
    margin: float = 0
    decimals: int = 1
    control: Control = "lead"
    unproven: bool = False

    def format(self, part: Part) -> str:
        """A part's estimate with its interval, with a sign if it is a difference."""
        if isnan(part.value):
            return "-"
        sign = "+" if self.null == 0 else ""
        lo, hi = np.clip((part.lo, part.hi), *part.limits).tolist()
        return f"{part.value:{sign}.{self.decimals}f} {format_interval(lo, hi, self.decimals)}"

    def restrict(self, part: Part, control: Part | None, room: float) -> Part:
        """The part with what its controls say.

        `control` is the ground-truth reward in the method's place, as a difference from the value of no effect; `room`
        is how far from that value a perfect (or the worst) policy would be, NaN where the truth is unknown.
        """
        if isnan(room):
            return replace(part, controlled=False)
        reason, digits = "", self.decimals
        if room <= self.margin:
            policy = "the worst" if self.control == "loss" else "a perfect"
            reason = f"even {policy} policy would differ by {room:.{digits}f} only"
        elif control is None:
            reason = NO_TRUTH
        elif not control.lo > self.margin:
            interval = f"{control.value:+.{digits}f} {format_interval(control.lo, control.hi, digits)}"
            reason = f"the ground truth does not pass the same test: {interval}"
        return replace(part, insensitive=reason)

    def holds(self, part: Part) -> bool:
        """Whether the estimate lies where the claim says."""
        return any(low < part.value < high for low, high in self.claimed)

    def p_value(self, part: Part) -> float:
        """Two-sided p-value of the values that the estimate speaks against.

        These are the values outside the claimed ranges if the estimate lies in one, or else those inside. Without a
        control, they include the values that count as no difference.
        """
        home = [ends for ends in self.claimed if ends[0] < part.value < ends[1]]
        ends = [end for ends in home or self.claimed for end in ends if isfinite(end)]
        if not home:  # the nearest value of each range
            ends = [
                min(filter(isfinite, ends), key=lambda end: abs(end - part.value)) for ends in self.claimed
            ]
        if not part.controlled and self.margin:
            near = self.null - self.margin, self.null + self.margin
            if near[0] <= part.value <= near[1]:
                return 1.0
            ends.append(min(near, key=lambda end: abs(end - part.value)))
        return max(part.p_value(end) for end in ends)

    def sides(self, parts: Sequence[Part]) -> list[Side]:
        """What each part says, with the p-values of the parts that are ruled on corrected by Holm."""
        if self.unproven:
            return [
                "open" if not p.ruled else "contradicts" if p.lo > self.null else "supports" for p in parts
            ]
        p_values = np.array([self.p_value(part) if part.ruled else np.nan for part in parts], dtype=float)
        decided = holm_adjusted(p_values) < 1 - LEVEL
        sides: list[Side] = []
        for part, known in zip(parts, decided, strict=True):
            if part.insensitive:
                sides.append("not testable")
            elif not known:
                sides.append("open")
            else:
                sides.append("supports" if self.holds(part) else "contradicts")
        return sides


def above(null: float, margin: float, decimals: int = 1) -> Rule:
    """Supported by an interval above `null` by more than `margin`."""
    text = f"the interval lies above {null + margin:g}. Contradicted if it lies below {null + margin:g}."
    return Rule(text, [(null + margin, inf)], null, margin, decimals)


def below(null: float, margin: float, decimals: int = 1) -> Rule:
    """Supported by an interval below `null` by more than `margin`."""
    text = f"the interval lies below {null - margin:g}. Contradicted if it lies above {null - margin:g}."
    return Rule(text, [(-inf, null - margin)], null, margin, decimals, control="loss")


def same(margin: float) -> Rule:
    """Supported by an interval within `margin` of 0."""
    text = f"the interval lies within {margin:g} of 0. Contradicted if it lies farther from 0."
    return Rule(text, [(-margin, margin)], 0, margin, control="gain")


def between(low: float, high: float) -> Rule:
    """Supported by an interval inside a range."""
    text = f"the interval lies within {low:g} to {high:g}. Contradicted if it lies outside."
    return Rule(text, [(low, high)], low, control="gain")


def differs(null: float, margin: float) -> Rule:
    """Supported by an interval that is farther than `margin` from `null`, on either side."""
    text = f"the interval lies farther than {margin:g} from {null:g}. Contradicted if it lies within."
    return Rule(text, [(-inf, null - margin), (null + margin, inf)], null, margin)


def no_less(margin: float, decimals: int = 1) -> Rule:
    """Supported by an interval above -`margin`."""
    text = f"the interval lies above -{margin:g}. Contradicted if it lies below -{margin:g}."
    return Rule(text, [(-margin, inf)], 0, margin, decimals, control="gain")


def not_shown_above(null: float) -> Rule:
    """Supported by an interval that does not lie above `null`."""
    text = f"the interval does not lie above {null:g}. Contradicted if it does."
    return Rule(text, [(-inf, null)], null, unproven=True)


@dataclass(frozen=True)
class Result:
    """The verdict of one scale's records on a claim, with its comparisons and what each of them says."""

    verdict: Verdict
    reason: str
    parts: Sequence[Part] = ()
    sides: Sequence[Side] = ()


def decide(parts: Sequence[Part], rule: Rule, quantifier: Quantifier, missing: str, note: str = "") -> Result:
    """The verdict of the parts, with `missing` as the reason if there are none; `note` is added to the reason.

    A universal claim is reproduced if every comparison supports it, and not reproduced if one contradicts it. An
    existential claim is reproduced if one supports it, and not reproduced if all contradict it. Otherwise it is
    undecided; without a comparison that can be ruled on it is not testable.
    """
    if not parts:
        return Result(UNTESTED, f"{missing}. {note}" if note else missing)
    sides = rule.sides(parts)
    supporting, against, insensitive = (sides.count(s) for s in ("supports", "contradicts", "not testable"))
    reason = f"Comparisons: {supporting} supporting, {against} contradicting, {sides.count('open')} open"
    if few := sum(not (part.enough or part.insensitive) for part in parts):
        reason += f" ({few} with fewer than {FEW_PROMPTS} prompts, or {MIN_SEEDS} seeds if only seeds count)"
    reason += "."
    if insensitive:
        reason += f" Left out, because they could not have shown a difference: {insensitive}."
    testable, universal = len(parts) - insensitive, quantifier == "universal"
    verdict: Verdict = "undecided"
    if not testable:
        verdict = UNTESTED
    elif supporting == testable or (supporting and not universal):
        verdict = "reproduced"
    elif against == testable or (against and universal):
        verdict = "not reproduced"
    return Result(verdict, f"{reason} {note}".strip(), parts, sides)
