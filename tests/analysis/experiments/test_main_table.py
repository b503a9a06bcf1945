"""The main table on records with known win rates, and every experiment as a section of the report."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.patches import Rectangle
from shown import problems, texts, won

from analysis.experiments import EXPERIMENTS, experiment_sections
from analysis.experiments.main_table import MAIN_TABLE, published_table, win_rate_figure
from analysis.experiments.methods import JudgedMethods
from analysis.records.read import Records
from cme.records import Accuracy, ExperimentRecord, Generation, Pair, RunRecord

Make = Callable[..., RunRecord]


@pytest.fixture
def main_view(make_record: Make) -> JudgedMethods:
    runs = [
        make_record(family="qwen", regime="pretrained", verdicts=won(36, scored=True)),
        make_record(family="qwen", regime="instruct", verdicts=won(18, scored=True)),
        make_record(family="olmo", regime="sft", verdicts=won(6, scored=True)),
    ]
    return MAIN_TABLE.views(runs)[0]


def test_main_table_keeps_published_and_ours_apart(main_view: JudgedMethods) -> None:
    [table] = published_table(main_view)
    rows = [row[1:] for row in texts(table)]
    assert table.header[1:] == ["published (other scale)", "ours (scale: miniature)"]
    assert [row[0] for row in rows[:2]] == ["52.5", "71.4"]
    assert rows[0][1].startswith("16.7 [") and rows[0][1].endswith("(OLMo SFT)")
    assert rows[1][1].startswith("100.0 [") and rows[1][1].endswith("(Qwen pretrained)")
    assert rows[2] == ["7 have a configuration", "3"] and [row[1] for row in rows[3:]] == ["1", "1"]
    assert "arXiv 2605.29009" in " ".join(table.notes)


def test_only_cme_is_compared_with_the_published_range(make_record: Make, main_view: JudgedMethods) -> None:
    """A control's win rate, here 0 % and 100 % of the prompts, is no win rate of CME."""
    controls = [
        make_record(family="qwen", regime="sft", reward=reward, verdicts=won(wins, scored=True))
        for reward, wins in (("random", 0), ("ground_truth", 36))
    ]
    runs = [run for row in main_view.rows for run in row.runs]
    both, alone = MAIN_TABLE.views([*runs, *controls]), MAIN_TABLE.views(controls)
    assert texts(next(published_table(both[0]))) == texts(next(published_table(main_view)))
    assert list(published_table(alone[0])) == []


def test_main_figure_marks_the_published_range_and_the_change_of_quality(main_view: JudgedMethods) -> None:
    [plot] = win_rate_figure(main_view)
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


def test_main_figure_without_scores_has_no_second_panel(make_record: Make) -> None:
    [plot] = win_rate_figure(MAIN_TABLE.views([make_record(verdicts=won(20))])[0])
    assert len(plot.figure.subfigs[0].axes) == 1


def whole_runs(make_record: Make) -> list[RunRecord]:
    """Two seeds of a run that every experiment can show, graded too."""
    sizes = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1, "num_generations": 8}
    config: dict[str, Any] = {
        "reward": {"granularity": "sequence"},
        "trainer": {"beta": 0.0, "scale_rewards": "group"} | sizes,
        "data": {"name": "arithmetic"},
        "verifier": {"name": "gemma", "family": "gemma"},
    }
    answer = Generation("7", True, 1)
    pairs = [Pair(f"p{i}", "q", None, answer, answer, "7") for i in range(24)]
    accuracy = Accuracy(problems(0, 24), problems(24, 24))
    return [
        replace(
            make_record(seed=seed, run_id=f"r{seed}", config=config | {"seed": seed}, steps=40),
            pairs=pairs,
            accuracy=accuracy,
        )
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_writes_its_section(name: str, make_record: Make, tmp_path: Path) -> None:
    plan = ExperimentRecord(name, "miniature", ["r0", "r1", "r2"])
    [section] = experiment_sections(Records(whole_runs(make_record), [], [], [plan]), tmp_path)
    assert section.id == name.replace("_", "-")
    [part] = section.parts
    assert len(part.notes) == 1 and "1 of the experiment's 3 runs" in part.notes[0]
    assert len({table.name for table in part.tables}) == len(part.tables)
    assert part.images and all("miniature" in image.caption for image in part.images)
    assert all("miniature" in table.title for table in part.tables if "published" not in table.name)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_runs_without_verdicts_and_grades_give_a_note_and_no_error(
    name: str, make_record: Make, tmp_path: Path
) -> None:
    runs = [replace(run, verdicts=[], accuracy=None) for run in whole_runs(make_record)]
    plan = ExperimentRecord(name, "miniature", ["r0", "r1", "r2"])
    [section] = experiment_sections(Records(runs, [], [], [plan]), tmp_path)
    [part] = section.parts
    assert bool(part.tables) != (len(part.notes) == 2)  # without a table, a note gives the reason
