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
    assert half_scored(won, first, pairs).tolist() == [*[False] * 3, True, True, *[False] * 3]
    # judged in one order by design: no verdict is left out
    single = np.array([True, False, True, True, False, False, True, False])
    alone = np.array([f"p{i}" for i in range(8)], dtype=object)
    assert not has_both_orders(single, alone) and not half_scored(won, single, alone).any()
    assert has_both_orders(first, pairs)
    # a pair without a verdict in the other order, next to pairs with both
    assert half_scored(won[:3], first[:3], pairs[:3]).tolist() == [False] * 3
    assert half_scored(np.array([1, 0.0, 1]), first[:3], pairs[:3]).tolist() == [False, False, True]


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


def test_two_judges_have_cohens_kappa():
    points = ratings(np.random.default_rng(0), 400, 2)
    of = agreement(points, prompts_of(400), ("a", "b"))
    assert of.kappa == pytest.approx(cohen_kappa_score(*points.T.astype(str)))
    assert of.alike == pytest.approx(100 * (points[:, 0] == points[:, 1]).mean())
    # Items are independent here, so resampling prompts must come close to the analytic interval.
    analytic = cohens_kappa(to_table((2 * points).astype(int))[0])
    assert (of.lo, of.hi) == pytest.approx((analytic.kappa_low, analytic.kappa_upp), abs=0.02)


@pytest.mark.parametrize("judges", [3, 5])
def test_more_judges_have_fleiss_kappa(judges):
    points = ratings(np.random.default_rng(1), 200, judges)
    of = agreement(points, prompts_of(200), tuple("abcde"[:judges]))
    assert of.kappa == pytest.approx(slow_fleiss(points)) and of.lo < of.kappa < of.hi
    pairs = [(points[:, i] == points[:, j]).mean() for i in range(judges) for j in range(i)]
    assert of.alike == pytest.approx(100 * np.mean(pairs))


def test_the_interval_resamples_whole_prompts():
    points = np.repeat(ratings(np.random.default_rng(2), 50, 3), 8, axis=0)
    together = agreement(points, np.repeat(np.arange(50).astype(str), 8).astype(object), tuple("abc"))
    apart = agreement(points, np.arange(400).astype(str).astype(object), tuple("abc"))
    assert together.kappa == pytest.approx(apart.kappa)
    assert together.hi - together.lo > 2 * (apart.hi - apart.lo)


def test_unscored_items_are_left_out_and_one_outcome_has_no_kappa():
    points = np.ones((12, 2))
    points[0, 1] = np.nan
    of = agreement(points, prompts_of(12), ("a", "b"))
    assert (of.items, of.left_out, of.alike) == (11, 1, 100) and isnan(of.kappa) and isnan(of.lo)
    nothing = agreement(np.full((2, 2), np.nan), prompts_of(2), ("a", "b"))
    assert nothing.items == 0 and isnan(nothing.kappa)
    with pytest.raises(ValueError, match="two judges; there is a"):
        agreement(np.ones((2, 1)), prompts_of(2), ("a",))


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
        (("first", "first", "second"), "first"),
        (("first", "tie", "tie"), "tie"),
        (("first", "tie", "second"), "tie"),
        (("first", "second", "unscored"), "tie"),
        (("first", "first", "unscored"), "first"),
        (("first", "unscored", "unscored"), "unscored"),
        (("first", "tie"), "tie"),
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


def test_a_panel_has_cells_for_its_members_and_its_majority(make_record):
    record = panel_record(make_record)
    cells = {cell.judge: cell for cell in build_cells([record])}
    assert list(cells) == ["panel: one", "panel: two", "panel: three", "panel: majority"]
    assert [cell.win.unscored for cell in cells.values()] == [0, 0, 2, 0]
    assert cells["panel: three"].consistent == 0 and cells["panel: three"].first_shown == 100
    assert cells["panel: one"].consistent == 100
    assert cells["panel: one"].agreement is None
    of = cells["panel: majority"].agreement
    frame = verdicts_frame([record])
    members = frame[frame["judge"] != "panel: majority"]
    votes = members.pivot(index=["prompt_id", "policy_first"], columns="judge", values="points").dropna()
    assert of.kappa == pytest.approx(slow_fleiss(votes.to_numpy())) and (of.items, of.left_out) == (78, 2)


def test_a_verdict_from_both_orders_is_a_vote_in_each_order(make_record):
    one = Verdict("p", True, "first", judge="one", orders=((0.9, 0.1), (0.7, 0.3)))
    others = [
        Verdict("p", order, "first" if order else outcome, judge="two")
        for order, outcome in ((True, "tie"), (False, "second"))
    ]
    lost = replace(one, outcome="second")
    missing = replace(one, outcome="unscored", reason="no reply")
    for verdict, expected in (
        (one, ["first", "second"]),
        (lost, ["tie", "tie"]),
        (missing, ["unscored"] * 2),
    ):
        found = majority_verdicts([verdict, *others])
        assert [(v.policy_first, v.outcome) for v in found] == list(zip((True, False), expected, strict=True))
    cells = {cell.judge: cell for cell in build_cells([make_record(judge="panel", verdicts=[one, *others])])}
    # alone, the first member prefers the response shown first in both orders; the second always the policy's
    agreed = cells["panel: majority"].agreement
    assert (agreed.items, agreed.left_out, agreed.alike) == (2, 0, 50)


def test_a_panel_of_one_has_no_majority_and_unscored_items_are_left_out(make_record):
    (only,) = build_cells([make_record(judge="panel", verdicts=[Verdict("p", True, "first", judge="one")])])
    assert only.judge == "panel: one" and only.agreement is None
    unscored = Verdict("p", True, "unscored", "no reply", judge="two")
    cells = build_cells(
        [make_record(judge="panel", verdicts=[Verdict("p", True, "first", judge="one"), unscored])]
    )
    majority = cells[-1]
    assert majority.win.unscored == 1 and (majority.agreement.items, majority.agreement.left_out) == (0, 1)
    assert "n/a [n/a]" in "".join(map(to_markdown, win_rate_tables([majority])))


def test_the_tables_of_the_majority_show_the_agreement(make_record):
    cells = build_cells([panel_record(make_record, seed=seed) for seed in (0, 1)])
    majority = [cell for cell in cells if cell.judge == "panel: majority"]
    text = "\n".join(map(to_markdown, win_rate_tables(majority)))
    assert "Agreement of the judges, scale: miniature, judge: panel: majority" in text
    assert "one, three, two" in text and "| 156" in text
    frame = cells_frame(cells).set_index("judge")
    assert frame.loc["panel: majority", "kappa"] == majority[0].agreement.kappa
    assert np.isnan(frame.loc["panel: one", "kappa"])
    one = [cell for cell in cells if cell.judge == "panel: one"]
    assert "Agreement" not in "".join(map(to_markdown, win_rate_tables(one)))
