"""Changes of greedy quality between saved checkpoints, against scipy and a slow two-way analysis of variance."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.sections.greedy import greedy_change, greedy_quality
from cme.records import CheckpointResult, RunRecord, Trajectory


def saved(make_record: Any, seed: int, start: list[float], *later: list[float]) -> RunRecord:
    """A run with a checkpoint every 10 steps, of these qualities by prompt."""
    path = [
        CheckpointResult(10 * (i + 1), [[0.5]] * len(start), quality, {}) for i, quality in enumerate(later)
    ]
    prompts = [f"s{i}" for i in range(len(start))]
    return replace(make_record(seed=seed), trajectory=Trajectory("oracle", prompts, start, path))


def test_alike_seeds_leave_the_paired_interval_over_prompts(make_record: Any) -> None:
    rng = np.random.default_rng(0)
    early, late = rng.random(20).tolist(), rng.random(20).tolist()
    runs = [saved(make_record, seed, [0.0] * 20, early, late) for seed in range(3)]
    expected = stats.ttest_rel(late, early).confidence_interval(0.95)
    value, lo, hi = greedy_change(runs, {run.run_id: 10 for run in runs})
    assert (value, lo, hi) == pytest.approx((np.mean(late) - np.mean(early), expected.low, expected.high))


def test_seeds_that_differ_widen_it_and_each_has_its_own_origin(make_record: Any) -> None:
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
    value, lo, hi = greedy_change(runs, {run.run_id: 0 if run.seed == 1 else 10 for run in runs})
    assert (value, lo, hi) == pytest.approx((gained.mean(), gained.mean() - half, gained.mean() + half))
    assert np.isnan(greedy_change(runs[:2], {run.run_id: 10 for run in runs})[1])


def test_without_checkpoints_or_an_oracle_there_is_no_greedy_quality(make_record: Any) -> None:
    run = saved(make_record, 0, [0.1, 0.2], [0.3, 0.4])
    assert {step: list(own) for step, own in greedy_quality(run).items()} == {0: [0.1, 0.2], 10: [0.3, 0.4]}
    assert greedy_quality(make_record()) == {}
    ungraded = Trajectory("judge", ["s0"], None, [CheckpointResult(10, [[0.5]], None, {})])
    assert greedy_quality(replace(run, trajectory=ungraded)) == {}
