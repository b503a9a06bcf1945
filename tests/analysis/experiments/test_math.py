"""Mathematics: votes and accuracy by hand; ours and the published apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shown import blocks, marks, panels, problems, smallest_type, texts

from analysis.experiments.math import MATH, GradedRuns, pass_at_1_plot, votes_table
from analysis.experiments.verifier_sweep import VERIFIER_SWEEP_MATH
from analysis.sections.base import NothingToShow
from cme.records import Accuracy, Generation, Pair, RunRecord


@pytest.fixture
def graded_runs(make_record: Any) -> list[RunRecord]:
    """40 problems, 10 right before training; majority share and label accuracy rise by 0.1 and 0.2."""
    runs = []
    answer = Generation("7", True, 1)
    pairs = [Pair(f"p{i}", "q", None, answer, answer, "7") for i in range(40)]
    for reward, right in (("cme", 30), ("majority_vote", 20)):
        for seed in range(3):
            share = 0.3 + 0.1 * seed
            history = {
                "step": [float(i) for i in range(1, 41)],
                "majority_share": blocks(share, share + 0.1),
                "label_accuracy": blocks(0.2, 0.4),
            }
            config = {"seed": seed, "data": {"name": "arithmetic"}}
            accuracy = Accuracy(problems(10), problems(right))
            run = make_record(reward=reward, seed=seed, config=config, verdicts=[])
            runs.append(replace(run, pairs=pairs, accuracy=accuracy, history=history))
    return runs


def view(runs: list[RunRecord]) -> GradedRuns:
    """The graded runs of the only data set."""
    [only] = MATH.views(runs)
    assert isinstance(only, GradedRuns)
    return only


def test_votes_in_the_first_and_the_last_block(graded_runs: list[RunRecord]) -> None:
    graded = view(graded_runs)
    row = graded.frame[graded.frame["method"] == "Majority vote"].to_dict("records")[0]
    assert (row["majority_share_first"], row["majority_share_last"]) == pytest.approx((0.4, 0.5))
    assert (row["label_accuracy_first"], row["label_accuracy_last"]) == pytest.approx((0.2, 0.4))
    assert row["majority_share_first_hi"] == pytest.approx(0.4 + 4.302653 * 0.1 / 3**0.5)
    [table] = votes_table(graded)
    first, _ = texts(table)
    assert first[3:5] == ["CME", "40.0 [15.2, 64.8]"] and first[-1] == "40.0 [40.0, 40.0]"


def test_the_section_keeps_ours_and_the_published_apart(graded_runs: list[RunRecord], tmp_path: Path) -> None:
    ours, votes, published = MATH.show(graded_runs, tmp_path).tables
    assert [row[7].split()[0] for row in texts(ours)] == ["25.0", "25.0"]
    assert [row[8].split()[0] for row in texts(ours)] == ["75.0", "50.0"]
    assert all("paper" not in table.title for table in (ours, votes)) and "paper's scale" in published.title
    assert [row[1:] for row in texts(published)] == [["100", "44", "55"], ["100", "44", "61"]]
    [plot] = pass_at_1_plot(view(graded_runs))
    drawn = marks(plot.figure)
    assert drawn[0] == pytest.approx([25, 25, 50, 75]) and drawn[3] == pytest.approx([44, 44, 55, 61])
    ticks = [x for line in panels(plot.figure)[0].lines if line.get_marker() == "|" for x in line.get_xdata()]
    assert ticks == pytest.approx([75] * 3 + [50] * 3) and smallest_type(plot.figure) >= 8


def test_trainings_shorter_than_a_block_have_no_votes(graded_runs: list[RunRecord], tmp_path: Path) -> None:
    run = graded_runs[0]
    short = replace(run, history={name: column[:16] for name, column in run.history.items()})
    tables = MATH.show([short], tmp_path).tables
    assert [table.name for table in tables] == ["math-accuracy-miniature-arithmetic", "math-published"]
    assert "votes are not shown" in tables[0].notes[-1]
    [plot] = pass_at_1_plot(view([short]))
    assert [axes.get_xlabel() for axes in panels(plot.figure)] == ["pass@1 (%)", "pass@1 (%)"]


@pytest.mark.parametrize("experiment", [MATH, VERIFIER_SWEEP_MATH])
def test_runs_without_a_grade_are_nothing_to_show(experiment: Any, make_record: Any, tmp_path: Path) -> None:
    with pytest.raises(NothingToShow, match="graded"):
        experiment.show([make_record()], tmp_path)
