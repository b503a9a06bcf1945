"""The policy's points and scores in a verdict, and the majority verdicts of a panel of judges."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import nan

from cme.records.pairs import Outcome, Verdict

MAJORITY = "majority"
"""The judge's name in majority verdicts."""


def points(verdict: Verdict) -> float:
    """The policy's points: 1 for a win, 0.5 for a tie, 0 for a loss, NaN for an unscored verdict."""
    if verdict.outcome == "unscored":
        return nan
    if verdict.outcome == "tie":
        return 0.5
    return float((verdict.outcome == "first") == verdict.policy_first)


def scores(verdict: Verdict) -> tuple[float, float]:
    """The judge's scores of (untrained model, policy), NaN if it gave none."""
    first, second = verdict.scores or (nan, nan)
    return (second, first) if verdict.policy_first else (first, second)


def majority_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """A panel's majority verdict on each pair in each order; empty for fewer than two members.

    The majority verdict is unscored unless more than half of the members gave a scored verdict. An outcome wins with
    more than half of the scored verdicts; without such an outcome, the majority verdict is a tie.
    """
    members = len({verdict.judge for verdict in verdicts} - {None})
    if members < 2:
        return []
    votes: dict[tuple[str, bool], list[Outcome]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.judge is not None:
            scored = votes[verdict.prompt_id, verdict.policy_first]
            scored += [verdict.outcome] if verdict.outcome != "unscored" else []
    majority = []
    for (prompt_id, policy_first), scored in votes.items():
        outcome: Outcome
        if 2 * len(scored) <= members:
            outcome, reason = "unscored", f"{len(scored)} of {members} judges scored it"
        else:
            winner, count = Counter(scored).most_common(1)[0]
            outcome, reason = winner if 2 * count > len(scored) else "tie", None
        majority.append(Verdict(prompt_id, policy_first, outcome, reason, judge=MAJORITY))
    return majority
