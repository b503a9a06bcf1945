"""A weighted sum of rewards, with the two orders of TRL's `multi_objective_aggregation`.

    sum_then_normalize     r(x, y) = sum_k w_k r_k(x, y)
    normalize_then_sum     r(x, y) = sum_k w_k (r_k(x, y) - mean_k) / (std_k + 1e-4)

The trainer then turns r into advantages like any other reward. With `sum_then_normalize` a weight compares units, such
as nats per token of Cross-Model Entropy with the relative error of a length. With `normalize_then_sum` (GDPO, arXiv
2601.05242) mean_k and std_k are those of a reward over the group's completions, so a weight compares standard
deviations, and a reward that hardly varies in a group counts as much as any other.

A completion that one of the rewards cannot score is unscored, also if its weight is 0.

Deviations: behind `normalize_then_sum` TRL divides the sum by its standard deviation over the batch. Here the field
`scale_rewards` of the trainer decides, as for any reward: `batch` divides as TRL does, `group` by the group's.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from cme.rewards.base import LogMetric, Reward, Texts, TokenIds, group_slices
from cme.rewards.checked_reward import check_finite

if TYPE_CHECKING:
    import numpy.typing as npt

Aggregation = Literal["sum_then_normalize", "normalize_then_sum"]
EPSILON = 1e-4
"""TRL's."""


class WeightedSum(Reward):
    """The weighted sum of several rewards of one value per response.

    With several processes, each scores the completions of all.

    Args:
        members: the rewards by name.
        weights: a finite weight for each name.
        num_generations: size of a group, TRL's `num_generations`.
        aggregation: TRL's `multi_objective_aggregation`.

    Raises ValueError as `check` does, and for a reward with values per token or a `std_floor`, which a sum has not.
    """

    __name__ = "weighted_sum"
    whole_batch = True

    def __init__(
        self,
        members: Mapping[str, Reward],
        weights: Mapping[str, float],
        num_generations: int,
        aggregation: Aggregation = "sum_then_normalize",
    ) -> None:
        self.check(members, weights, aggregation)
        for name, member in members.items():
            if member.granularity == "token" or member.std_floor > 0:
                raise ValueError(
                    f"members.{name} has granularity={member.granularity} and std_floor={member.std_floor}; in a sum "
                    "they must be sequence and 0"
                )
        self.parts, self.weights = dict(members), dict(weights)
        self.num_generations, self.aggregation = num_generations, aggregation

    @classmethod
    def check(
        cls,
        members: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        aggregation: str = "sum_then_normalize",
        **settings: Any,
    ) -> None:
        """Raise ValueError for weights that do not fit the members, and for an unknown aggregation."""
        names, given = list(members or {}), dict(weights or {})
        finite = [isinstance(weight, int | float) and math.isfinite(weight) for weight in given.values()]
        if len(names) < 2 or set(names) != set(given) or not all(finite):
            raise ValueError(
                f"weights={given} with the members {', '.join(names) or 'none'}; a sum has at least two members, and a "
                "number for each"
            )
        if aggregation not in get_args(Aggregation):
            raise ValueError(
                f"aggregation={aggregation}; it must be one of {', '.join(get_args(Aggregation))}"
            )

    def __call__(
        self,
        prompts: Texts,
        completions: Texts,
        completion_ids: TokenIds,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Score B completions, and log each member's mean; None for a completion that a member cannot score.

        Raises ValueError where a group is incomplete, TrainingFailed for a member's value that is not finite, and what
        the members raise.
        """
        total = np.zeros(len(prompts))
        for name, member in self.parts.items():
            given = member.values(prompts, completions, completion_ids, log_metric=log_metric, **columns)
            check_finite(member, given, "completions")
            values = np.array([np.nan if value is None else value for value in given], dtype=float)
            if log_metric and not np.isnan(values).all():
                log_metric(f"reward_{name}", float(np.nanmean(values)))
            if self.aggregation == "normalize_then_sum":
                values = self._normalize(prompts, values)
            total += self.weights[name] * values
        self.left_out = max(member.left_out for member in self.parts.values())
        return [None if np.isnan(value) else float(value) for value in total]

    def _normalize(self, prompts: Texts, values: "npt.NDArray[np.float64]") -> "npt.NDArray[np.float64]":
        """The values (B,) by their group's mean and standard deviation; NaN stays and does not count."""
        normalized = values.copy()
        for group in group_slices(prompts, self.num_generations):
            known = values[group][~np.isnan(values[group])]
            if len(known):
                deviation = known.std(ddof=1) if len(known) > 1 else 0.0
                normalized[group] = (values[group] - known.mean()) / (deviation + EPSILON)
        return normalized
