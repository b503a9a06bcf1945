"""Intervals of win rates that rest on a few decided prompts.

Where nearly every prompt ties, the prompts' variance is that of a handful of wins and losses, and Wilson's interval
with it is too narrow (coverage down to 87 %). The win rate is 1/2 + (share won - share lost) / 2. Each share gets the
exact binomial bounds (Clopper and Pearson 1934), and the bounds are combined by the squares of their distances
(Newcombe 1998). A prompt that is won in half of its seeds counts half. The same holds for the difference of two win
rates, share won more often minus share won less often, where few prompts differ.
"""

from math import hypot

import numpy as np
from scipy.optimize import brentq

from analysis.stats.intervals import LEVEL, Floats, Interval

FEW_DECIDED, RARELY = 15, 1 / 8
"""Below so many decided prompts, and below this share of all, an interval rests on the exact bounds."""
SMALLEST_P = 1e-12


def decided_counts(gains: Floats) -> tuple[float, float] | None:
    """The numbers of prompts won and lost, from how far each prompt (P,) is from a tie, -1 to 1.

    None if no prompt is decided, or too many are: then the prompts' variance serves.
    """
    decided = int((np.abs(gains) > 1e-9).sum())
    if not 0 < decided < min(FEW_DECIDED, RARELY * len(gains)):
        return None
    return float(gains.clip(min=0).sum()), float(-gains.clip(max=0).sum())


def tied_interval(won: float, lost: float, prompts: int, level: float = LEVEL) -> Interval:
    """The interval of a win rate, as a share, from the numbers of prompts won and lost, which need not be whole."""
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    (won_lo, won_hi), (lost_lo, lost_hi) = (
        proportion_confint(number, prompts, alpha=1 - level, method="beta") for number in (won, lost)
    )
    won, lost = won / prompts, lost / prompts
    down, up = hypot(won - won_lo, lost_hi - lost), hypot(won_hi - won, lost - lost_lo)
    return 0.5 + (won - lost - down) / 2, 0.5 + (won - lost + up) / 2


def tied_p_value(won: float, lost: float, prompts: int) -> float:
    """Two-sided p-value of a true win rate of 1/2: below 0.05 exactly where `tied_interval` excludes 1/2."""
    side = 0 if won > lost else 1

    def excess(p: float) -> float:
        """How far the interval at level 1 - p stays on the side of 1/2 on which the rate is."""
        bound = tied_interval(won, lost, prompts, 1 - p)[side] - 0.5
        return bound if won > lost else -bound

    if excess(SMALLEST_P) > 0:
        return SMALLEST_P
    return 1.0 if excess(1 - SMALLEST_P) <= 0 else float(brentq(excess, SMALLEST_P, 1 - SMALLEST_P))
