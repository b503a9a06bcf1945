"""Agreement of the judges of a panel beyond chance: Cohen's kappa for two judges, Fleiss' kappa for more.

An item is one pair of responses in one order. Its outcome is a win, a tie or a loss of the trained policy, in either
position. Items that a judge of the panel could not score are left out and counted.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import Floats, bootstrap_interval

OUTCOMES = (1.0, 0.5, 0.0)


@dataclass(frozen=True)
class Agreement:
    """Agreement of `judges` on `items`; `alike` is the percentage of pairs of judges with the same outcome.

    `kappa` is NaN where all outcomes are equal; `lo` and `hi` bound its 95 % interval, bootstrapped by prompt.
    `left_out` counts the items that not every judge has scored.
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
    from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa  # slow to import

    if len(judges) < 2:
        raise ValueError(f"agreement needs two judges; there is {', '.join(judges) or 'none'}")
    complete = ~np.isnan(points).any(axis=1)
    items, left_out = int(complete.sum()), int((~complete).sum())
    if not items:
        return Agreement(judges, 0, left_out, nan, nan, nan, nan)
    ratings = (points[complete][:, :, None] == np.array(OUTCOMES)).astype(float)  # (N, J, 3)
    names, row = np.unique(prompts[complete], return_inverse=True)
    if len(judges) == 2:
        tables = ratings[:, 0, :, None] * ratings[:, 1, None, :]  # one confusion matrix (3, 3) per item
        by_prompt = np.zeros((len(names), 3, 3))
        np.add.at(by_prompt, row, tables)

        def kappa(weights: Floats) -> float:
            return float(cohens_kappa(np.tensordot(weights, by_prompt, axes=1), return_results=False))
    else:
        votes = ratings.sum(axis=1)  # (N, 3)

        def kappa(weights: Floats) -> float:
            return float(fleiss_kappa(np.repeat(votes, weights[row].astype(int), axis=0)))

    def kappas(weights: Floats) -> Floats:
        return np.array([kappa(each) for each in weights])

    pairs = [(ratings[:, i] == ratings[:, j]).all(axis=1) for i in range(len(judges)) for j in range(i)]
    with np.errstate(invalid="ignore", divide="ignore"):  # all outcomes equal: 0 / 0
        lo, hi = bootstrap_interval(len(names), kappas)
        whole = kappa(np.ones(len(names)))
    return Agreement(judges, items, left_out, 100 * float(np.mean(pairs)), whole, lo, hi)
