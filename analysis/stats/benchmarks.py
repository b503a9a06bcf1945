"""The measures of Arena-Hard, WildBench and AlpacaEval 2, by their own rules, from the verdicts of their judges.

    Arena-Hard score   100 times the policy's share of all points (`cme.judges.arena_hard`)
    WB-Reward          100 times the policy's mean reward, from -1 to 1 (`cme.judges.wildbench`)
    WB-Score           10 times the mean of (grade - 5) * 2 of the policy's responses (`cme.judges.wildbench`)
    AlpacaEval 2       100 times the mean of the annotator's probability that the policy's response is the better one

Each is a ratio of two sums over prompts, in the units of the leaderboards; over several runs, the mean of the runs'
measures. Deviations: the other response is that of the compared model, where the leaderboards have fixed models, and
both orders count, where WildBench and AlpacaEval show a pair in one random order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

from analysis.stats.intervals import Floats, bootstrap_estimate

Columns = Callable[[pd.DataFrame], "pd.Series[float] | float"]


@dataclass(frozen=True)
class Measure:
    """`factor` times the sum of `value` over the sum of `weight`, of the scored verdicts of one judge.

    By default these are the policy's scores over the number of verdicts.
    `whole_pairs`: a pair counts only if it is scored in every order in which it was judged.
    """

    name: str
    factor: float
    value: Columns = lambda verdicts: verdicts["score_policy"]
    weight: Columns = lambda verdicts: 1.0
    whole_pairs: bool = False

    def estimate(self, verdicts: pd.DataFrame) -> tuple[float, float, float]:
        """The mean of the runs' measures with its 95 % interval, bootstrapped over prompts; NaN without a verdict.

        `verdicts` has the columns `run_id`, `prompt_id`, `score_start` and `score_policy` of `analysis.frames`.
        """
        unscored = verdicts["score_policy"].isna()
        if self.whole_pairs:
            unscored = unscored.groupby([verdicts["run_id"], verdicts["prompt_id"]]).transform("any")
        scored = verdicts[~unscored]
        if scored.empty:
            return nan, nan, nan
        sums = scored.assign(value=self.value(scored), weight=self.weight(scored)).pivot_table(
            index="run_id", columns="prompt_id", values=["value", "weight"], aggfunc="sum", fill_value=0.0
        )
        values: Floats = sums["value"].to_numpy(float)
        weights: Floats = sums["weight"].to_numpy(float)
        prompts = len(sums["value"].columns)

        def measure(counts: Floats) -> Floats:
            """The measure by the counts (R, P) of the prompts."""
            with np.errstate(invalid="ignore"):  # NaN where a resample has no verdict of a run
                means: Floats = ((counts @ values.T) / (counts @ weights.T)).mean(axis=1)
            return self.factor * means

        return bootstrap_estimate(prompts, measure)


MEASURES = {
    "arena_hard": Measure(
        "Arena-Hard score (%)",
        100,
        weight=lambda verdicts: verdicts["score_policy"] + verdicts["score_start"],
        whole_pairs=True,
    ),
    "wildbench": Measure("WB-Reward", 100),
    "wildbench_score": Measure("WB-Score", 10, value=lambda verdicts: (verdicts["score_policy"] - 5) * 2),
    "alpaca_eval": Measure("AlpacaEval 2 win rate (%)", 100),
}
"""The measure of each judge, by its name."""
