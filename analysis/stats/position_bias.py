"""Position bias of a judge, and the verdicts that would let it count as a win.

Where pairs are judged in both orders, a pair counts only if both orders are scored (`half_scored` marks the others).
Otherwise a judge with a position bias whose calls fail more often in one order would seem to prefer one side; as it
is, a judge that always prefers the first response gives 50 %, whatever fails. Where every pair was judged in one order
only, as in a released evaluation, each verdict counts, and a position bias evens out only over random orders.
"""

from math import nan

import numpy as np
from numpy.typing import NDArray

from analysis.stats.intervals import Floats
from analysis.stats.metrics import tally


def has_both_orders(policy_first: NDArray[np.bool_], pairs: NDArray[np.object_]) -> bool:
    """Whether any pair was judged in both orders, from the order and the pair of each verdict, scored or not."""
    return bool(set(pairs[policy_first]) & set(pairs[~policy_first]))


def half_scored(
    points: Floats, policy_first: NDArray[np.bool_], pairs: NDArray[np.object_]
) -> NDArray[np.bool_]:
    """Whether each scored verdict (N,) of one judge belongs to a pair that is unscored in the other order.

    All False where every pair was judged in one order only. `pairs` names the pair of each verdict, unique among runs
    and prompts.
    """
    if not has_both_orders(policy_first, pairs):
        return np.zeros(len(points), dtype=bool)
    known = ~np.isnan(points)
    names, row = np.unique(pairs, return_inverse=True)
    scored = np.zeros((len(names), 2), dtype=bool)
    scored[row[known], policy_first[known].astype(int)] = True
    complete = scored[:, 0] & scored[:, 1]
    return np.asarray(known & ~complete[row], dtype=bool)


def first_position_share(points: Floats, policy_first: NDArray[np.bool_]) -> float:
    """Percentage of decided verdicts for the response shown first; 50 for a judge without position bias."""
    decided = (points == 0) | (points == 1)
    if not decided.any():
        return nan
    return 100 * float(((points[decided] == 1) == policy_first[decided]).mean())


def position_consistency(
    points: Floats, policy_first: NDArray[np.bool_], pairs: NDArray[np.object_]
) -> float:
    """Percentage of the pairs scored in both orders that got the same verdict in both; NaN without such a pair."""
    known = ~np.isnan(points)
    by_order = tally(points, pairs, policy_first.astype(np.int64)) if known.any() else None
    if by_order is None or len(by_order.seeds) < 2:
        return nan
    first, second = by_order.means[~np.isnan(by_order.means).any(axis=1)].T
    return 100 * float((first == second).mean()) if len(first) else nan
