"""The result in sentences: which side of 50 % an interval lies on, and never more than that."""

from dataclasses import replace
from math import isnan, nan

import pytest

from analysis.report.provenance import provenance_of
from analysis.tables.cells import build_cells
from analysis.tables.findings import build_findings

ON = " of the comparisons on 180 prompts (qwen pretrained): "


@pytest.fixture
def cell(make_record):
    (cell,) = build_cells([make_record(prompts=12)])

    def made(rate, lo, hi, family="qwen", unscored=0, worst=(None, None)):
        worst = [rate if bound is None else bound for bound in worst]
        win = replace(
            cell.win,
            rate=rate,
            lo=lo,
            hi=hi,
            prompts=180,
            verdicts=360,
            unscored=unscored,
            worst_lo=worst[0],
            worst_hi=worst[1],
            scored=12 if isnan(lo) else 180,
        )
        return replace(cell, family=family, win=win)

    return made


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((84.2, 79.2, 88.9), f"won 84.2 % [79.2, 88.9]{ON}better than its start."),
        ((30.0, 20.0, 49.9), f"won 30.0 % [20.0, 49.9]{ON}worse than its start."),
        ((56.0, 50.0, 62.0), f"won 56.0 % [50.0, 62.0]{ON}not told apart from 50 %."),
        ((56.0, nan, nan), f"won 56.0 % [n/a]{ON}too few prompts to tell (fewer than 30)."),
        ((nan, nan, nan), "has no scored verdict (qwen pretrained; 0 unscored)."),
    ],
)
def test_one_cell(cell, numbers, text):
    (finding,) = build_findings([cell(*numbers)])
    assert (finding.method, finding.text) == ("CME", text)


def test_what_the_unscored_could_turn_is_no_conclusion(cell):
    turned = cell(60.0, 55.0, 65.0, unscored=80, worst=(46.7, 69.0))
    (finding,) = build_findings([turned])
    assert finding.text == (
        f"won 60.0 % [55.0, 65.0]{ON}not told apart from 50 %, since with the unscored verdicts it could be 46.7 to "
        "69.0 %; 80 of 360 verdicts unscored and left out."
    )
    (lost,) = build_findings([cell(40.0, 35.0, 45.0, unscored=80, worst=(31.0, 50.0))])
    assert "since with the unscored verdicts it could be 31.0 to 50.0 %" in lost.text
    (finding,) = build_findings([turned, cell(60.0, 55.0, 65.0, "olmo", unscored=80, worst=(50.1, 69.0))])
    assert finding.text.startswith(
        "beat its start in 1 of 2 cells, lost to it in 0, was not told apart from it in 1 (in 1 only because the "
        "unscored verdicts could change it); from"
    )


def test_half_scored_pairs_and_single_orders_are_told(make_record, make_verdict):
    both = [make_verdict(i, 1, order) for i in range(40) for order in (True, False)]
    both[0] = make_verdict(0, None, True)
    (finding,) = build_findings(build_cells([make_record(verdicts=both)]))
    assert finding.text.endswith(
        "1 of 80 verdicts unscored and left out, and 1 more of pairs scored in one order only."
    )
    (finding,) = build_findings(build_cells([make_record(verdicts=both[1::2])]))
    assert finding.text.endswith("; judged in one order only.")


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
        "beat its start in 2 of 5 cells, lost to it in 1, was not told apart from it in 1, and rests on "
        "too few scored prompts in 1; from 40.0 % [35.0, 45.0] (gemma pretrained) to 90.0 % [n/a] (tiny "
        "pretrained); 180 prompts a cell; 12 of 1,800 verdicts unscored and left out."
    )


def test_methods_have_findings_of_their_own_in_the_order_of_the_tables(make_record):
    records = [make_record(reward=reward) for reward in ("random", "majority_vote", "cme")]
    assert [finding.method for finding in build_findings(build_cells(records))] == [
        "CME",
        "Majority vote",
        "Random",
    ]


def test_provenance_splits_what_runs_share_from_what_each_has(make_record):
    one = make_record(seed=0, environment={"torch": "2", "device": "cpu"}, language_model="hub:judge")
    two = make_record(
        seed=1, environment={"torch": "2", "device": "gpu", "driver": "5"}, stopped="<b>why</b>"
    )
    found = provenance_of([one, two])
    assert found.settings == [("trainer.beta", "0.0")] and found.versions == [("torch", "2")]
    assert [run.settings for run in found.runs] == [[("seed", "0")], [("seed", "1")]]
    assert [run.versions for run in found.runs] == [[("device", "cpu")], [("device", "gpu"), ("driver", "5")]]
    first, second = (dict(run.facts) for run in found.runs)
    assert first["language model (surprisal)"] == "hub:judge" and "stopped" not in first
    assert second["stopped"] == "<b>why</b>" and second["training steps"] == "12"
    assert first["generator"] == "miniature:qwen/pretrained" and first["seconds"] == "train 1.0"
