"""Saved checkpoints: collapse, final and selected by hand; greedy changes against scipy; figures as the tables."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy import stats

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
from cme.records import CheckpointResult, Generation, RunRecord, Selected, Trajectory

PROMPTS = [f"s{i}" for i in range(12)]


def checkpoint(step: int, wins: int, quality: float | None = None, unscored: int = 0) -> CheckpointResult:
    """The policy wins on the first `wins` of 12 prompts in both orders, loses the others; the last are unscored."""
    points: list[list[float | None]] = [[1.0, 1.0] if i < wins else [0.0, 0.0] for i in range(12)]
    points[12 - unscored :] = [[None, None]] * unscored
    grades = None if quality is None else [quality] * 12
    return CheckpointResult(step, points, grades, {"no answer": 2 * unscored} if unscored else {})


def with_path(
    record: RunRecord, checkpoints: list[CheckpointResult], selected: int | None, **of: Any
) -> RunRecord:
    start = None if checkpoints[0].quality is None else [0.5] * 12
    path = Trajectory("chooser", PROMPTS, start, checkpoints)
    chosen = None if selected is None else Selected(selected, None, None)
    return replace(record, trajectory=path, selected=chosen, **of)


@pytest.mark.parametrize(
    ("worse", "step"),
    [
        ("....", None),
        ("xxxx", 10),
        ("..xx", 30),
        (".x.x", 40),  # a recovery is no collapse
        ("xxx.", None),
        ("x..x", 40),
        ("", "n/a"),
    ],
)
def test_collapse_is_the_first_step_from_which_all_are_worse(worse: str, step: int | str | None) -> None:
    steps, bounds = range(10, 10 * len(worse) + 1, 10), [-0.1 if w == "x" else 0.1 for w in worse]
    assert collapse_of(pd.DataFrame({"step": steps, "gain_hi": bounds}), "quality") == step


def test_an_unscored_checkpoint_is_no_recovery(make_record) -> None:
    path = [checkpoint(10, 0), checkpoint(20, 0), checkpoint(30, 0, unscored=12)]
    [[row]] = trajectory_table([with_path(make_record(), path, selected=10)]).groups
    assert [entry.text for entry in row[8:10]] == ["10", "n/a"]
    [[row]] = trajectory_table([with_path(make_record(), [path[2]], selected=10)]).groups
    assert row[8].text == "n/a"


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


def test_final_and_selected_are_compared_on_the_evaluation_prompts(make_record, make_verdict) -> None:
    """Final wins a quarter, selected a half of 48 prompts: 25.0, 50.0, and a paired gain of 25 points."""
    final = [make_verdict(i, float(i < 12), order) for i in range(48) for order in (True, False)]
    chosen = [make_verdict(i, float(i < 24), order) for i in range(48) for order in (True, False)]
    record = make_record(verdicts=final)
    record = with_path(record, [checkpoint(10, 8), checkpoint(20, 1)], selected=10)
    responses = [Generation("yes", True, 2)] * 48
    record = replace(record, selected=Selected(10, responses, chosen))
    other = with_path(
        make_record(seed=1, verdicts=final), [checkpoint(10, 1), checkpoint(20, 1)], selected=20
    )
    table = trajectory_table([record, other])
    [[row]] = [[[e.text for e in row] for row in group] for group in table.groups]
    assert row[:4] == ["Qwen", "Pretrained", "CME", "0 1"]
    assert row[4].startswith("25.0 [") and row[5].startswith("37.5 [") and row[6].startswith("+12.5 [")
    assert row[7:] == ["10 20", "20 10", "n/a n/a", "- -"]
    [alone] = trajectory_table([record]).groups
    assert alone[0][5].text.startswith("50.0 [") and alone[0][6].text.startswith("+25.0 [")
    assert alone[0][4].bold and not alone[0][5].bold and alone[0][6].bold
    assert "chooser" in to_markdown(table) and "scale: miniature" in to_latex(table, "tab:t")


def test_runs_without_a_selected_checkpoint_or_a_verdict_have_no_rate(make_record) -> None:
    unscored = checkpoint(10, 0, unscored=12)
    record = with_path(make_record(), [unscored, replace(unscored, step=20)], selected=None)
    [[row]] = trajectory_table([record]).groups
    assert [entry.text for entry in row[5:]] == ["n/a", "n/a", "-", "n/a", "n/a", "-"]
    record = with_path(make_record(verdicts=[]), [checkpoint(10, 8)], selected=10)
    [[row]] = trajectory_table([record]).groups
    assert [entry.text for entry in row[4:7]] == ["n/a"] * 3


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


@pytest.mark.parametrize(("count", "bold"), [(29, False), (30, True)])
def test_few_prompts_are_never_bold(make_record, make_verdict, count: int, bold: bool) -> None:
    lost, won = ([make_verdict(i, p) for i in range(count)] for p in (0.0, 1.0))
    record = with_path(make_record(verdicts=lost), [checkpoint(10, 8)], selected=10)
    record = replace(record, selected=Selected(10, [Generation("yes", True, 2)] * count, won))
    [[row]] = trajectory_table([record]).groups
    assert row[6].text == "+100.0 [100.0, 100.0]" and [entry.bold for entry in row[4:7]] == [bold] * 3


def test_the_figures_mark_selection_and_collapse(make_record) -> None:
    good = with_path(make_record(), [checkpoint(10, 12, 0.9), checkpoint(20, 10, 0.8)], selected=10)
    bad = with_path(
        make_record(reward="random"), [checkpoint(10, 6, 0.5), checkpoint(20, 0, 0.1)], selected=10
    )
    plots = trajectory_plots([good, bad])
    assert [p.name for p in plots] == [f"trajectory-{m}-miniature-chooser" for m in ("win-rate", "quality")]
    for plot, end in zip(plots, ([100, 100 * 10 / 12], [0.9, 0.8]), strict=True):
        [axes] = plot.figure.axes
        lines = [(line.get_marker(), list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
        assert ("o", [0, 10, 20], pytest.approx([lines[0][2][0], *end])) in lines
        crosses = [x for marker, x, _ in lines if marker == "x"]
        assert crosses == [[], [20]]
        texts = [text for text in plot.figure.findobj(Text) if text.get_text()]
        assert min(text.get_fontsize() for text in texts) >= 8
        assert "miniature" in plot.caption and "miniature" in plot.figure.get_suptitle()
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
    record = make_record(verdicts=final)
    record = with_path(
        record, [CheckpointResult(10, points, None, {"no answer": 6}), checkpoint(20, 6)], selected=10
    )
    record = replace(record, selected=Selected(10, [Generation("yes", True, 2)] * 40, final))
    row = trajectory_frame([record]).iloc[1]
    assert (row["win_rate"], row["unscored"], row["half_scored"]) == (50, 6, 6)
    table = trajectory_table([record])
    assert [entry.text[:4] for entry in table.groups[0][0][4:7]] == ["50.0", "50.0", "+0.0"]
    assert table.notes[-2:] == [
        "40 of 160 verdicts are unscored and left out.",
        "40 more are left out, because their pair is unscored in the other order.",
    ]


def test_results_that_the_unscored_could_change_are_no_collapse_and_not_bold(
    make_record, make_verdict
) -> None:
    lost = checkpoint(10, 0, unscored=7)  # five prompts lost, seven unknown
    [[row]] = trajectory_table([with_path(make_record(), [lost], selected=10)]).groups
    assert row[8].text == "-"
    [[row]] = trajectory_table(
        [with_path(make_record(), [checkpoint(10, 0, unscored=5)], selected=10)]
    ).groups
    assert row[8].text == "10"
    won = [make_verdict(i, 1 if i < 40 else None) for i in range(90)]
    nothing = [make_verdict(i, 0 if i < 40 else None) for i in range(90)]
    record = with_path(make_record(verdicts=nothing), [checkpoint(10, 8)], selected=10)
    record = replace(record, selected=Selected(10, [Generation("yes", True, 2)] * 90, won))
    [[row]] = trajectory_table([record]).groups
    assert row[6].text == "+100.0 [100.0, 100.0]" and not any(entry.bold for entry in row[4:7])


def saved(make_record: Any, seed: int, start: list[float], *later: list[float]) -> RunRecord:
    """A run with a checkpoint every 10 steps, of these qualities by prompt."""
    path = [
        CheckpointResult(10 * (i + 1), [[0.5]] * len(start), quality, {}) for i, quality in enumerate(later)
    ]
    prompts = [f"s{i}" for i in range(len(start))]
    return replace(make_record(seed=seed), trajectory=Trajectory("oracle", prompts, start, path))


def change_over_seeds(runs: list[RunRecord], origin: dict[str, int]) -> tuple[float, float, float, bool]:
    """The mean change of greedy quality with its interval over prompts and seeds, and whether that is at its floor."""
    change = greedy_changes(runs, origin)
    half, error = across_seeds(change)
    return change.rate, change.rate - half, change.rate + half, error.floored


def test_equal_seeds_have_the_paired_interval_over_prompts(make_record: Any) -> None:
    rng = np.random.default_rng(0)
    early, late = rng.random(20).tolist(), rng.random(20).tolist()
    runs = [saved(make_record, seed, [0.0] * 20, early, late) for seed in range(3)]
    expected = stats.ttest_rel(late, early).confidence_interval(0.95)
    value, lo, hi, _ = change_over_seeds(runs, {run.run_id: 10 for run in runs})
    assert (value, lo, hi) == pytest.approx((np.mean(late) - np.mean(early), expected.low, expected.high))


def test_different_seeds_widen_the_interval_and_each_has_its_origin(make_record: Any) -> None:
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
    half = np.hypot(
        stats.t.ppf(0.975, 19) * by_prompt.std(ddof=1) / 20**0.5, stats.t.ppf(0.975, 2) * seeds**0.5
    )
    value, lo, hi, floored = change_over_seeds(runs, {run.run_id: 0 if run.seed == 1 else 10 for run in runs})
    assert (value, lo, hi) == pytest.approx((gained.mean(), gained.mean() - half, gained.mean() + half))
    assert not floored, "the seeds differ by more than the residual explains"
    assert np.isnan(change_over_seeds(runs[:2], {run.run_id: 10 for run in runs})[1])


def test_seeds_that_differ_by_less_than_the_residual_explains_are_at_the_floor(make_record: Any) -> None:
    later = np.random.default_rng(2).random((3, 20))
    later += later.mean() - later.mean(axis=1, keepdims=True)  # all seeds have the same mean
    runs = [saved(make_record, seed, [0.0] * 20, [0.0] * 20, own) for seed, own in enumerate(later.tolist())]
    assert change_over_seeds(runs, {run.run_id: 10 for run in runs})[3]


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
        ([0.2, 0.5, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.6, 0.6], "0.80 at steps 13 to 18, 0.60 in the end"),
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


def test_a_fall_is_looked_for_in_the_last_steps_that_fill_ten_parts(make_record: Any) -> None:
    values: list[float | None] = [0.99] * 3 + [0.8] * 4 + [0.5] * 36
    assert fall_after_peak(with_quality(make_record, values)) == "0.80 at steps 4 to 7, 0.50 in the end"


@pytest.mark.parametrize("values", [[], [0.9, 0.1], [None] * 60, [0.9] * 30 + [None] * 30])
def test_without_a_quality_at_every_step_no_fall_is_told(
    make_record: Any, values: list[float | None]
) -> None:
    assert fall_after_peak(with_quality(make_record, values)) is None
