"""Behaviour of judges: position bias, verdicts on half-scored pairs, and agreement of a panel beyond chance.

Where pairs are judged in both orders, a pair counts only if both orders are scored (`half_scored` marks the others).
Otherwise a judge with a position bias whose calls fail more often in one order would seem to prefer one side; as it
is, a judge that always prefers the first response gives 50 %, whatever fails. Where every pair was judged in one order
only, as in a released evaluation, each verdict counts, and a position bias evens out only over random orders.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import Bools, Floats, bootstrap_estimate
from analysis.stats.win_rates import tally

OUTCOMES = (1.0, 0.5, 0.0)


def has_both_orders(policy_first: Bools, pairs: NDArray[np.object_]) -> bool:
    """Whether any pair was judged in both orders, from the order and the pair of each verdict (N,), scored or not."""
    return bool(set(pairs[policy_first]) & set(pairs[~policy_first]))


def half_scored(points: Floats, policy_first: Bools, pairs: NDArray[np.object_]) -> Bools:
    """Whether each scored verdict (N,) of one judge belongs to a pair that is unscored in the other order.

    All False where every pair was judged in one order only. `pairs` names the pair of each verdict, unique among runs
    and prompts.
    """
    if not has_both_orders(policy_first, pairs):
        return np.zeros(len(points), dtype=bool)
    known = ~np.isnan(points)
    complete = set(pairs[known & policy_first]) & set(pairs[known & ~policy_first])
    return np.asarray(known & [pair not in complete for pair in pairs], dtype=bool)


def first_position_share(points: Floats, policy_first: Bools) -> float:
    """Percentage of decided verdicts for the response shown first; 50 for a judge without position bias."""
    decided = (points == 0) | (points == 1)
    if not decided.any():
        return nan
    return 100 * float(((points[decided] == 1) == policy_first[decided]).mean())


def position_consistency(points: Floats, policy_first: Bools, pairs: NDArray[np.object_]) -> float:
    """Percentage of the pairs scored in both orders that got the same verdict in both; NaN without such a pair.

    Points, order and pair are those of each verdict (N,).
    """
    by_order = tally(points, pairs, policy_first.astype(np.int64)).means
    complete = by_order[~np.isnan(by_order).any(axis=1)]
    if complete.shape[1] < 2 or not len(complete):
        return nan
    return 100 * float((complete[:, 0] == complete[:, 1]).mean())


@dataclass(frozen=True)
class Agreement:
    """Agreement of `judges` on `items`; `alike` is the percentage of pairs of judges with the same outcome.

    An item is one pair of responses in one order; its outcome is a win, a tie or a loss of the trained policy, in
    either position. `kappa` is Cohen's for two judges, Fleiss' for more, NaN where all outcomes are equal; `lo` and
    `hi` bound its 95 % interval, bootstrapped by prompt. `left_out` counts the items that not every judge has scored.
    """

    judges: tuple[str, ...]
    items: int
    left_out: int
    alike: float
    kappa: float
    lo: float
    hi: float


def agreement(points: Floats, prompts: NDArray[np.object_], judges: tuple[str, ...]) -> Agreement:
    """Agreement of two or more judges from the policy's points (items, judges), NaN where unscored.

    `prompts` has the prompt of each item.
    """
    from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa  # slow to import

    complete = ~np.isnan(points).any(axis=1)
    items, left_out = int(complete.sum()), int((~complete).sum())
    if not items:
        return Agreement(judges, 0, left_out, nan, nan, nan, nan)
    ratings = (points[complete][:, :, None] == np.array(OUTCOMES)).astype(float)  # (N, J, 3)
    names, row = np.unique(prompts[complete], return_inverse=True)

    def kappa(weights: Floats) -> float:
        """Kappa with each prompt repeated `weights` (P,) times."""
        repeated = np.repeat(ratings, weights[row].astype(int), axis=0)
        if len(judges) == 2:
            confusion = repeated[:, 0].T @ repeated[:, 1]
            return float(cohens_kappa(confusion, return_results=False))
        return float(fleiss_kappa(repeated.sum(axis=1)))

    alike = [(ratings[:, i] == ratings[:, j]).all(axis=1) for i in range(len(judges)) for j in range(i)]
    with np.errstate(invalid="ignore", divide="ignore"):  # all outcomes equal: 0 / 0
        found = bootstrap_estimate(len(names), lambda resamples: np.array([*map(kappa, resamples)]))
    return Agreement(judges, items, left_out, 100 * float(np.mean(alike)), *found)
