"""Comparisons that test a claim: estimates with intervals, what their controls say, and the spread over checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot, inf, isnan, nan, sqrt

import numpy as np

from analysis.stats.contrasts import Contrast, contrast, number_of_seeds, split_builds
from analysis.stats.intervals import FEW_PROMPTS, LEVEL, detectable_difference, t_p_value, t_quantile
from analysis.stats.seeds import MIN_SEEDS, Component, across_seeds, combine_components
from analysis.stats.win_rates import Tally, difference_with_interval, tally
from analysis.tables.cells import Cell

PROMPTS, PROMPTS_AND_SEEDS = "prompts", "prompts, seeds"
Interval = tuple[float, float, float]
"""Bounds, NaN if they are unknown, and degrees of freedom."""


@dataclass(frozen=True)
class Part:
    """One comparison: an estimate with its 95 % interval, over `prompts` prompts (0: over seeds alone) and `seeds`.

    Attributes:
        scope: What the interval generalises over.
        freedom: Degrees of freedom of the interval.
        insensitive: Why the comparison could not have come out otherwise; empty if it could.
        controlled: Whether a control has shown that it could; False where the truth is unknown.
        floored: Whether the seeds' part of the interval is at its floor (see `stats.seeds.Component`).
        by_build: The estimate for each build of the checkpoints; empty if the measure does not tell them apart.
        limits: The lowest and the highest possible value, at which a printed interval is cut.
    """

    name: str
    value: float
    lo: float
    hi: float
    prompts: int
    seeds: int
    scope: str = PROMPTS
    freedom: float = inf
    insensitive: str = ""
    controlled: bool = True
    floored: bool = False
    by_build: tuple[float, ...] = ()
    limits: tuple[float, float] = (-inf, inf)

    @property
    def enough(self) -> bool:
        """Whether there are enough prompts, or seeds if the interval is over seeds alone."""
        return self.prompts >= FEW_PROMPTS if self.prompts else self.seeds >= MIN_SEEDS

    @property
    def ruled(self) -> bool:
        """Whether the comparison is ruled on: it is sensitive, and has enough units and an interval."""
        return self.enough and not self.insensitive and not isnan(self.lo)

    def error(self, value: float) -> float:
        """Standard error of the estimate on the side of a value."""
        half = self.hi - self.value if value > self.value else self.value - self.lo
        return half / t_quantile(LEVEL, self.freedom)

    @property
    def detectable(self) -> float:
        """The distance from the value of no effect that such a comparison detects with 80 % power, uncorrected."""
        return detectable_difference(self.error(self.value), self.freedom)

    def p_value(self, value: float) -> float:
        """Two-sided p-value of a true value: below 0.05 exactly where the interval excludes it."""
        if value == self.value:
            return 1.0
        error = self.error(value)
        return t_p_value((value - self.value) / error, self.freedom) if error else 0.0


def absent(name: str, reason: str) -> Part:
    """A comparison that cannot be made, with the reason."""
    return Part(name, nan, nan, nan, 0, 0, "-", insensitive=reason)


def widest_part(
    name: str,
    value: float,
    over_prompts: Interval,
    across_seeds: Interval,
    scored: Tally,
    floored: bool,
    by_build: Sequence[float],
) -> Part:
    """A part with its interval across seeds if that is known, else over prompts."""
    scope, (lo, hi, freedom) = PROMPTS, over_prompts
    if not isnan(across_seeds[0]):
        scope, (lo, hi, freedom) = PROMPTS_AND_SEEDS, across_seeds
    return Part(
        name,
        value,
        lo,
        hi,
        prompts=len(scored.prompts),
        seeds=number_of_seeds(scored),
        scope=scope,
        freedom=max(1.0, freedom),
        floored=floored,
        by_build=tuple(by_build),
    )


def rate_part(name: str, cell: Cell, minus: float = 0) -> Part:
    """A cell's win rate in percent, `minus` a rate."""
    win, seeds = cell.win, cell.seeds
    rates = [100 * scored.rate for scored in split_builds(cell.tally).values()]
    part = widest_part(
        name,
        win.rate,
        (win.lo, win.hi, win.scored - 1),
        (seeds.across_seeds_lo, seeds.across_seeds_hi, seeds.freedom),
        cell.tally,
        seeds.floored,
        rates,
    )
    limits = (0 - minus, 100 - minus)
    return replace(part, value=part.value - minus, lo=part.lo - minus, hi=part.hi - minus, limits=limits)


def change_part(name: str, change: Tally) -> Part:
    """The mean of a change on the same prompts."""
    value, lo, hi = difference_with_interval(change)
    half, error = across_seeds(change)
    return widest_part(
        name,
        value,
        (lo, hi, len(change.prompts) - 1),
        (value - half, value + half, error.freedom),
        change,
        error.floored,
        [one.rate for one in split_builds(change).values()],
    )


def paired_part(name: str, rows: Sequence[tuple[float, str, int]]) -> Part:
    """The mean of a change, given the change, the prompt and the seed of each pair."""
    changes, prompts, seeds = zip(*rows, strict=True)
    return change_part(name, tally(np.array(changes), np.array(prompts, dtype=object), np.array(seeds)))


def contrast_part(name: str, change: Contrast, one: Tally, other: Tally) -> Part:
    """The difference of two tallies of the same builds, in points; `change` is how they were compared."""
    ours, theirs = split_builds(one), split_builds(other)
    part = widest_part(
        name,
        change.difference,
        (change.lo, change.hi, change.freedom),
        (change.across_seeds_lo, change.across_seeds_hi, change.freedom),
        one,
        change.floored,
        [contrast(ours[build], theirs[build]).difference for build in ours],
    )
    return replace(part, prompts=change.prompts, seeds=min(number_of_seeds(one), number_of_seeds(other)))


def add_builds(parts: Sequence[Part]) -> list[Part]:
    """The parts with the spread between builds of the same checkpoints in their intervals.

    The variance between builds is estimated from all parts with several builds together, without subtracting the
    sampling error in it, so it is rather too large than too small. A part with one build takes the same variance, so it
    generalises over builds too. Parts are unchanged if there is none with several.
    """
    several = [part.by_build for part in parts if len(part.by_build) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return list(parts)
    variance = sum(float(np.var(values)) * len(values) for values in several) / freedom

    def widened(part: Part) -> Part:
        if not part.by_build or isnan(part.lo):
            return part
        own = Component((part.hi - part.lo) / 2 / t_quantile(LEVEL, part.freedom), part.freedom)
        between = Component(sqrt(variance / len(part.by_build)), freedom)
        return replace(
            part,
            lo=part.value - hypot(part.value - part.lo, between.half_width),
            hi=part.value + hypot(part.hi - part.value, between.half_width),
            freedom=combine_components(own, between).freedom,
            scope=f"{part.scope}, builds",
        )

    return [widened(part) for part in parts]
