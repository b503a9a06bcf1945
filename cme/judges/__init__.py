"""Judges: which of two responses is better. One file each.

A judge has `rule(prompt, reference, first, second) -> Ruling` and never sees which response is whose.
`judge_pairs` asks it in both orders. A ruling that could not be made is `unscored` with its reason.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cme.records import Generation, Outcome, Pair, Prompt, Verdict


@dataclass(frozen=True)
class Ruling:
    """One comparison: the outcome, why it is unscored if it is, and the judge's scores of both if any."""

    outcome: Outcome
    reason: str | None = None
    scores: tuple[float, float] | None = None


class Judge(Protocol):
    """What every judge can do."""

    def rule(self, prompt: Prompt, first: Generation, second: Generation) -> Ruling:
        """Compare two responses to a prompt."""


def by_scores(first: float, second: float, margin: float) -> Ruling:
    """The ruling of a judge that scores each response: a tie within `margin`, unscored if not finite."""
    gap = first - second
    if not math.isfinite(gap):
        return Ruling("unscored", f"the judge's scores are {first} and {second}")
    outcome: Outcome = "tie" if abs(gap) <= margin else "first" if gap > 0 else "second"
    return Ruling(outcome, scores=(round(first, 6), round(second, 6)))


def judge_pairs(judge: Judge, pairs: Sequence[Pair], both_orders: bool) -> list[Verdict]:
    """Judge each pair, policy first and then, with `both_orders`, start first."""
    verdicts = []
    for pair in pairs:
        prompt = Prompt(pair.prompt_id, pair.prompt, reference=pair.reference)
        for policy_first in (True, False) if both_orders else (True,):
            shown = (pair.policy, pair.start) if policy_first else (pair.start, pair.policy)
            ruling = judge.rule(prompt, *shown)
            verdicts.append(
                Verdict(pair.prompt_id, policy_first, ruling.outcome, ruling.reason, ruling.scores)
            )
    return verdicts
