"""The win rate of a perfect policy, against the verdicts on one and by hand."""

from dataclasses import replace
from math import isnan
from typing import Any

import pytest

from analysis.records.ceiling import OWN_WORDS, ceiling, floor, start_quality
from cme.judges.base import verdict_from_scores
from cme.records import FurtherJudge, Grade, Grades, Verdict, points

STARTS = {"a": 0.0, "b": 0.5, "c": 1.0, "d": 1.0, "e": 1 - 1e-12}


def judged(policy: float, prompts: dict[str, float] = STARTS) -> list[Verdict]:
    """The oracle's verdicts, in both orders, on a policy of one quality."""
    made = []
    for prompt, start in prompts.items():
        for first in (True, False):
            shown = (policy, start) if first else (start, policy)
            found = verdict_from_scores(*shown, margin=1e-9)
            made.append(Verdict(prompt, first, found.outcome, scores=found.scores))
    return made


def test_the_ceiling_is_the_win_rate_of_a_perfect_policy(make_record: Any) -> None:
    perfect = judged(1.0)
    won = [points(verdict) for verdict in perfect]
    assert ceiling([make_record(verdicts=perfect)]) == pytest.approx(100 * sum(won) / len(won)) == 70
    poor = make_record(verdicts=judged(0.2), seed=1)
    assert start_quality(poor) == pytest.approx(STARTS)
    assert ceiling([poor]) == 70  # whatever the policy is
    other_build = make_record(
        verdicts=judged(0.2, {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 0.9}), seed=2
    )
    assert ceiling([poor, other_build]) == pytest.approx(65)


def test_a_judge_with_grades_of_its_own_has_its_own_ceiling(make_record: Any) -> None:
    """Three of the five responses are perfect by the truth (3.5 are to be won), one by the further judge (4.5)."""
    stricter = FurtherJudge(OWN_WORDS, {}, judged(0.2, STARTS | {"c": 0.0, "e": 0.5}), 1.0)
    run = make_record(verdicts=judged(0.2), further_judges=[stricter])
    assert (ceiling([run]), ceiling([run], "oracle"), ceiling([run], OWN_WORDS)) == (70, 70, 90)


def test_grades_go_before_scores_and_the_floor_is_the_worst_policys(make_record: Any) -> None:
    run = make_record(verdicts=judged(0.2))
    levels = (0.0, 0.0, 0.5, 0.5, 1.0)
    grades = [Grade(level, "none", {}) for level in levels]
    graded = replace(run, judge="local", grades=Grades(grades, grades, grades))
    assert start_quality(graded) == dict(zip("abcde", levels, strict=True))
    assert ceiling([graded]) == pytest.approx(90)
    assert floor([graded]) == pytest.approx(20)  # two ties, three losses
    assert floor([run]) == pytest.approx(10)


def test_no_ceiling_without_the_truth(make_record: Any, make_verdict: Any) -> None:
    assert isnan(ceiling([make_record(verdicts=judged(1.0), judge="local")]))
    assert isnan(ceiling([make_record(verdicts=[make_verdict(0, 1)])]))
    assert isnan(ceiling([])) and isnan(floor([]))
