"""How far the judges of a panel agree, beyond what chance would give: Cohen's and Fleiss' kappa.

An item is one pair of responses in one order; its outcome is a win, a tie or a loss of the trained policy, whichever
place it was shown in. Items that a judge of the panel could not score are left out, and counted.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import Floats, bootstrap_interval

OUTCOMES = (1.0, 0.5, 0.0)


@dataclass(frozen=True)
class Agreement:
    """Agreement of `judges` on `items`; `alike` is the percent of pairs of judges with one outcome.

    `kappa` is Cohen's for two judges and Fleiss' for more, NaN where all outcomes are one; `lo` and `hi` bound its
    95 % interval, bootstrapped by prompt. `left_out` counts the items that not every judge has scored.
    """

    judges: tuple[str, ...]
    items: int
    left_out: int
    alike: float
    kappa: float
    lo: float
    hi: float


def agreement(points: Floats, prompts: NDArray[np.object_], judges: tuple[str, ...]) -> Agreement:
    """Agreement from the policy's points (items, judges), NaN where unscored, and the prompt of each item.

    Raises ValueError for fewer than two judges.
    """
    if len(judges) < 2:
        raise ValueError(f"agreement needs two judges; there is {', '.join(judges) or 'none'}")
    whole = ~np.isnan(points).any(axis=1)
    left_out = int((~whole).sum())
    if not whole.any():
        return Agreement(judges, 0, left_out, nan, nan, nan, nan)
    ratings = (points[whole][:, :, None] == np.array(OUTCOMES)).astype(float)  # (N, J, 3)
    sums = pair_sums(ratings) if len(judges) == 2 else panel_sums(ratings)
    kappa = cohen_kappa if len(judges) == 2 else fleiss_kappa
    _, row = np.unique(prompts[whole], return_inverse=True)
    by_prompt = np.zeros((row.max() + 1, sums.shape[1]))
    np.add.at(by_prompt, row, sums)
    total = by_prompt.sum(axis=0, keepdims=True)
    lo, hi = bootstrap_interval(by_prompt, kappa)
    alike = observed_agreement(panel_sums(ratings).sum(axis=0, keepdims=True))
    return Agreement(
        judges, int(whole.sum()), left_out, 100 * float(alike[0]), float(kappa(total)[0]), lo, hi
    )


def pair_sums(ratings: Floats) -> Floats:
    """The confusion matrix (N, 9) of each item's two ratings (N, 2, 3)."""
    one, other = ratings[:, 0, :, None], ratings[:, 1, None, :]
    return (one * other).reshape(len(ratings), 9)


def panel_sums(ratings: Floats) -> Floats:
    """Of each item's ratings (N, J, 3): judges by outcome, the share of pairs of judges alike, and 1 (N, 5)."""
    judges, votes = ratings.shape[1], ratings.sum(axis=1)
    alike = (votes * (votes - 1)).sum(axis=1) / (judges * (judges - 1))
    return np.column_stack([votes, alike, np.ones(len(votes))])


def cohen_kappa(confusion: Floats) -> Floats:
    """Cohen's (1960) kappa (R,) of confusion matrices (R, 9); NaN where chance alone gives full agreement."""
    table = confusion.reshape(-1, 3, 3) / confusion.sum(axis=1)[:, None, None]
    agreed = np.trace(table, axis1=1, axis2=2)
    return chance_corrected(agreed, (table.sum(axis=1) * table.sum(axis=2)).sum(axis=1))


def fleiss_kappa(sums: Floats) -> Floats:
    """Fleiss' (1971) kappa (R,) of the totals (R, 5) of `panel_sums`; NaN where all outcomes are one."""
    shares = sums[:, :3] / sums[:, :3].sum(axis=1, keepdims=True)
    return chance_corrected(observed_agreement(sums), (shares**2).sum(axis=1))


def observed_agreement(sums: Floats) -> Floats:
    """The share of pairs of judges alike (R,), from the totals (R, 5) of `panel_sums`."""
    return sums[:, 3] / sums[:, 4]


def chance_corrected(agreed: Floats, chance: Floats) -> Floats:
    """(agreed - chance) / (1 - chance), NaN where chance is 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance < 1 - 1e-12, (agreed - chance) / (1 - chance), nan)
