"""What the win rates of a cell are read against: the cut start and the ceiling.

The cut start is the untrained model's own responses, cut short. A policy that wins no more than they do has shown only
that it ends earlier. The ceiling is the win rate of a perfect policy on the same prompts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan

import numpy as np

from analysis.records.ceiling import ceiling
from analysis.stats.metrics import WinRate, win_rate
from analysis.stats.position_bias import half_scored
from cme.records import CUT_START, Comparison, RunRecord, Verdict, judge_name, majority_verdicts, points


@dataclass(frozen=True, eq=False)
class Controls:
    """The controls of a cell, from its runs; each is computed when it is first asked for."""

    runs: Sequence[RunRecord]
    judge: str

    @cached_property
    def ceiling(self) -> float:
        """The win rate of a perfect policy in percent, NaN where the truth is unknown."""
        known = ceiling(self.runs)
        return nan if known is None else known

    @cached_property
    def cut_start(self) -> WinRate | None:
        """The win rate of the cut start against the untrained model; None if no run was compared with it."""
        judged = [(run, comparison.start or []) for run, comparison in cut_comparisons(self.runs)]
        # there the untrained model takes the policy's place
        return self._rate((run, [turned(verdict) for verdict in verdicts]) for run, verdicts in judged)

    @cached_property
    def against_cut_start(self) -> WinRate | None:
        """The win rate of the policy against the cut start; None if no run was compared with it."""
        return self._rate((run, comparison.policy) for run, comparison in cut_comparisons(self.runs))

    def _rate(self, judged: Iterable[tuple[RunRecord, Sequence[Verdict]]]) -> WinRate | None:
        """The win rate over this judge's verdicts on several runs."""
        rows = [
            (points(verdict), prompts[verdict.prompt_id], verdict.policy_first, run.run_id)
            for run, verdicts in judged
            for prompts in [run.prompt_names]
            for verdict in [*verdicts, *majority_verdicts(verdicts)]
            if judge_name(run.judge, verdict) == self.judge
        ]
        if not rows:
            return None
        won, prompt, policy_first, run_id = (np.array(c, dtype=object) for c in zip(*rows, strict=True))
        won = won.astype(float)
        half = half_scored(won, policy_first.astype(bool), run_id + "\n" + prompt)
        return win_rate(won, prompt, half)


def turned(verdict: Verdict) -> Verdict:
    """The verdict with the two sides in each other's place."""
    return replace(verdict, policy_first=not verdict.policy_first)


def cut_comparisons(runs: Sequence[RunRecord]) -> list[tuple[RunRecord, Comparison]]:
    """The runs that were compared with the cut start, each with the comparison."""
    return [(run, c) for run in runs for c in run.comparisons or [] if c.name == CUT_START]
