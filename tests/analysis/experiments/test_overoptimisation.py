"""Long trainings: blocks, peaks, falls, collapse and directions by hand, intervals against scipy."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from shown import Column, blocks, panels, smallest_type, texts

from analysis.experiments.overoptimisation import OVEROPTIMISATION, course_table, distance_figure
from analysis.records.frames import history_frame
from analysis.tables.render import Estimate
from analysis.tables.training.courses import GREEDY, SAMPLED, Course, block_means, direction, peaks, summary
from cme.records import CheckpointResult, RunRecord, Trajectory

pytestmark = pytest.mark.usefixtures("undrawn")


def trained(
    make_record: Any, quality: Column, *, seed: int = 0, reward_name: str = "cme", **columns: Column
) -> RunRecord:
    """A run with the given history by step; a column that is not given is 0 at each step."""
    steps = len(quality)
    nothing: Column = [0.0] * steps
    history: dict[str, Column] = dict.fromkeys(("reward", "heldout", "kl"), nothing) | columns
    history |= {"step": [float(i) for i in range(1, steps + 1)], "quality": quality}
    return replace(make_record(reward=reward_name, seed=seed, prompts=2), history=history)


def courses(runs: list[RunRecord], responses: str = SAMPLED) -> list[Course]:
    """The courses of one generator's methods."""
    [view] = OVEROPTIMISATION.views(runs)
    return view.courses_of(responses)


def test_blocks_are_means_of_twenty_steps_and_the_start_of_the_first_five(make_record: Any) -> None:
    quality: Column = [float(i) for i in range(1, 48)]  # two whole blocks and seven steps
    kl: Column = [(4.0 if i < 20 else 9.0) if i % 5 == 0 else None for i in range(47)]
    frame = block_means(history_frame([trained(make_record, quality, kl=kl)]))
    assert list(frame["block"]) == [0, 1, 2]
    assert list(frame["step"]) == [0, 20, 40]
    assert list(frame["quality"]) == [3.0, 10.5, 30.5]
    assert list(frame["sqrt_kl"]) == [0.0, 2.0, 3.0]


def test_a_peak_is_where_the_other_runs_are_best() -> None:
    """Each run's own best block is lucky, so the mean of the others decides."""
    quality = pd.DataFrame(
        {0: [0.1, 0.1, 0.1], 1: [0.9, 0.4, 0.5], 2: [0.5, 0.6, 0.6], 3: [0.4, 0.4, np.nan]},
        index=["a", "b", "c"],
    )
    assert peaks(quality).to_dict() == {"a": 2, "b": 1, "c": 1}  # the others of b: 0.70, 0.55, 0.40
    assert peaks(quality.loc[["a"]]).to_dict() == {"a": 1}  # a single run has only its own


def test_a_fall_and_the_rise_of_the_reward_since_the_peak(make_record: Any) -> None:
    """Every seed peaks in block 2 and falls by 0.2, 0.3 and 0.4; the reward rises by 1 per block."""
    reward = blocks(1.0, 2.0, 3.0, 4.0)
    runs = [
        trained(make_record, blocks(0.2, 0.6, 0.5, end), seed=seed, reward=reward)
        for seed, end in enumerate((0.4, 0.3, 0.2))
    ]
    [row] = courses(runs)
    half = stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert [row[name].value for name in ("start", "peak", "final")] == pytest.approx([0.2, 0.6, 0.3])
    assert row["fall"] == pytest.approx((0.3, 0.3 - half, 0.3 + half))
    assert row["peak_steps"] == "40 40 40" and row["since_peak_reward_value"].value == 2.0


@pytest.mark.parametrize(
    ("quality", "collapsed", "half"),
    [
        ([0.4] * 20 + [0.0] * 20, "25", "23"),  # means over steps 21-25: 0; over 19-23: 0.16, below 0.2
        ([0.4] * 20 + [0.3] * 20, ">40", ">40"),
        ([0.0] * 20 + [0.5] * 20, "5", ">40"),
        ([0.2] * 10 + [0.8] * 10 + [0.3] * 20, ">40", "25"),  # the mean of steps 20-24 is 0.4, half of 0.8
    ],
)
def test_the_model_collapse_step_and_half_of_the_peak(
    make_record: Any, quality: Column, collapsed: str, half: str
) -> None:
    [row] = courses([trained(make_record, quality)])
    assert (row["model_collapse_steps"], row["half_of_peak_steps"]) == (collapsed, half)


