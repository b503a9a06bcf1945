"""The policy's points and scores in a verdict, the verdict of each order, and the majority of a panel of judges."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import nan

from cme.records.pairs import Outcome, Scores, Verdict

MAJORITY = "majority"
"""The judge's name in majority verdicts."""
SWAPPED: dict[Outcome, Outcome] = {"first": "second", "second": "first", "tie": "tie", "unscored": "unscored"}
"""The outcome of a verdict with the two responses in each other's place."""


def points(verdict: Verdict) -> float:
    """The policy's points: 1 for a win, 0.5 for a tie, 0 for a loss, NaN for an unscored verdict."""
    if verdict.outcome == "unscored":
        return nan
    if verdict.outcome == "tie":
        return 0.5
    return float((verdict.outcome == "first") == verdict.policy_first)


def judge_name(judge: str, verdict: Verdict) -> str:
    """The name of a verdict's judge: `judge` itself or, for a member of this panel, `panel: member`."""
    return judge if verdict.judge is None else f"{judge}: {verdict.judge}"


def scores(verdict: Verdict) -> tuple[float, float]:
    """The judge's scores of (untrained model, policy), NaN if it gave none."""
    first, second = verdict.scores or (nan, nan)
    return (second, first) if verdict.policy_first else (first, second)


def verdicts_by_order(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What each order alone says: a verdict from both orders becomes one per order, by its scores; others stay.

    An order without scores says what the verdict says.
    """

    def alone(verdict: Verdict, policy_first: bool, shown: Scores | None) -> Verdict:
        one = replace(verdict, policy_first=policy_first, scores=shown, orders=None)
        if shown is None:
            return one if policy_first else replace(one, outcome=SWAPPED[verdict.outcome])
        outcome: Outcome = "tie" if shown[0] == shown[1] else "first" if shown[0] > shown[1] else "second"
        return replace(one, outcome=outcome, reason=None)

    by_order: list[Verdict] = []
    for verdict in verdicts:
        if verdict.orders is None:
            by_order.append(verdict)
        else:
            policy_first, start_first = verdict.orders
            by_order += [alone(verdict, True, policy_first), alone(verdict, False, start_first)]
    return by_order


def majority_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """A panel's majority verdict on each pair in each order; empty for fewer than two members.

    The majority verdict is unscored unless more than half of the members gave a scored verdict. An outcome wins with
    more than half of the scored verdicts; without such an outcome, the majority verdict is a tie. A verdict from both
    orders is a vote in each.
    """
    members = len({verdict.judge for verdict in verdicts} - {None})
    if members < 2:
        return []
    votes: dict[tuple[str, bool], list[Outcome]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.judge is None:
            continue
        votes[verdict.prompt_id, verdict.policy_first] += [verdict.outcome]
        if verdict.orders is not None:
            votes[verdict.prompt_id, not verdict.policy_first] += [SWAPPED[verdict.outcome]]
    majority = []
    for (prompt_id, policy_first), outcomes in votes.items():
        outcome: Outcome
        scored = [vote for vote in outcomes if vote != "unscored"]
        if 2 * len(scored) <= members:
            outcome, reason = "unscored", f"{len(scored)} of {members} judges scored it"
        else:
            winner, count = Counter(scored).most_common(1)[0]
            outcome, reason = winner if 2 * count > len(scored) else "tie", None
        majority.append(Verdict(prompt_id, policy_first, outcome, reason, judge=MAJORITY))
    return majority
