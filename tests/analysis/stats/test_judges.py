"""Position bias by hand, kappa against scikit-learn and its definition, and panels of judges in tables."""

from dataclasses import replace
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa, to_table

from analysis.records.frames import verdicts_frame
from analysis.stats import intervals
from analysis.stats.judges import (
    OUTCOMES,
    agreement,
    first_position_share,
    half_scored,
    has_both_orders,
    position_consistency,
)
from analysis.stats.win_rates import win_rate
from analysis.tables.cells import build_cells, cells_frame
from analysis.tables.render import to_markdown
from analysis.tables.win_rates import win_rate_tables
from cme.records import Verdict, majority_verdicts


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)


def in_orders(points):
    """Verdicts on pairs in both orders, from points (pairs, 2), the policy first in the first: arrays (N,) each."""
    pairs = np.repeat([f"p{i}" for i in range(len(points))], 2).astype(object)
    return points.ravel(), np.tile([True, False], len(points)), pairs


def test_half_scored_by_hand():
    won, first, pairs = in_orders(np.array([[1, 0.5], [nan, 1], [0, nan], [nan, nan]]))
    assert has_both_orders(first, pairs)
    assert half_scored(won, first, pairs).tolist() == [*[False] * 3, True, True, *[False] * 3]
    # a pair without a verdict in the other order, next to one with both
    assert half_scored(np.array([1, 0.0, 1]), first[:3], pairs[:3]).tolist() == [False, False, True]
    # judged in one order by design: no verdict is left out
    alone = np.array([f"p{i}" for i in range(8)], dtype=object)
    assert not has_both_orders(first, alone) and not half_scored(won, first, alone).any()


def test_position_consistency_and_first_position_share_by_hand():
    points = np.array([1, 1, 0, 1, 0.5, 0.5, 1, nan, 0])
    first = np.array([True, False] * 4 + [True])
    pairs = np.array(list("aabbccdde"), dtype=object)
    assert position_consistency(points, first, pairs) == pytest.approx(100 * 2 / 3)
    assert isnan(position_consistency(points[-3:], first[-3:], pairs[-3:]))
    points = np.array([1, 0, 1, 0.5, nan])
    assert first_position_share(points, np.array([True, False, False, True, True])) == pytest.approx(200 / 3)
    assert isnan(first_position_share(np.array([0.5]), np.array([True])))


orders = st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, nan])] * 2), min_size=1, max_size=20)


@given(orders, st.randoms())
@settings(max_examples=60, deadline=None)
def test_half_scored_pairs_do_not_count_and_worst_cases_bound_the_rate(points, random):
    won, first, pairs = in_orders(np.array(points))
    win = win_rate(won, pairs, half_scored(won, first, pairs))
    whole = [sum(both) / 2 for both in points if not any(map(isnan, both))]
    assert win.rate == pytest.approx(100 * sum(whole) / len(whole) if whole else nan, nan_ok=True)
    assert win.scored == len(whole)
    filled = [random.choice([0.0, 0.5, 1.0]) if isnan(p) else p for p in won]
    assert win.worst_lo - 1e-9 <= 100 * sum(filled) / len(filled) <= win.worst_hi + 1e-9


def ratings(rng, items, judges, follow=0.6):
    """Points of judges who follow a common outcome with some probability."""
    common = rng.choice(OUTCOMES, (items, 1), p=[0.5, 0.3, 0.2])
    own = rng.choice(OUTCOMES, (items, judges))
    return np.where(rng.random((items, judges)) < follow, common, own)


def prompts_of(items):
    return np.array([f"p{i // 2}" for i in range(items)], dtype=object)


def slow_fleiss(points):
    """Fleiss' kappa by its definition, item by item and pair by pair."""
    judges = range(points.shape[1])
    pairs = [(i, j) for i in judges for j in judges if i != j]
    agreed = np.mean([np.mean([row[i] == row[j] for i, j in pairs]) for row in points])
    chance = sum(np.mean(points == outcome) ** 2 for outcome in OUTCOMES)
    return (agreed - chance) / (1 - chance)


def test_two_judges_have_cohens_kappa_with_an_interval_over_prompts():
    points, prompts = ratings(np.random.default_rng(0), 400, 2), prompts_of(400)
    of = agreement(points, prompts, ("a", "b"))
    assert of.kappa == pytest.approx(cohen_kappa_score(*points.T.astype(str)))
    assert of.alike == pytest.approx(100 * (points[:, 0] == points[:, 1]).mean())
    # Items are independent here, so resampling prompts must come close to the analytic interval.
    analytic = cohens_kappa(to_table((2 * points).astype(int))[0])
    assert (of.lo, of.hi) == pytest.approx((analytic.kappa_low, analytic.kappa_upp), abs=0.02)
    copied = agreement(np.repeat(points, 3, axis=0), np.repeat(prompts, 3), ("a", "b"))
    assert (copied.kappa, copied.lo, copied.hi) == pytest.approx((of.kappa, of.lo, of.hi))


