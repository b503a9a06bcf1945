"""The main table: its figure on known win rates; both sides against further models, worked out by hand."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from scipy import stats
from shown import won

from analysis.experiments.main_table import MAIN_TABLE, comparator_table, compare_cells, main_plots
from analysis.tables.render import Entry, Table
from cme.records import CUT_START, Comparison, Generation, Outcome, RunRecord

PROMPTS = 36
Make = Callable[..., RunRecord]


def test_main_figure_marks_the_published_range_and_the_change_of_quality(make_record: Make) -> None:
    runs = [
        make_record(family="qwen", regime="pretrained", verdicts=won(36, scored=True)),
        make_record(family="qwen", regime="instruct", verdicts=won(18, scored=True)),
        make_record(family="olmo", regime="sft", verdicts=won(6, scored=True)),
    ]
    [plot] = main_plots(MAIN_TABLE.views(runs)[0])
    left, right = plot.figure.subfigs[0].axes
    [band] = [patch for patch in left.patches if isinstance(patch, Rectangle)]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((52.5, 71.4))
    assert left.texts[0].get_text() == "published range,\nother scale"
    assert [t.get_text() for t in left.get_yticklabels()] == ["OLMo", "SFT", "Qwen", "Pretrained", "Instruct"]
    dots = {
        line.get_ydata()[0]: line.get_xdata()[0]
        for line in right.lines
        if line.get_marker() == "o" and line.get_markersize() == 5
    }
    assert dots == pytest.approx({-1: 0.6 * 6 / 36 + 0.2 * 30 / 36, -3: 0.6, -4: 0.4})
    [plot] = main_plots(MAIN_TABLE.views([make_record(verdicts=won(20))])[0])
    assert len(plot.figure.subfigs[0].axes) == 1  # no second panel without scores


def comparison(name: str, policy: int, start: int, checkpoint: str = "m") -> Comparison:
    responses = [Generation("a", True, 1)] * PROMPTS
    return Comparison(name, checkpoint, responses, won(policy), won(start))


def rows(table: Table) -> list[list[Entry]]:
    return [row for group in table.groups for row in group]


def table_of(runs: list[RunRecord]) -> Table:
    [view] = MAIN_TABLE.views(runs)
    return comparator_table(view, compare_cells(view.named))


def test_rates_and_the_paired_gain_by_hand(make_record: Make) -> None:
    """Every response of the untrained model has quality 0.4, so that a perfect policy would win all pairs."""
    both = [comparison("instruct", 27, 9), comparison("reference", 18, 18)]
    verdicts = [replace(v, scores=(0.9, 0.4) if v.policy_first else (0.4, 0.9)) for v in won(36)]
    table = table_of([make_record(verdicts=verdicts, comparisons=both)])
    [row] = rows(table)
    assert table.header == [
        *("family", "regime", "against the untrained model", "cut start", "ceiling"),
        *("trained against instruct", "start against instruct", "gain on instruct"),
        *("trained against reference", "start against reference", "gain on reference"),
    ]
    texts = [entry.text for entry in row]
    assert [text.split(" ")[0] for text in texts] == [
        "Qwen", "Pretrained", "100.0", "-", "100.0", "75.0", "25.0", "+50.0", "50.0", "50.0", "+0.0",
    ]  # fmt: skip
    # on 18 prompts the policy has a point more, on the other 18 as many
    half = stats.t.ppf(0.975, 35) * sqrt(0.25 * 36 / 35) / sqrt(36)
    assert texts[7] == f"+50.0 [{100 * (0.5 - half):.1f}, {100 * (0.5 + half):.1f}]"
    assert [entry.bold for entry in row[5:]] == [True, True, True, False, False, False]


def test_seeds_are_pooled_and_the_start_stands_once_for_all(make_record: Make) -> None:
    runs = [
        make_record(seed=s, run_id=f"r{s}", verdicts=won(20), comparisons=[comparison("instruct", w, 9)])
        for s, w in enumerate((9, 18, 27))
    ]
    [found] = compare_cells(MAIN_TABLE.views(runs)[0].named)["instruct"].values()
    [alone] = compare_cells(MAIN_TABLE.views(runs[:1])[0].named)["instruct"].values()
    assert (found.policy.win.rate, found.start.win.rate, found.gain.difference) == pytest.approx((50, 25, 25))
    assert (found.start.win.lo, found.start.win.hi) == pytest.approx((alone.start.win.lo, alone.start.win.hi))
    # by prompt: 9 with no difference, 9 with 2/3, 9 with 1/3, 9 with none
    gains = [0.0] * 9 + [2 / 3] * 9 + [1 / 3] * 9 + [0.0] * 9
    half = stats.t.ppf(0.975, 35) * stats.sem(gains)
    assert (found.gain.lo, found.gain.hi) == pytest.approx((25 - 100 * half, 25 + 100 * half))


def test_missing_comparisons_are_dashes_and_partial_ones_have_a_note(make_record: Make) -> None:
    """The cut start, with which both sides were compared too, is no further model."""
    cut = comparison(CUT_START, 27, 9)
    first = make_record(seed=0, run_id="a", verdicts=won(20), comparisons=[comparison("x", 20, 9, "i"), cut])
    others = [
        make_record(seed=1, run_id="b", verdicts=won(20)),
        make_record(regime="instruct", run_id="c", verdicts=won(20)),
        make_record(family="llama", run_id="d", verdicts=won(20), comparisons=[comparison("x", 1, 1)]),
    ]
    table = table_of([first, *others])
    assert table.header[5:] == ["trained against x", "start against x", "gain on x"]
    by_place = {(row[0].text, row[1].text): [entry.text for entry in row[5:]] for row in rows(table)}
    assert by_place["", "Instruct"] == ["-", "-", "-"]
    assert by_place["Qwen", "Pretrained"][0].startswith("55.6 [")
    assert any("CME: 1 of 2 runs" in note for note in table.notes)
    assert "x: i (Qwen), m (Llama)." in table.notes


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
    assert row[5].text.startswith(f"{100 * 26 / 35:.1f} [")
    # the gain is over the 35 prompts that both have scored, on 18 of which the policy has a point more
    assert row[7].text.startswith(f"+{100 * 18 / 35:.1f} [")
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
