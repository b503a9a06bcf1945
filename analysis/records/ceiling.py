"""True quality, and the ceiling: what a perfect policy would win against the untrained model on the same prompts.

A perfect policy has true quality 1 on every prompt. It wins where the untrained model's response has less and ties
where that response is perfect too, so a good start leaves little to win. The worst policy has quality 0 and ties where
the untrained model has none either.
"""

from collections.abc import Iterable, Sequence
from math import nan

from cme.records import RunRecord, scores

EXACT_JUDGES = ("oracle", "correctness", "instruction_following")
"""Judges whose scores are the true quality (0 to 1) of a response."""
OWN_WORDS = "instruction_following_own_words"
"""A judge with grades (0 to 1) of its own, stricter than the true quality."""
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


def ceiling(runs: Sequence[RunRecord], judge: str = "") -> float:
    """The win rate of a perfect policy over the prompts of all runs, in percent; NaN where the truth is unknown.

    If `judge` grades responses itself, its grades decide which responses are perfect.
    """
    if judge == OWN_WORDS:
        verdicts = [verdict for run in runs for name, verdict in run.judgements() if name == judge]
        return perfect_win_rate(scores(verdict)[0] for verdict in verdicts if verdict.scores is not None)
    return perfect_win_rate(quality for run in runs for quality in start_quality(run).values())


def floor(runs: Sequence[RunRecord]) -> float:
    """The win rate of the worst policy over the prompts of all runs, in percent; NaN where the truth is unknown."""
    return 100 - perfect_win_rate(1 - quality for run in runs for quality in start_quality(run).values())


def perfect_win_rate(qualities: Iterable[float]) -> float:
    """The win rate of a perfect policy against responses of known quality, in percent; NaN without a response."""
    points = [1.0 if quality < 1 - TIE else 0.5 for quality in qualities]
    return 100 * sum(points) / len(points) if points else nan
