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
    (finding,) = build_findings([one])
    assert finding.method == "CME" and cell_verdict(one) == verdict
    assert all(text in finding.text for text in shown)


def test_results_that_the_unscored_could_change_are_no_conclusion(cell):
    high = cell(60.0, 55.0, 65.0, unscored=80, worst=(46.7, 69.0))
    low = cell(40.0, 35.0, 45.0, unscored=80, worst=(31.0, 50.0))
    for one, bounds in ((high, "46.7 to 69.0 %"), (low, "31.0 to 50.0 %")):
        (finding,) = build_findings([one])
        assert cell_verdict(one) == "open" and bounds in finding.text and "80 of 360" in finding.text
    settled = cell(60.0, 55.0, 65.0, "olmo", unscored=80, worst=(50.1, 69.0))
    (finding,) = build_findings([high, settled])
    assert (
        cell_verdict(settled) == "won" and "in 1 of 2 cells" in finding.text and "(in 1 only" in finding.text
    )


def test_half_scored_pairs_and_single_orders_are_counted(make_record, make_verdict):
    both = [make_verdict(i, 1, order) for i in range(40) for order in (True, False)]
    both[0] = make_verdict(0, None, True)
    (finding,) = build_findings(build_cells([make_record(verdicts=both)]))
    assert "1 of 80 verdicts unscored" in finding.text and "1 more of pairs" in finding.text
    (finding,) = build_findings(build_cells([make_record(verdicts=both[1::2])]))
    assert finding.text.endswith("; judged in one order only.")


def test_a_judge_that_fails_its_sanity_check_gives_no_verdict(cell):
    won, other = (
        replace(cell(*numbers), standing="fails", overlaps=("judge.model=x is the verifier",))
        for numbers in ((84.2, 79.2, 88.9), (30.0, 20.0, 49.9, "olmo"))
    )
    reason = "since the judge fails its sanity check"
    assert cell_verdict(won) == cell_verdict(other) == "withheld"
    (finding,) = build_findings([won])
    assert (
        f"84.2 % [79.2, 88.9] of the comparisons on 180 prompts (Qwen pretrained): no verdict, {reason}"
        in (finding.text)
    )
    (finding,) = build_findings([won, other, cell(60.0, 55.0, 65.0, "gemma")])
    assert "beat its untrained model in 1 of 3 cells" in finding.text
    assert f"no verdict in 2, {reason}" in finding.text
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
    (finding,) = build_findings(
        [
            cell(60.0, 55.0, 65.0, "qwen"),
            cell(70.0, 65.0, 75.0, "olmo"),
            cell(40.0, 35.0, 45.0, "gemma", unscored=12),
            cell(51.0, 45.0, 57.0, "llama"),
            cell(90.0, nan, nan, "tiny"),
        ]
    )
    assert finding.text == (
        "beat its untrained model in 2 of 5 cells, lost to it in 1, was not distinguishable from it in 1, and has too "
        "few scored prompts in 1; from 40.0 % [35.0, 45.0] (Gemma pretrained) to 90.0 % [n/a] (tiny pretrained); 180 "
        "prompts per cell; 12 of 1,800 verdicts unscored and left out."
    )


def test_methods_are_in_the_order_of_the_tables(make_record):
    records = [make_record(reward=reward) for reward in ("random", "majority_vote", "cme")]
    found = [finding.method for finding in build_findings(build_cells(records))]
    assert found == ["CME", "Majority vote", "Random"]


WARNINGS = [
    (
        {"consistent": 30.0, "first_shown": 80.0},
        "warning: the judge gave only 30.0 % of pairs the same verdict in both orders (below 50 %), and preferred the "
        "response shown first in 80.0 % of decided verdicts",
    ),
    (
        {"first_shown": 99.0, "outcomes": (80, 0, 100)},
        "warning: the judge preferred the response shown first in 99.0 % of decided verdicts",
    ),
    ({"outcomes": (0, 180, 0)}, "warning: the judge called every pair a tie"),
]


@pytest.mark.parametrize(("numbers", "warning"), WARNINGS)
def test_the_headline_of_a_report_has_the_warnings_of_the_result_line(cell, numbers, warning):
    fine = cell(84.2, 79.2, 88.9)
    broken = replace(cell(50.0, 45.0, 55.0), **numbers)
    for text in (headline([broken]), summary_line(broken)):
        assert warning in text
    assert f"{warning} in 1 of 2 cells" in headline([broken, replace(fine, family="olmo")])
    for text in (headline([fine]), summary_line(fine), headline([fine, replace(fine, family="olmo")])):
        assert "warning" not in text


def test_the_headline_gives_the_range_over_the_cells_of_a_broken_judge(cell):
    one, other = (
        replace(cell(50.0, 45.0, 55.0, family), consistent=share, first_shown=first)
        for family, share, first in (("qwen", 10.0, 95.0), ("olmo", 30.0, 80.0))
    )
    assert "gave only 10.0 to 30.0 % of pairs" in headline([one, other])
    assert "first in 80.0 to 95.0 % of decided verdicts in 2 of 2 cells" in headline([one, other])


def test_a_judge_that_rarely_rules_is_warned_of_in_both(cell):
    silent = cell(50.0, 45.0, 55.0, unscored=300)
    for text in (headline([silent]), summary_line(silent)):
        assert "warning: the judge gave no verdict in 83.3 % of cases" in text


def test_both_say_that_a_run_trained_nothing(cell):
    one = replace(cell(50.0, 45.0, 55.0), untrained=("seed 0: no weight changed",))
    for text in (headline([one]), summary_line(one)):
        assert "seed 0: no weight changed" in text
    several = headline([one, cell(84.2, 79.2, 88.9, "olmo")])
    assert "warning: 1 of 2 cells have a run whose two sides are the untrained model" in several


def test_both_say_that_a_policy_gives_most_prompts_the_same_response(cell):
    one = replace(
        cell(50.0, 45.0, 55.0), collapsed=("warning: seed 0 gives 3 of 4 prompts the same response",)
    )
    for text in (headline([one]), summary_line(one)):
        assert "seed 0 gives 3 of 4 prompts the same response" in text
    several = headline([one, cell(84.2, 79.2, 88.9, "olmo")])
    assert "warning: 1 of 2 cells have a run that gives most prompts the same response (CME)" in several
