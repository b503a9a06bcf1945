"""What the win rates of a cell are read against: the untrained model's cut responses, and a perfect policy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan
from operator import attrgetter

import numpy as np
import pandas as pd

from analysis.records.ceiling import ceiling
from analysis.records.frames import verdicts_frame
from analysis.stats.seeds import SeedSpread, seed_spread
from analysis.stats.win_rates import WinRate
from analysis.tables.judging.judges import order_columns, rate_of
from cme.records import CUT_START, Comparison, RunRecord, Verdict


@dataclass(frozen=True, eq=False)
class Controls:
    """What the win rates of some runs are read against; each is computed when it is first used.

    The cut start is the untrained model's own responses, cut short. A policy that wins no more than they do has shown
    only that it ends earlier.
    """

    runs: Sequence[RunRecord]
    judge: str

    @cached_property
    def ceiling(self) -> float:
        """The win rate of a perfect policy in percent, NaN where the truth is unknown."""
        return ceiling(self.runs, self.judge)

    @cached_property
    def cut_start(self) -> WinRate | None:
        """The win rate of the cut start against the untrained model; None if no run was compared with it."""

        def turned(comparison: Comparison) -> list[Verdict]:
            # there the untrained model is in the policy's place
            return [replace(v, policy_first=not v.policy_first) for v in comparison.start or []]

        verdicts = self._verdicts(turned)
        return None if verdicts.empty else rate_of(verdicts)

    @cached_property
    def changed_by_cut(self) -> tuple[int, int]:
        """How many of the untrained model's responses the cut changes, and how many it was tried on."""
        changed = [
            cut.response != pair.start.response
            for run in self.runs
            for comparison in run.comparisons or []
            if comparison.name == CUT_START
            for cut, pair in zip(comparison.responses, run.pairs, strict=True)
        ]
        return sum(changed), len(changed)

    @cached_property
    def against_cut_start(self) -> WinRate | None:
        """The win rate of the policy against the cut start; None if no run was compared with it."""
        verdicts = self._verdicts(attrgetter("policy"))
        return None if verdicts.empty else rate_of(verdicts)

    @cached_property
    def seeds_against_cut_start(self) -> SeedSpread | None:
        """That win rate by seed; None likewise."""
        verdicts = self._verdicts(attrgetter("policy"))
        if verdicts.empty:
            return None
        points, _, _, half = order_columns(verdicts)
        prompts, seeds = verdicts["prompt_id"].to_numpy(object), verdicts["seed"].to_numpy(int)
        return seed_spread(np.where(half, nan, points), prompts, seeds)

    def _verdicts(self, chosen: Callable[[Comparison], list[Verdict]]) -> pd.DataFrame:
        """This judge's verdicts in the comparisons with the cut start."""
        frame = verdicts_frame(
            [
                replace(run, verdicts=chosen(comparison), further_judges=None)
                for run in self.runs
                for comparison in run.comparisons or []
                if comparison.name == CUT_START
            ]
        )
        return frame[frame["judge"] == self.judge]
