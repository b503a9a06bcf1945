"""The result in sentences: the verdict on each cell, its numbers, and nothing concluded beyond them."""

from dataclasses import replace
from math import isnan, nan

import pytest

from analysis.tables.cells import build_cells
from analysis.tables.findings import build_findings, cell_verdict, headline, summary_line


@pytest.fixture
def cell(make_record):
    (cell,) = build_cells([make_record(prompts=12)])

    def build(rate, lo, hi, family="qwen", unscored=0, worst=(None, None)):
        worst_lo, worst_hi = (rate if bound is None else bound for bound in worst)
        numbers = {"rate": rate, "lo": lo, "hi": hi, "worst_lo": worst_lo, "worst_hi": worst_hi}
        counts = {"prompts": 180, "verdicts": 360, "unscored": unscored, "scored": 12 if isnan(lo) else 180}
        return replace(cell, family=family, win=replace(cell.win, **numbers, **counts))

    return build


@pytest.mark.parametrize(
    ("numbers", "verdict", "shown"),
    [
        ((84.2, 79.2, 88.9), "won", ["84.2 % [79.2, 88.9]", "180 prompts (Qwen pretrained)", "better"]),
        ((30.0, 20.0, 49.9), "lost", ["30.0 % [20.0, 49.9]", "worse"]),
        ((56.0, 50.0, 62.0), "even", ["56.0 % [50.0, 62.0]", "50 %"]),
        ((56.0, nan, nan), "unknown", ["56.0 % [n/a]", "fewer than 30"]),
        ((nan, nan, nan), "unknown", ["no scored verdict", "0 unscored"]),
    ],
)
def test_one_cell(cell, numbers, verdict, shown):
    one = cell(*numbers)
    [(method, finding)] = build_findings([one]).items()
    assert method == "CME" and cell_verdict(one) == verdict
    assert all(text in finding for text in shown)


def test_results_that_the_unscored_could_change_are_no_conclusion(cell):
    high = cell(60.0, 55.0, 65.0, unscored=80, worst=(46.7, 69.0))
    low = cell(40.0, 35.0, 45.0, unscored=80, worst=(31.0, 50.0))
    for one, bounds in ((high, "46.7 to 69.0 %"), (low, "31.0 to 50.0 %")):
        (finding,) = build_findings([one]).values()
        assert cell_verdict(one) == "open" and bounds in finding and "80 of 360" in finding
    settled = cell(60.0, 55.0, 65.0, "olmo", unscored=80, worst=(50.1, 69.0))
    (finding,) = build_findings([high, settled]).values()
    assert cell_verdict(settled) == "won"
    assert "in 1 of 2 cells" in finding and "(in 1 only" in finding


def test_half_scored_pairs_and_single_orders_are_counted(make_record, make_verdict):
    both = [make_verdict(i, 1, order) for i in range(40) for order in (True, False)]
    both[0] = make_verdict(0, None, True)
    (finding,) = build_findings(build_cells([make_record(verdicts=both)])).values()
    assert "1 of 80 verdicts unscored" in finding and "1 more of pairs" in finding
    (finding,) = build_findings(build_cells([make_record(verdicts=both[1::2])])).values()
    assert finding.endswith("; judged in one order only.")


def test_a_judge_that_fails_its_sanity_check_gives_no_verdict(cell):
    won, other = (
        replace(cell(*numbers), standing="fails", overlaps=("judge.model=x is the verifier",))
        for numbers in ((84.2, 79.2, 88.9), (30.0, 20.0, 49.9, "olmo"))
    )
    reason = "since the judge fails its sanity check"
    assert cell_verdict(won) == cell_verdict(other) == "withheld"
    (finding,) = build_findings([won]).values()
    shown = "84.2 % [79.2, 88.9] of the comparisons on 180 prompts (Qwen pretrained)"
    assert f"{shown}: no verdict, {reason}" in finding
    (finding,) = build_findings([won, other, cell(60.0, 55.0, 65.0, "gemma")]).values()
    assert "beat its untrained model in 1 of 3 cells" in finding
    assert f"no verdict in 2, {reason}" in finding
    for text in (headline([won]), headline([won, other]), summary_line(won)):
        assert "no verdict: the judge fails its sanity check" in text
        assert "judge.model=x is the verifier" in text
    assert "beat its untrained model in 0 of 2 cells and lost to it in 0" in headline([won, other])


def test_a_judge_without_a_passing_sanity_check_is_not_validated(cell):
    for standing in ("unchecked", "exact", "passes"):
        one = replace(cell(84.2, 79.2, 88.9), standing=standing)
        assert cell_verdict(one) == "won"
        for text in (headline([one]), summary_line(one)):
            assert ("judge not validated" in text) == (standing == "unchecked") and "verifier" not in text


def test_several_cells_are_counted_and_their_range_is_given(cell):
    cells = [
        cell(60.0, 55.0, 65.0, "qwen"),
        cell(70.0, 65.0, 75.0, "olmo"),
        cell(40.0, 35.0, 45.0, "gemma", unscored=12),
        cell(51.0, 45.0, 57.0, "llama"),
        cell(90.0, nan, nan, "tiny"),
    ]
    (finding,) = build_findings(cells).values()
    assert finding == (
        "beat its untrained model in 2 of 5 cells, lost to it in 1, was not distinguishable from it in 1, and has too "
        "few scored prompts in 1; from 40.0 % [35.0, 45.0] (Gemma pretrained) to 90.0 % [n/a] (tiny pretrained); 180 "
        "prompts per cell; 12 of 1,800 verdicts unscored and left out."
    )


def test_methods_are_in_the_order_of_the_tables(make_record):
    records = [make_record(reward=reward) for reward in ("random", "majority_vote", "cme")]
    assert list(build_findings(build_cells(records))) == ["CME", "Majority vote", "Random"]


def test_a_broken_judge_is_a_warning_with_its_cells_and_range(cell):
    fine = cell(84.2, 79.2, 88.9, "llama")
    one, other = (
        replace(cell(50.0, 45.0, 55.0, family), consistent=share, first_shown=first)
        for family, share, first in (("qwen", 10.0, 95.0), ("olmo", 30.0, 80.0))
    )
    assert "warning: the judge gave only 10.0 % of pairs" in headline([one]) and "cells" not in headline(
        [one]
    )
    text = headline([one, other, fine])
    assert "gave only 10.0 to 30.0 % of pairs" in text
    assert "first in 80.0 to 95.0 % of decided verdicts in 2 of 3 cells" in text
    assert "warning" not in headline([fine]) and "warning" not in summary_line(fine)


@pytest.mark.parametrize(
    ("changes", "alone", "among_two"),
    [
        (
            {"untrained": ("seed 0: no weight changed",)},
            "seed 0: no weight changed",
            "warning: 1 of 2 cells have a run whose two sides are the untrained model",
        ),
        (
            {"collapsed": ("warning: seed 0 gives 3 of 4 prompts the same response",)},
            "seed 0 gives 3 of 4 prompts the same response",
            "warning: 1 of 2 cells have a run that gives most prompts the same response (CME)",
        ),
    ],
)
def test_headline_and_line_say_that_a_run_trained_nothing_or_collapsed(cell, changes, alone, among_two):
    one = replace(cell(50.0, 45.0, 55.0), **changes)
    assert alone in headline([one]) and alone in summary_line(one)
    assert among_two in headline([one, cell(84.2, 79.2, 88.9, "olmo")])
