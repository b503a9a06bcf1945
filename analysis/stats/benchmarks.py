"""The measures of Arena-Hard and WildBench, by their own rules, from the verdicts of their judges in a record."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from analysis.stats.intervals import Floats
from cme.records import Verdict, scores


def arena_hard_score(verdicts: Iterable[Verdict]) -> float:
    """The policy's share of all points, in percent (`cme.judges.arena_hard`).

    A pair without a verdict in one of its orders is left out. Raises ValueError if no pair is left.
    """
    by_prompt: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_prompt[verdict.prompt_id].append(verdict)
    scored = [
        scores(verdict)
        for games in by_prompt.values()
        if all(game.scores is not None for game in games)
        for verdict in games
    ]
    points = _table(scored, "arena_hard")
    return 100 * float(points[:, 1].sum() / points.sum())


def wildbench_reward(verdicts: Iterable[Verdict]) -> float:
    """WB-Reward: 100 times the policy's mean reward from -1 to 1, over the scored verdicts of `judge=wildbench`.

    Raises ValueError if none is scored.
    """
    rewards = [scores(v) for v in verdicts if v.scores is not None]
    return 100 * float(_table(rewards, "wildbench")[:, 1].mean())


def wildbench_score(verdicts: Iterable[Verdict]) -> float:
    """WB-Score: 10 times the mean of (grade - 5) * 2 of the policy's responses, from `judge=wildbench_score`.

    Raises ValueError if none is scored.
    """
    grades = [scores(v) for v in verdicts if v.scores is not None]
    return 10 * float(((_table(grades, "wildbench_score")[:, 1] - 5) * 2).mean())


def _table(rows: list[tuple[float, float]], judge: str) -> Floats:
    """Scores (N, 2) of the other model and of the policy."""
    if not rows:
        raise ValueError(f"no verdict of judge={judge} is scored")
    return np.array(rows)