def test_more_judges_have_fleiss_kappa():
    points = ratings(np.random.default_rng(1), 200, 5)
    of = agreement(points, prompts_of(200), tuple("abcde"))
    assert of.kappa == pytest.approx(slow_fleiss(points)) and of.lo < of.kappa < of.hi
    pairs = [(points[:, i] == points[:, j]).mean() for i in range(5) for j in range(i)]
    assert of.alike == pytest.approx(100 * np.mean(pairs))


def test_unscored_items_are_left_out_and_one_outcome_has_no_kappa():
    points = np.ones((12, 2))
    points[0, 1] = np.nan
    of = agreement(points, prompts_of(12), ("a", "b"))
    assert (of.items, of.left_out, of.alike) == (11, 1, 100) and isnan(of.kappa) and isnan(of.lo)
    nothing = agreement(np.full((2, 2), np.nan), prompts_of(2), ("a", "b"))
    assert nothing.items == 0 and isnan(nothing.kappa)


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
        (("first", "first", "second"), "first"),
        (("first", "tie", "second"), "tie"),
        (("first", "second", "unscored"), "tie"),
        (("first", "first", "unscored"), "first"),
        (("first", "unscored"), "unscored"),
        (("first", "first", "tie", "second"), "tie"),
    ],
)
def test_majority(votes, verdict):
    cast = [
        Verdict("p", True, vote, "no reply" if vote == "unscored" else None, judge=f"judge {i}")
        for i, vote in enumerate(votes)
    ]
    (found,) = majority_verdicts(cast)
    assert (found.outcome, found.judge, found.policy_first) == (verdict, "majority", True)


def panel_record(make_record, prompts=40, **fields):
    """A panel of three; the third judge prefers what it is shown first and could not score prompt p0."""
    rng = np.random.default_rng(3)
    verdicts = []
    for i in range(prompts):
        better = rng.random() < 0.7
        for policy_first in (True, False):
            honest = "first" if better == policy_first else "second"
            verdicts += [
                Verdict(f"p{i}", policy_first, honest, judge="one"),
                Verdict(f"p{i}", policy_first, honest if rng.random() < 0.8 else "tie", judge="two"),
                Verdict(f"p{i}", policy_first, "first", judge="three")
                if i
                else Verdict("p0", policy_first, "unscored", "no reply", judge="three"),
            ]
    return make_record(judge="panel", verdicts=verdicts, **fields)


def test_a_panel_has_cells_for_its_members_and_its_majority_and_a_table_of_their_agreement(make_record):
    record = panel_record(make_record)
    built = build_cells([record])
    cells = {cell.judge: cell for cell in built}
    assert list(cells) == ["panel: one", "panel: two", "panel: three", "panel: majority"]
    assert [cell.win.unscored for cell in built] == [0, 0, 2, 0]
    assert [cell.consistent for cell in built[:3:2]] == [100, 0] and built[2].first_shown == 100
    frame = verdicts_frame([record])
    members = frame[frame["judge"] != "panel: majority"]
    votes = members.pivot(index=["prompt_id", "policy_first"], columns="judge", values="points").dropna()
    of = cells["panel: majority"].agreement
    assert of.kappa == pytest.approx(slow_fleiss(votes.to_numpy())) and (of.items, of.left_out) == (78, 2)
    kappas = cells_frame(built)["kappa"]
    assert kappas.isna().tolist() == [True] * 3 + [False] and kappas.iloc[3] == of.kappa
    alone, majority = ("".join(map(to_markdown, win_rate_tables([built[i]]))) for i in (0, 3))
    assert "Agreement of the judges, scale: miniature, judge: panel: majority" in majority
    assert "one, three, two" in majority and "| 78" in majority and "Agreement" not in alone


def test_a_verdict_from_both_orders_is_a_vote_in_each_order(make_record):
    one = Verdict("p", True, "first", judge="one", orders=((0.9, 0.1), (0.7, 0.3)))
    others = [Verdict("p", True, "first", judge="two"), Verdict("p", False, "second", judge="two")]
    for verdict, expected in (
        (one, ["first", "second"]),
        (replace(one, outcome="second"), ["tie", "tie"]),
        (replace(one, outcome="unscored", reason="no reply"), ["unscored", "unscored"]),
    ):
        found = majority_verdicts([verdict, *others])
        assert [(v.policy_first, v.outcome) for v in found] == list(zip((True, False), expected, strict=True))
    # alone, the first member prefers the response shown first in both orders; the second always the policy's
    agreed = build_cells([make_record(judge="panel", verdicts=[one, *others])])[-1].agreement
    assert (agreed.items, agreed.left_out, agreed.alike) == (2, 0, 50)


def test_a_panel_of_one_has_no_majority_and_unscored_items_are_left_out(make_record):
    one = Verdict("p", True, "first", judge="one")
    [only] = build_cells([make_record(judge="panel", verdicts=[one])])
    assert only.judge == "panel: one" and only.agreement is None
    unscored = Verdict("p", True, "unscored", "no reply", judge="two")
    majority = build_cells([make_record(judge="panel", verdicts=[one, unscored])])[-1]
    assert majority.win.unscored == 1 and (majority.agreement.items, majority.agreement.left_out) == (0, 1)
    assert "n/a [n/a]" in "".join(map(to_markdown, win_rate_tables([majority])))
