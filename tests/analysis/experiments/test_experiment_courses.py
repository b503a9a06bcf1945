"""Over-optimisation and mathematics: directions, sentences and shares by hand; ours and the published apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

from analysis.experiments import math, overoptimisation
from analysis.sections.base import NothingToShow
from cme.records import Accuracy, CheckpointResult, Generation, Pair, RunRecord, Trajectory

Column = list[float | None]
SAID = Generation("7", True, 1)


def flat(*levels: float) -> Column:
    """A block of 20 steps at each level."""
    return [level for level in levels for _ in range(20)]


def long_run(make_record: Any, reward: str, quality: Column, seed: int, rise: float = 1.0) -> RunRecord:
    """A run whose reward rises by `rise` a block, its KL divergence by 1 nat, its held-out value by 0.1."""
    blocks = len(quality) // 20
    history = {
        "step": [float(i) for i in range(1, len(quality) + 1)],
        "quality": quality,
        "reward": flat(*(rise * i for i in range(blocks))),
        "heldout": flat(*(0.1 * i for i in range(blocks))),
        "kl": flat(*((i + 1) ** 2 for i in range(blocks))),
    }
    of: RunRecord = make_record(reward=reward, seed=seed, prompts=2)
    return replace(of, history=history)


@pytest.fixture
def long_runs(make_record: Any) -> list[RunRecord]:
    """Quality falls under token entropy, rises under CME, and ends where it will under random rewards."""
    runs = []
    for seed, off in enumerate((-0.01, 0.0, 0.01)):
        runs.append(long_run(make_record, "cme", flat(0.2, 0.4, 0.5, 0.6 + off), seed))
        runs.append(
            long_run(make_record, "token_entropy", flat(0.2, 0.6, 0.5, 0.3 + off), seed, rise=2.0 + off)
        )
        runs.append(long_run(make_record, "random", flat(0.2, 0.2, 0.2, 0.2 + 10 * off), seed, rise=0.0))
    return runs


def test_which_rewards_fall_and_which_rise(long_runs: list[RunRecord]) -> None:
    frame = overoptimisation.course_of(long_runs)
    assert list(frame["label"]) == ["CME", "Token entropy", "Random"]
    assert [overoptimisation.direction(row) for row in frame.to_dict("records")] == [
        "rises",
        "falls",
        "level",
    ]
    text = overoptimisation.sentence("qwen pretrained", frame)
    assert "falls from its peak under Token entropy (+0.300 [0.275, 0.325])" in text  # 0.01 x 4.303 / sqrt(3)
    assert "goes on rising over the second half under CME (+0.200 [0.175, 0.225])" in text
    assert "is not told from level under Random" in text
    assert text.endswith("While quality fell, the trained reward rose for certain under Token entropy.")


def test_the_table_of_courses(long_runs: list[RunRecord]) -> None:
    frame = overoptimisation.course_of(long_runs)
    [[cme, entropy, _]] = overoptimisation.course_table([("qwen pretrained", frame)], "miniature").groups
    assert [e.text for e in entropy[1:7]] == ["Token entropy", "0 1 2", "0.200", "0.600", "40 40 40", "0.300"]
    assert entropy[7].bold and not cme[7].bold and cme[8].bold
    assert cme[7].text == "+0.000 [0.000, 0.000]" and cme[9].text == "+0.000 [0.000, 0.000]"
    assert entropy[9].text.startswith("+4.000 [") and entropy[10].text == "+0.200 [0.200, 0.200]"
    assert entropy[11].text == "- - -"  # below its peak, never below its start


def test_two_seeds_tell_no_direction(long_runs: list[RunRecord]) -> None:
    frame = overoptimisation.course_of([run for run in long_runs if run.seed < 2])
    assert {overoptimisation.direction(row) for row in frame.to_dict("records")} == {"unknown"}
    assert "cannot be told" in overoptimisation.sentence("qwen pretrained", frame)


def test_paths_run_over_the_root_of_the_divergence(long_runs: list[RunRecord]) -> None:
    plot = overoptimisation.kl_plot("qwen pretrained", long_runs, "miniature")
    quality, heldout = plot.figure.axes
    path = next(line for line in quality.lines if len(line.get_xdata()) > 1)  # of cme
    assert list(path.get_xdata()) == [0, 1, 2, 3, 4]
    assert list(path.get_ydata()) == pytest.approx([0.2, 0.2, 0.4, 0.5, 0.6])
    rings = [
        (line.get_xdata()[0], line.get_ydata()[0]) for line in quality.lines if line.get_markersize() == 9
    ]
    assert rings[:2] == [(4, pytest.approx(0.6)), (2, pytest.approx(0.6))]
    assert len(heldout.lines) == 3 * 3
    assert min(text.get_fontsize() for text in plot.figure.findobj(Text) if text.get_text()) >= 8


def test_without_true_quality_the_section_says_so(make_record: Any, tmp_path: Path) -> None:
    runs = [make_record(seed=seed, steps=40, unmeasured=["quality"]) for seed in range(3)]
    [table] = overoptimisation.part(runs, "laptop", tmp_path).tables
    assert "cannot be told" in table.notes[0] and "3 runs left out" in table.notes[-1]


def saved(run: RunRecord, *levels: float) -> RunRecord:
    """The run with a checkpoint every 40 steps; greedy quality of 32 prompts at each level, from the start on."""
    start, *later = ([level] * 32 for level in levels)
    path = [CheckpointResult(40 * (i + 1), [[0.5, 0.5]] * 32, quality, {}) for i, quality in enumerate(later)]
    return replace(run, trajectory=Trajectory("oracle", [f"s{i}" for i in range(32)], start, path))


@pytest.fixture
def saved_runs(long_runs: list[RunRecord]) -> list[RunRecord]:
    """Greedy quality falls under CME, whose sampled quality rises; it rises under token entropy."""
    offs = (-0.01, 0.0, 0.01)
    return [
        saved(run, 0.3, 0.8, 0.5 + offs[run.seed])
        if run.reward == "cme"
        else saved(run, 0.3, 0.5, 0.7 + offs[run.seed])
        for run in long_runs
        if run.reward != "random"
    ]


def test_greedy_quality_can_fall_where_sampled_quality_rises(saved_runs: list[RunRecord]) -> None:
    frame = overoptimisation.course_of(saved_runs)
    cme, entropy = frame.to_dict("records")
    assert (overoptimisation.direction(cme), overoptimisation.direction(cme, "greedy_")) == ("rises", "falls")
    assert overoptimisation.direction(entropy, "greedy_") == "rises"
    # every prompt alike, so the seeds alone: 0.01 x 4.303 / sqrt(3)
    assert [cme[f"greedy_fall{end}"] for end in ("", "_lo", "_hi")] == pytest.approx(
        [0.3, 0.27516, 0.32484], abs=1e-4
    )
    assert cme["greedy_peak_steps"] == "40 40 40" and cme["greedy_collapse_steps"] == "- - -"
    assert cme["greedy_since_peak_reward_value"] == pytest.approx(2)  # blocks 2 to 4, 1 a block
    said = overoptimisation.sentence("qwen pretrained", frame, "greedy_")
    assert said.startswith(
        "qwen pretrained: greedy quality falls from its peak under CME (+0.300 [0.275, 0.325])"
    )
    assert said.endswith("While quality fell, the trained reward rose for certain under CME.")


def test_the_table_has_greedy_beside_sampled(saved_runs: list[RunRecord], tmp_path: Path) -> None:
    sampled, greedy = overoptimisation.part(saved_runs, "miniature", tmp_path).tables
    [[cme, entropy]] = greedy.groups
    assert [e.text for e in cme[1:7]] == ["CME", "0 1 2", "0.300", "0.800", "40 40 40", "0.500"]
    assert cme[7].bold and cme[11].text == "+0.000 [0.000, 0.000]" and not cme[11].bold
    assert not entropy[7].bold and entropy[8].bold and entropy[11].bold
    assert [row[7].text for row in sampled.groups[0]] == [cme[11].text, entropy[11].text]
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert "overoptimisation-greedy-miniature-qwen-pretrained" in figures


def test_greedy_collapse_is_below_the_start_to_the_end(saved_runs: list[RunRecord]) -> None:
    fell = [saved(run, 0.6, 0.7, 0.5) if run.reward == "cme" else run for run in saved_runs]
    row = overoptimisation.course_of(fell).to_dict("records")[0]
    assert row["greedy_collapse_steps"] == "80 80 80"


def test_greedy_paths_are_drawn_at_their_checkpoints(saved_runs: list[RunRecord]) -> None:
    _, greedy, _ = overoptimisation.kl_plot("qwen pretrained", saved_runs, "miniature").figure.axes
    path = next(
        line for line in greedy.lines if len(line.get_xdata()) > 1
    )  # of cme; the root of KL is the block
    assert list(path.get_xdata()) == [0, 2, 4]
    assert list(path.get_ydata()) == pytest.approx([0.3, 0.8, 0.5])


def test_without_true_quality_checkpoints_are_shown_by_their_win_rates(
    make_record: Any, tmp_path: Path
) -> None:
    path = Trajectory("judge", ["a", "b"], None, [CheckpointResult(40, [[1.0, 0.5]] * 2, None, {})])
    runs = [
        replace(make_record(seed=seed, steps=40, unmeasured=["quality"]), trajectory=path)
        for seed in range(3)
    ]
    names = [table.name for table in overoptimisation.part(runs, "paper", tmp_path).tables]
    assert names == ["overoptimisation-paper", "overoptimisation-checkpoints-paper"]


def graded(make_record: Any, reward: str, seed: int, right: int, share: float, labels: float) -> RunRecord:
    """40 problems, 10 right before and `right` after; majority share and label accuracy rise by 0.1 and 0.2."""
    history = {
        "step": [float(i) for i in range(1, 41)],
        "majority_share": flat(share, share + 0.1),
        "label_accuracy": flat(labels, labels + 0.2),
    }
    of: RunRecord = make_record(
        reward=reward, seed=seed, config={"seed": seed, "data": {"name": "arithmetic"}}
    )
    pairs = [Pair(f"p{i}", "q", None, SAID, SAID, "7") for i in range(40)]
    accuracy = Accuracy([i < 10 for i in range(40)], [i < right for i in range(40)])
    return replace(of, pairs=pairs, verdicts=[], accuracy=accuracy, history=history)


@pytest.fixture
def graded_runs(make_record: Any) -> list[RunRecord]:
    """Three seeds of two rewards."""
    return [
        graded(make_record, reward, seed, right, 0.3 + 0.1 * seed, 0.2)
        for reward, right in (("cme", 30), ("majority_vote", 20))
        for seed in range(3)
    ]


def test_votes_in_the_first_and_the_last_block(graded_runs: list[RunRecord]) -> None:
    frame = math.votes_frame(graded_runs)
    row = frame[frame["method"] == "Majority vote"].to_dict("records")[0]
    assert (row["majority_share_first"], row["majority_share_last"]) == pytest.approx((0.4, 0.5))
    assert (row["label_accuracy_first"], row["label_accuracy_last"]) == pytest.approx((0.2, 0.4))
    assert row["majority_share_first_hi"] == pytest.approx(0.4 + 4.302653 * 0.1 / 3**0.5)
    [[first, _]] = math.votes_table(frame, "miniature").groups
    assert [e.text for e in first[3:5]] == ["CME", "40.0 [15.2, 64.8]"]
    assert first[-1].text == "40.0 [40.0, 40.0]"


def test_the_section_on_mathematics_keeps_the_published_apart(
    graded_runs: list[RunRecord], tmp_path: Path
) -> None:
    part = math.part(graded_runs, "miniature", tmp_path)
    ours, votes, published = part.tables
    assert [row[7].text.split()[0] for row in ours.groups[0]] == ["25.0", "25.0"]
    assert [row[8].text.split()[0] for row in ours.groups[0]] == ["75.0", "50.0"]
    assert all("paper" not in table.title for table in (ours, votes)) and "paper's scale" in published.title
    assert [[e.text for e in row[1:]] for row in published.groups[0]] == [
        ["100", "44", "58"],
        ["100", "44", "61"],
    ]
    frame = math.accuracy_frame(graded_runs).merge(math.votes_frame(graded_runs))
    figure = math.math_plot(frame, "miniature").figure
    panels = figure.findobj(lambda artist: hasattr(artist, "get_xlabel") and hasattr(artist, "lines"))
    drawn = [
        sorted(
            x for line in axes.lines if line.get_marker() not in ("None", "", None) for x in line.get_xdata()
        )
        for axes in panels
    ]
    assert drawn[0] == pytest.approx([25, 25, 50, 75])
    assert drawn[3] == pytest.approx([44, 44, 58, 61])
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 8


def test_trainings_shorter_than_a_block_have_no_course_of_votes(make_record: Any, tmp_path: Path) -> None:
    run = graded(make_record, "cme", 0, 30, 0.3, 0.2)
    short = replace(run, history={name: column[:16] for name, column in run.history.items()})
    part = math.part([short], "laptop", tmp_path)
    assert [table.name for table in part.tables] == ["math-accuracy-laptop", "math-published"]
    assert part.notes == [
        "Scale laptop: no training lasts a whole block of 20 steps, so the votes' course is not shown."
    ]
    frame = math.accuracy_frame([short]).merge(math.votes_frame([short]), how="left")
    figure = math.math_plot(frame, "laptop").figure
    labels = [
        axes.get_xlabel()
        for axes in figure.findobj(lambda a: hasattr(a, "get_xlabel") and hasattr(a, "lines"))
    ]
    assert labels == ["pass@1 (%)", "pass@1 (%)"]
    assert not any("block" in text.get_text() for text in figure.findobj(Text))


def test_mathematics_without_a_grade_is_an_error(make_record: Any, tmp_path: Path) -> None:
    with pytest.raises(NothingToShow, match="none of the runs is graded"):
        math.part([make_record()], "miniature", tmp_path)
