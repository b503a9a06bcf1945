"""True quality, and the ceiling: what a perfect policy would win against the untrained model on the same prompts.

A perfect policy has true quality 1 on every prompt. It wins where the untrained model's response has less and ties
where that response is perfect too, so a good start leaves little to win. The worst policy has quality 0 and ties where
the untrained model has none either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cme.records import RunRecord, scores

EXACT_JUDGES = ("oracle", "correctness", "instruction_following")
"""Judges whose scores are the true quality (0 to 1) of a response."""
TIE = 1e-9  # the oracle's margin


def true_quality(run: RunRecord) -> dict[str, tuple[float, float]]:
    """True quality (0 to 1) of the untrained model's and of the policy's response by prompt id; empty if unknown.

    It is in the grades; in older records it is in the scores of a judge that knows it.
    """
    if run.grades is not None:
        graded = zip(run.pairs, run.grades.start, run.grades.policy, strict=True)
        return {pair.prompt_id: (start.quality, policy.quality) for pair, start, policy in graded}
    if run.judge not in EXACT_JUDGES:
        return {}
    return {verdict.prompt_id: scores(verdict) for verdict in run.verdicts if verdict.scores is not None}


def start_quality(run: RunRecord) -> dict[str, float]:
    """True quality of the untrained model's response by prompt id; empty where the truth is unknown."""
    return {prompt: start for prompt, (start, _) in true_quality(run).items()}


def scored_quality(run: RunRecord) -> dict[str, float]:
    """Quality of the responses that the run's verdicts compare the policy with, if its judge knows the truth."""
    return start_quality(replace(run, grades=None))


def ceiling(runs: Sequence[RunRecord]) -> float | None:
    """The win rate of a perfect policy over the prompts of all runs, in percent; None where the truth is unknown."""
    return perfect_win_rate([start_quality(run) for run in runs])


def floor(runs: Sequence[RunRecord]) -> float | None:
    """The win rate of the worst policy over the prompts of all runs, in percent; None where the truth is unknown."""
    reversed_quality = [
        {prompt: 1 - quality for prompt, quality in start_quality(run).items()} for run in runs
    ]
    best = perfect_win_rate(reversed_quality)
    return None if best is None else 100 - best


def perfect_win_rate(qualities: Sequence[Mapping[str, float]]) -> float | None:
    """The win rate of a perfect policy against responses of known quality, in percent; None without a response."""
    starts = [quality for by_prompt in qualities for quality in by_prompt.values()]
    if not starts:
        return None
    return 100 * sum(1.0 if quality < 1 - TIE else 0.5 for quality in starts) / len(starts)