def test_accuracy_decides_the_model_collapse_step_where_there_are_answers(make_record: Any) -> None:
    run = trained(make_record, [0.9] * 40, label_accuracy=[0.5] * 10 + [0.0] * 30)
    assert courses([run])[0]["model_collapse_steps"] == "15"


@pytest.mark.parametrize(
    ("fall", "rise", "way"),
    [
        ((0.0, -0.04, 0.04), 0.3, "no fall"),
        ((0.007, -0.055, 0.069), 0.3, "undecided"),
        ((0.153, 0.029, 0.277), 0.3, "undecided"),  # more than 0, and perhaps more than the margin
        ((0.153, 0.051, 0.255), 0.3, "falls"),
        ((0.153, 0.051, 0.255), 0.0, "degrades"),
        ((0.153, np.nan, np.nan), 0.3, "unknown"),
    ],
)
def test_a_fall_is_decided_by_the_margin(fall: tuple[float, float, float], rise: float, way: str) -> None:
    assert direction({"fall": Estimate(*fall), "rise_to_peak": Estimate(rise, rise, rise)}) == way


def test_a_run_that_stopped_ends_where_it_stopped(make_record: Any) -> None:
    runs = [trained(make_record, blocks(0.2, 0.6, 0.6), seed=seed) for seed in range(2)]
    stopped = replace(trained(make_record, blocks(0.2, 0.1), seed=2), stopped="every completion was the same")
    [row] = courses([*runs, stopped, trained(make_record, [0.2] * 12, seed=3)])
    assert (row["seeds"], row["left_out"], row["stopped"]) == ("0 1 2", 1, "- - 40")
    assert row["final"].value == pytest.approx((0.6 + 0.6 + 0.1) / 3)


