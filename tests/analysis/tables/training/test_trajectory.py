"""Saved checkpoints: collapse, final and selected by hand; greedy changes against scipy; figures as the tables."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from shown import texts

from analysis.figures.trajectory import pooled_measures, trajectory_plots
from analysis.stats.seeds import across_seeds
from analysis.stats.win_rates import win_rate
from analysis.tables.latex import to_latex
from analysis.tables.render import to_markdown
from analysis.tables.training.trajectory import (
    collapse_of,
    fall_after_peak,
    greedy_changes,
    greedy_quality,
    trajectory_frame,
    trajectory_table,
)
from cme.records import CheckpointResult, Generation, RunRecord, Selected, Trajectory, Verdict

PROMPTS = [f"s{i}" for i in range(12)]


def checkpoint(step: int, wins: int, quality: float | None = None, unscored: int = 0) -> CheckpointResult:
    """The policy wins on the first `wins` of 12 prompts in both orders, loses the others; the last are unscored."""
    points: list[list[float | None]] = [[1.0, 1.0] if i < wins else [0.0, 0.0] for i in range(12)]
    points[12 - unscored :] = [[None, None]] * unscored
    grades = None if quality is None else [quality] * 12
    return CheckpointResult(step, points, grades, {"no answer": 2 * unscored} if unscored else {})


def with_path(record: RunRecord, checkpoints: list[CheckpointResult], selected: int | None) -> RunRecord:
    start = None if checkpoints[0].quality is None else [0.5] * 12
    path = Trajectory("chooser", PROMPTS, start, checkpoints)
    chosen = None if selected is None else Selected(selected, None, None)
    return replace(record, trajectory=path, selected=chosen)


@pytest.mark.parametrize(
    ("worse", "step"),
    [
        ("....", None),
        ("xxxx", 10),
        (".x.x", 40),  # a recovery is no collapse
        ("xxx.", None),
        ("", "n/a"),
    ],
)
def test_collapse_is_the_first_step_from_which_all_are_worse(worse: str, step: int | str | None) -> None:
    steps, bounds = range(10, 10 * len(worse) + 1, 10), [-0.1 if w == "x" else 0.1 for w in worse]
    assert collapse_of(pd.DataFrame({"step": steps, "gain_hi": bounds}), "quality") == step


@pytest.mark.parametrize(
    ("checkpoints", "collapse"),
    [
        ([(10, 0), (20, 0), (30, 12)], "10"),  # an unscored checkpoint is no recovery
        ([(30, 12)], "n/a"),
        ([(10, 7)], "-"),  # five prompts lost, seven unknown
        ([(10, 5)], "10"),
    ],
)
def test_unscored_verdicts_are_neither_a_collapse_nor_a_recovery(
    make_record, checkpoints: list[tuple[int, int]], collapse: str
) -> None:
    path = [checkpoint(step, 0, unscored=unscored) for step, unscored in checkpoints]
    [[row]] = trajectory_table([with_path(make_record(), path, selected=10)]).groups
    assert (row[8].text, row[9].text) == (collapse, "n/a")


def test_the_frame_has_the_start_and_every_checkpoint(make_record) -> None:
    record = with_path(
        make_record(), [checkpoint(10, 9, 0.75), checkpoint(20, 3, 0.25, unscored=3)], selected=10
    )
    frame = trajectory_frame([record, make_record(seed=1)])  # the second has no trajectory
    assert list(frame["step"]) == [0, 10, 20]
    assert list(frame["win_rate"]) == pytest.approx([50, 75, 100 * 3 / 9])
    assert list(frame["quality"]) == [0.5, 0.75, 0.25]
    assert list(frame["gain"])[1:] == [0.25, -0.25]
    assert list(frame["unscored"])[1:] == [0, 6]
    assert list(frame["selected"])[1:] == [True, False]
    lo, hi = frame.loc[1, ["win_rate_lo", "win_rate_hi"]]
    assert 40 < lo < 60 and 90 < hi <= 100


def test_seeds_are_pooled_at_the_steps_that_all_reached(make_record) -> None:
    whole = with_path(make_record(), [checkpoint(10, 12), checkpoint(20, 6), checkpoint(30, 0)], selected=10)
    stopped = with_path(make_record(seed=1), [checkpoint(10, 6), checkpoint(20, 0)], selected=10)
    curve = pooled_measures([whole, stopped])
    assert list(curve.index) == [0, 10, 20]
    assert list(curve["win_rate"]) == [50, 75, 25]
    # a prompt's verdicts of both seeds stay together: 6 prompts at 100 % and 6 at 50 %
    points = np.array([[1, 1, 1, 1]] * 6 + [[1, 1, 0, 0]] * 6, dtype=float)
    one = win_rate(points.ravel(), np.repeat(PROMPTS, 4).astype(object))
    assert curve.loc[10, ["win_rate_lo", "win_rate_hi"]].to_list() == pytest.approx([one.lo, one.hi])


def judged_on(make_verdict, prompts: int, won: int) -> list[Verdict]:
    """Verdicts in both orders: the policy wins on the first prompts and loses on the others."""
    return [make_verdict(i, float(i < won), order) for i in range(prompts) for order in (True, False)]


def with_selected(record: RunRecord, verdicts: list[Verdict]) -> RunRecord:
    """The record with step 10 selected, and these verdicts on its responses."""
    record = with_path(record, [checkpoint(10, 8), checkpoint(20, 1)], selected=10)
    responses = [Generation("yes", True, 2)] * len(record.pairs)
    return replace(record, selected=Selected(10, responses, verdicts))


def test_final_and_selected_are_compared_on_the_evaluation_prompts(make_record, make_verdict) -> None:
    """Final wins a quarter, selected a half of 48 prompts: 25.0, 50.0, and a paired gain of 25 points."""
    final = judged_on(make_verdict, 48, 12)
    record = with_selected(make_record(verdicts=final), judged_on(make_verdict, 48, 24))
    path = [checkpoint(10, 1), checkpoint(20, 1)]
    other = with_path(make_record(seed=1, verdicts=final), path, selected=20)
    table = trajectory_table([record, other])
    [row] = texts(table)
    assert row[:4] == ["Qwen", "Pretrained", "CME", "0 1"]
    assert [text.partition(" [")[0] for text in row[4:7]] == ["25.0", "37.5", "+12.5"]
    assert row[7:] == ["10 20", "20 10", "n/a n/a", "- -"]
    [[alone]] = trajectory_table([record]).groups
    assert [entry.text.partition(" [")[0] for entry in alone[4:7]] == ["25.0", "50.0", "+25.0"]
    assert [entry.bold for entry in alone[4:7]] == [True, False, True]
    assert "chooser" in to_markdown(table) and "scale: miniature" in to_latex(table, "tab:t")


def test_runs_without_a_selected_checkpoint_or_a_verdict_have_no_rate(make_record) -> None:
    unscored = checkpoint(10, 0, unscored=12)
    record = with_path(make_record(), [unscored, replace(unscored, step=20)], selected=None)
    [row] = texts(trajectory_table([record]))
    assert row[5:] == ["n/a", "n/a", "-", "n/a", "n/a", "-"]
    record = with_path(make_record(verdicts=[]), [checkpoint(10, 8)], selected=10)
    [row] = texts(trajectory_table([record]))
    assert row[4:7] == ["n/a"] * 3


def test_a_panel_counts_by_its_majority(make_record, make_verdict) -> None:
    """Two of three members find for the policy on every prompt; on one of 40 two could not score."""
    votes = {"a": 1.0, "b": 1.0, "c": 0.0}
    verdicts = [replace(make_verdict(i, votes[m]), judge=m) for i in range(39) for m in votes]
    verdicts += [replace(make_verdict(39, v), judge=m) for m, v in (("a", None), ("b", None), ("c", 0.0))]
    table = trajectory_table([with_path(make_record(verdicts=verdicts), [checkpoint(10, 8)], selected=10)])
    assert table.groups[0][0][4].text.startswith("100.0 [")
    assert table.notes[-2:] == [
        "The verdict of a panel is that of its majority.",
        "1 of 40 verdicts are unscored and left out.",
    ]


@pytest.mark.parametrize(
    ("prompts", "unscored", "bold"),
    [(29, 0, False), (30, 0, True), (90, 50, False)],  # too few; enough; the unscored could change it
)
def test_bold_needs_enough_prompts_and_few_unscored_ones(
    make_record, make_verdict, prompts: int, unscored: int, bold: bool
) -> None:
    lost, won = (
        [make_verdict(i, point if i < prompts - unscored else None) for i in range(prompts)]
        for point in (0.0, 1.0)
    )
    [[row]] = trajectory_table([with_selected(make_record(verdicts=lost), won)]).groups
    assert row[6].text == "+100.0 [100.0, 100.0]" and [entry.bold for entry in row[4:7]] == [bold] * 3


def test_the_figures_mark_selection_and_collapse(make_record) -> None:
    good = with_path(make_record(), [checkpoint(10, 12, 0.9), checkpoint(20, 10, 0.8)], selected=10)
    path = [checkpoint(10, 6, 0.5), checkpoint(20, 0, 0.1)]
    plots = trajectory_plots([good, with_path(make_record(reward="random"), path, selected=10)])
    assert [p.name for p in plots] == [f"trajectory-{m}-miniature-chooser" for m in ("win-rate", "quality")]
    for plot, end in zip(plots, ([100, 100 * 10 / 12], [0.9, 0.8]), strict=True):
        [axes] = plot.figure.axes
        lines = [(line.get_marker(), list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
        assert ("o", [0, 10, 20], pytest.approx([lines[0][2][0], *end])) in lines
        assert [x for marker, x, _ in lines if marker == "x"] == [[], [20]]
    unknown = with_path(make_record(), [checkpoint(10, 12), checkpoint(20, 10)], selected=10)
    assert [p.name for p in trajectory_plots([unknown])] == ["trajectory-win-rate-miniature-chooser"]
    assert trajectory_plots([make_record()]) == []


def test_a_prompt_scored_in_one_order_only_counts_in_no_win_rate(make_record, make_verdict) -> None:
    """A judge that always prefers what is shown first, half of whose calls in the second order failed."""
    points: list[list[float | None]] = [[1.0, None if i % 2 else 0.0] for i in range(12)]
    final = [
        make_verdict(i, None if i % 2 and not order else float(order), order)
        for i in range(40)
        for order in (True, False)
    ]
    record = with_selected(make_record(verdicts=final), final)
    path = [CheckpointResult(10, points, None, {"no answer": 6}), checkpoint(20, 6)]
    record = replace(record, trajectory=Trajectory("chooser", PROMPTS, None, path))
    row = trajectory_frame([record]).iloc[1]
    assert (row["win_rate"], row["unscored"], row["half_scored"]) == (50, 6, 6)
    table = trajectory_table([record])
    assert [entry.text[:4] for entry in table.groups[0][0][4:7]] == ["50.0", "50.0", "+0.0"]
    assert table.notes[-2:] == [
        "40 of 160 verdicts are unscored and left out.",
        "40 more are left out, because their pair is unscored in the other order.",
    ]


def saved(make_record: Any, seed: int, start: list[float], *later: list[float]) -> RunRecord:
    """A run with a checkpoint every 10 steps, of these qualities by prompt."""
    path = [
        CheckpointResult(10 * (i + 1), [[0.5]] * len(start), quality, {}) for i, quality in enumerate(later)
    ]
    prompts = [f"s{i}" for i in range(len(start))]
    return replace(make_record(seed=seed), trajectory=Trajectory("oracle", prompts, start, path))


def test_the_change_of_greedy_quality_is_over_seeds_and_each_has_its_origin(make_record: Any) -> None:
    rng = np.random.default_rng(1)
    early, late = rng.random((3, 20)), rng.random((3, 20)) + np.array([[0.0], [0.4], [0.8]])
    runs = [
        saved(make_record, seed, *([own, other] if seed == 1 else [[0.0] * 20, own]), late[seed].tolist())
        for seed, (own, other) in enumerate((e.tolist(), [0.0] * 20) for e in early)
    ]
    gained = (late - early).T
    by_prompt, by_seed = gained.mean(axis=1), gained.mean(axis=0)
    rest = gained - by_prompt[:, None] - by_seed + gained.mean()
    seeds = (by_seed.var(ddof=1) - (rest**2).sum() / (19 * 2) / 20) / 3
    of_prompts = stats.t.ppf(0.975, 19) * by_prompt.std(ddof=1) / 20**0.5
    change = greedy_changes(runs, {run.run_id: 0 if run.seed == 1 else 10 for run in runs})
    assert change.rate == pytest.approx(gained.mean())
    assert across_seeds(change)[0] == pytest.approx(np.hypot(of_prompts, stats.t.ppf(0.975, 2) * seeds**0.5))


def test_without_checkpoints_or_an_oracle_there_is_no_greedy_quality(make_record: Any) -> None:
    run = saved(make_record, 0, [0.1, 0.2], [0.3, 0.4])
    assert {step: list(own) for step, own in greedy_quality(run).items()} == {0: [0.1, 0.2], 10: [0.3, 0.4]}
    assert greedy_quality(make_record()) == {}
    ungraded = Trajectory("judge", ["s0"], None, [CheckpointResult(10, [[0.5]], None, {})])
    assert greedy_quality(replace(run, trajectory=ungraded)) == {}


def with_quality(make_record: Any, values: list[float | None]) -> RunRecord:
    steps = [float(step) for step in range(1, len(values) + 1)]
    return replace(make_record(), history={"step": steps, "quality": values})


WAVE = [0.02 * (-1) ** step for step in range(60)]  # every part of 6 steps has a standard deviation of 0.0219


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        # the standard error of a part is 0.0219 / sqrt(6) = 0.0089, three of a difference are 0.038
        ([0.2, 0.5, 0.6, 0.64, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6], "0.64 at steps 19 to 24, 0.60 in the end"),
        ([0.2, 0.5, 0.6, 0.63, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6], None),
        ([0.1 * part for part in range(10)], None),
        ([0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8], "0.90 at steps 1 to 6, 0.80 in the end"),
    ],
)
def test_a_fall_after_the_peak_is_told_from_noise(
    make_record: Any, parts: list[float], words: str | None
) -> None:
    values: list[float | None] = [parts[step // 6] + WAVE[step] for step in range(60)]
    assert fall_after_peak(with_quality(make_record, values)) == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        # the last 40 steps fill ten parts
        ([0.99] * 3 + [0.8] * 4 + [0.5] * 36, "0.80 at steps 4 to 7, 0.50 in the end"),
        ([], None),
        ([0.9, 0.1], None),
        ([0.9] * 30 + [None] * 30, None),
    ],
)
def test_a_fall_needs_a_quality_at_every_step(make_record: Any, values: Any, words: str | None) -> None:
    assert fall_after_peak(with_quality(make_record, values)) == words
