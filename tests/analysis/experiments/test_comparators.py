"""Policies and untrained models against further models: win rates, paired gains and notes, worked out by hand."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats
from shown import won

from analysis.experiments.comparators import comparator_names, comparator_table, compare_cells
from analysis.experiments.main_table import MAIN_TABLE
from analysis.tables.render import Entry, Table
from cme.records import CUT_START, Comparison, Generation, Outcome, RunRecord

PROMPTS = 36
Make = Callable[..., RunRecord]


def comparison(name: str, policy: int, start: int, checkpoint: str = "m") -> Comparison:
    responses = [Generation("a", True, 1)] * PROMPTS
    return Comparison(name, checkpoint, responses, won(policy), won(start))


def rows(table: Table) -> list[list[Entry]]:
    return [row for group in table.groups for row in group]


def table_of(runs: list[RunRecord]) -> Table:
    [view] = MAIN_TABLE.views(runs)
    named = view.named
    return comparator_table(view, {name: compare_cells(named, name) for name in comparator_names(named.runs)})


def test_rates_and_the_paired_gain_by_hand(make_record: Make) -> None:
    both = [comparison("instruct", 27, 9), comparison("reference", 18, 18)]
    run = make_record(verdicts=won(36), comparisons=both)
    table = table_of([run])
    [row] = rows(table)
    assert table.header == [
        *("family", "regime", "against the untrained model"),
        *("trained against instruct", "start against instruct", "gain on instruct"),
        *("trained against reference", "start against reference", "gain on reference"),
    ]
    texts = [entry.text for entry in row]
    assert texts[:2] == ["Qwen", "Pretrained"]
    assert [text.split(" ")[0] for text in texts[2:]] == [
        "100.0", "75.0", "25.0", "+50.0", "50.0", "50.0", "+0.0",
    ]  # fmt: skip
    # on 18 prompts the policy has a point more, on the other 18 as many
    half = stats.t.ppf(0.975, 35) * sqrt(0.25 * 36 / 35) / sqrt(36)
    assert texts[5] == f"+50.0 [{100 * (0.5 - half):.1f}, {100 * (0.5 + half):.1f}]"
    assert [entry.bold for entry in row[3:]] == [True, True, True, False, False, False]


def test_seeds_are_pooled_and_the_start_stands_once_for_all(make_record: Make) -> None:
    runs = [
        make_record(seed=s, run_id=f"r{s}", verdicts=won(20), comparisons=[comparison("instruct", w, 9)])
        for s, w in enumerate((9, 18, 27))
    ]
    [found] = compare_cells(MAIN_TABLE.views(runs)[0].named, "instruct").values()
    [alone] = compare_cells(MAIN_TABLE.views(runs[:1])[0].named, "instruct").values()
    assert (found.policy.win.rate, found.start.win.rate, found.gain.difference) == pytest.approx((50, 25, 25))
    assert (found.start.win.lo, found.start.win.hi) == pytest.approx((alone.start.win.lo, alone.start.win.hi))
    # by prompt: 9 with no difference, 9 with 2/3, 9 with 1/3, 9 with none
    gains = [0.0] * 9 + [2 / 3] * 9 + [1 / 3] * 9 + [0.0] * 9
    half = stats.t.ppf(0.975, 35) * stats.sem(gains)
    assert (found.gain.lo, found.gain.hi) == pytest.approx((25 - 100 * half, 25 + 100 * half))


def test_missing_comparisons_are_dashes_and_partial_ones_have_a_note(make_record: Make) -> None:
    first = make_record(
        seed=0, run_id="a", verdicts=won(20), comparisons=[comparison("instruct", 20, 9, "i")]
    )
    second = make_record(seed=1, run_id="b", verdicts=won(20))
    itself = make_record(regime="instruct", run_id="c", verdicts=won(20))
    table = table_of([first, second, itself])
    by_regime = {row[1].text: [entry.text for entry in row[3:]] for row in rows(table)}
    assert by_regime["Instruct"] == ["-", "-", "-"]
    assert by_regime["Pretrained"][0].startswith("55.6 [")
    assert any("CME: 1 of 2 runs" in note for note in table.notes)
    assert "instruct: i." in table.notes


def test_the_cut_start_is_no_further_model(make_record: Make) -> None:
    both = [comparison(CUT_START, 27, 9), comparison("instruct", 27, 9)]
    assert comparator_names([make_record(verdicts=won(36), comparisons=both)]) == ["instruct"]


def test_comparators_are_named_by_their_checkpoints(make_record: Make) -> None:
    runs = [
        make_record(
            family=f, verdicts=won(20), comparisons=[comparison("x", 1, 1, f"{f}-it"), comparison("y", 1, 1)]
        )
        for f in ("qwen", "llama")
    ]
    notes = table_of(runs).notes
    assert "x: qwen-it (Qwen), llama-it (Llama)." in notes
    assert "y: m." in notes


def test_unscored_verdicts_are_left_out_with_their_other_order_and_counted(make_record: Make) -> None:
    made = comparison("x", 27, 9)
    unscored: Outcome = "unscored"
    failed = [
        replace(v, outcome=unscored, reason="down") if (v.prompt_id, v.policy_first) == ("p0", True) else v
        for v in made.policy
    ]
    run = make_record(verdicts=won(20), comparisons=[replace(made, policy=failed)])
    table = table_of([run])
    [row] = rows(table)
    assert row[3].text.startswith(f"{100 * 26 / 35:.1f} [")
    # the gain is over the 35 prompts that both have scored, on 18 of which the policy has a point more
    assert row[5].text.startswith(f"+{100 * 18 / 35:.1f} [")
    assert any(note.startswith("1 of these verdicts") and "and 1 more" in note for note in table.notes)


def test_the_main_table_writes_comparisons_only_if_there_are_any(make_record: Make, tmp_path: Path) -> None:
    run = make_record(verdicts=won(36), comparisons=[comparison("instruct", 27, 9)])
    part = MAIN_TABLE.show([run], tmp_path)
    assert any(table.name == "main-table-comparators-miniature-oracle" for table in part.tables)
    [row] = pd.read_csv(tmp_path / "tables" / "miniature-main-table-comparators.csv").to_dict("records")
    assert (row["comparator"], row["policy_rate"], row["start_rate"], row["gain"]) == ("instruct", 75, 25, 50)
    assert "against instruct" in (tmp_path / "tables" / "miniature-main-table-comparators.md").read_text()
    alone = MAIN_TABLE.show([replace(run, comparisons=None)], tmp_path / "alone")
    assert len(alone.tables) == len(part.tables) - 1
    assert not (tmp_path / "alone" / "tables" / "miniature-main-table-comparators.csv").exists()