def long_run(make_record: Any, reward: str, quality: Column, seed: int, rise: float = 1.0) -> RunRecord:
    """A run whose reward rises by `rise` per block, its KL divergence by 1 nat, its held-out value by 0.1."""
    number = range(len(quality) // 20)
    columns = {
        "reward": blocks(*(rise * i for i in number)),
        "heldout": blocks(*(0.1 * i for i in number)),
        "kl": blocks(*((i + 1.0) ** 2 for i in number)),
    }
    return trained(make_record, quality, seed=seed, reward_name=reward, **columns)


@pytest.fixture
def long_runs(make_record: Any) -> list[RunRecord]:
    """Quality falls with token entropy, rises with CME, and ends anywhere with random rewards."""
    runs = []
    for seed, off in enumerate((-0.01, 0.0, 0.01)):
        runs.append(long_run(make_record, "cme", blocks(0.2, 0.4, 0.5, 0.6 + off), seed))
        runs.append(long_run(make_record, "token_entropy", blocks(0.2, 0.6, 0.5, 0.3 + off), seed, 2.0 + off))
        runs.append(long_run(make_record, "random", blocks(0.2, 0.2, 0.2, 0.2 + 10 * off), seed, 0.0))
    return runs


def saved(run: RunRecord, *levels: float) -> RunRecord:
    """The run with a checkpoint every 40 steps: greedy quality of 32 prompts at each level, from the start on."""
    start, *later = ([level] * 32 for level in levels)
    path = [CheckpointResult(40 * (i + 1), [[0.5, 0.5]] * 32, quality, {}) for i, quality in enumerate(later)]
    return replace(run, trajectory=Trajectory("oracle", [f"s{i}" for i in range(32)], start, path))


@pytest.fixture
def saved_runs(long_runs: list[RunRecord]) -> list[RunRecord]:
    """Greedy quality falls with CME, whose sampled quality rises; it rises with token entropy."""
    ends = {"cme": (0.8, 0.5), "token_entropy": (0.5, 0.7)}
    return [
        saved(run, 0.3, ends[run.reward][0], ends[run.reward][1] + (run.seed - 1) / 100)
        for run in long_runs
        if run.reward in ends
    ]


def test_which_rewards_fall_and_which_do_not(long_runs: list[RunRecord]) -> None:
    rows = courses(long_runs)
    assert {row["label"]: direction(row) for row in rows} == {
        "CME": "no fall",
        "Token entropy": "falls",
        "Random": "undecided",  # 0 on average, between -0.1 and 0.1 by seed
    }
    text = summary(rows)
    assert "Token entropy (+0.300 [0.275, 0.325])" in text  # 0.01 x 4.303 / sqrt(3)
    assert "CME (+0.000 [0.000, 0.000])" in text and text.endswith("reward rose with Token entropy.")
    two_seeds = courses([run for run in long_runs if run.seed < 2])
    assert {direction(row) for row in two_seeds} == {"unknown"}


def test_the_table_of_courses(long_runs: list[RunRecord]) -> None:
    [table] = course_table(OVEROPTIMISATION.views(long_runs)[0])
    _, entropy, _ = texts(table)
    assert entropy[:7] == ["Token entropy", "sampled", "0 1 2", "0.200", "0.600", "40 40 40", "0.300"]
    assert entropy[7].startswith("+0.400 [") and entropy[9].startswith("+4.000 [")
    assert entropy[10:12] == ["+0.200 [0.200, 0.200]", ">80 >80 >80"]
    assert [group[0][8].bold for group in table.groups] == [False, True, False]


@pytest.mark.parametrize("greedy", [False, True])
def test_paths_run_over_the_root_of_the_divergence(
    greedy: bool, long_runs: list[RunRecord], saved_runs: list[RunRecord]
) -> None:
    [plot] = distance_figure(OVEROPTIMISATION.views(saved_runs if greedy else long_runs)[0])
    figure, drawn = plot.figure, panels(plot.figure)
    assert len(drawn) == 2 + greedy and smallest_type(figure) >= 8
    path = next(line for line in drawn[greedy].lines if len(line.get_xdata()) > 1)  # of CME
    assert list(path.get_xdata()) == ([0, 2, 4] if greedy else [0, 1, 2, 3, 4])
    assert list(path.get_ydata()) == pytest.approx([0.3, 0.8, 0.5] if greedy else [0.2, 0.2, 0.4, 0.5, 0.6])
    peaks = [
        (*line.get_xdata(), *line.get_ydata()) for line in drawn[greedy].lines if line.get_marker() == "*"
    ]
    assert peaks[0] == ((2, pytest.approx(0.8)) if greedy else (4, pytest.approx(0.6)))


def test_greedy_quality_can_fall_where_sampled_quality_rises(
    saved_runs: list[RunRecord], tmp_path: Path
) -> None:
    cme, entropy = courses(saved_runs, GREEDY)
    assert [direction(row) for row in (*courses(saved_runs), cme, entropy)] == [
        *("no fall", "falls", "falls", "no fall")
    ]
    # all prompts are alike, so only the seeds count: 0.01 x 4.303 / sqrt(3)
    assert cme["fall"] == pytest.approx([0.3, 0.27516, 0.32484], abs=1e-4)
    assert cme["peak_steps"] == "40 40 40" and cme["collapse_steps"] == "- - -"
    assert cme["since_peak_reward_value"].value == pytest.approx(2)  # blocks 2 to 4, 1 per block
    fell = [saved(run, 0.6, 0.7, 0.5) if run.reward == "cme" else run for run in saved_runs]
    assert courses(fell, GREEDY)[0]["collapse_steps"] == "80 80 80"
    [table] = OVEROPTIMISATION.show(saved_runs, tmp_path).tables
    [sampled, greedy], _ = table.groups
    assert [e.text for e in greedy[:7]] == ["", "greedy", "0 1 2", "0.300", "0.800", "40 40 40", "0.500"]
    assert greedy[8].bold and not sampled[8].bold
    assert (tmp_path / "figures" / "overoptimisation-greedy-miniature-qwen-pretrained.png").exists()


def test_without_true_quality_the_checkpoints_win_rates_are_shown(make_record: Any, tmp_path: Path) -> None:
    path = Trajectory("judge", ["a", "b"], None, [CheckpointResult(40, [[1.0, 0.5]] * 2, None, {})])
    runs = [
        replace(make_record(scale="paper", seed=seed, steps=40, unmeasured=["quality"]), trajectory=path)
        for seed in range(3)
    ]
    course_of, checkpoints = OVEROPTIMISATION.show(runs, tmp_path).tables
    assert [course_of.name, checkpoints.name] == [
        "overoptimisation-paper-qwen-pretrained",
        "overoptimisation-checkpoints-paper-qwen-pretrained",
    ]
    assert any("3 runs are left out" in note for note in course_of.notes)
