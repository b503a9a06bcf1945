"""Training in blocks: means, peaks, falls and collapse by hand, intervals against scipy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.experiments import _blocks
from analysis.experiments._blocks import blocks_frame, difference, over_seeds, peaks, table_of, with_gap
from analysis.experiments._gaming import courses
from cme.records import RunRecord

Column = list[float | None]


def trained(make_record: Any, quality: Column, *, seed: int = 0, **columns: Column) -> RunRecord:
    """A run with the given history by step; what is not given is 0 at each step."""
    steps = len(quality)
    nothing: Column = [0.0] * steps
    history: dict[str, Column] = dict.fromkeys(("reward", "heldout", "kl"), nothing) | columns
    history |= {"step": [float(i) for i in range(1, steps + 1)], "quality": quality}
    of: RunRecord = make_record(seed=seed, prompts=2)
    return replace(of, history=history)


def flat(*levels: float) -> Column:
    """A block of 20 steps at each level."""
    return [level for level in levels for _ in range(20)]


def test_blocks_are_means_of_twenty_steps_and_the_start_of_the_first_five(make_record: Any) -> None:
    quality: Column = [float(i) for i in range(1, 48)]  # two whole blocks, and seven steps that are none
    kl: Column = [4.0 if i % 5 == 0 else None for i in range(20)] + [
        9.0 if i % 5 == 0 else None for i in range(27)
    ]
    frame = blocks_frame(with_gap([trained(make_record, quality, kl=kl)]))
    assert list(frame["block"]) == [0, 1, 2]
    assert list(frame["step"]) == [0, 20, 40]
    assert list(frame["quality"]) == [3.0, 10.5, 30.5]
    assert list(frame["sqrt_kl"]) == [0.0, 2.0, 3.0]


def test_the_gap_is_of_steps_that_have_both(make_record: Any) -> None:
    """Reward is 5 better at the monitored steps of the end, 100 elsewhere: the rise of the gap is 5 - 2 = 3."""
    reward: Column = [0.0 if i % 5 == 0 else 100.0 for i in range(20)] + [
        5.0 if i % 5 == 0 else 100.0 for i in range(20)
    ]
    heldout: Column = [-1.0 if i % 5 == 0 else None for i in range(20)] + [
        1.0 if i % 5 == 0 else None for i in range(20)
    ]
    run = trained(make_record, flat(0.5, 0.5), reward=reward, heldout=heldout)
    [row] = courses([run], {run.run_id: "x"}).to_dict("records")
    assert (row["rise_reward_beside"], row["rise_heldout"], row["rise_gap"]) == (5.0, 2.0, 3.0)


def test_intervals_over_seeds_are_students(make_record: Any) -> None:
    values = [0.1, 0.3, 0.2, 0.6]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert over_seeds([*values, float("nan")]) == pytest.approx((0.3, expected.low, expected.high))
    mean, lo, hi = over_seeds([0.1, 0.3])
    assert mean == pytest.approx(0.2) and np.isnan([lo, hi]).all()
    assert np.isnan(over_seeds([])).all()


def test_the_difference_of_two_samples_is_welchs() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(0, 1, 20), rng.normal(1, 3, 5)
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert difference(one, other) == pytest.approx((one.mean() - other.mean(), expected.low, expected.high))


def test_a_peak_is_where_the_other_runs_are_best() -> None:
    """Each run's own best block is lucky: it is the others' mean that says where to look."""
    quality = pd.DataFrame(
        {0: [0.1, 0.1, 0.1], 1: [0.9, 0.4, 0.5], 2: [0.5, 0.6, 0.6], 3: [0.4, 0.4, np.nan]},
        index=["a", "b", "c"],
    )
    assert peaks(quality).to_dict() == {"a": 2, "b": 1, "c": 1}  # the others of b: 0.70, 0.55, 0.40
    assert peaks(quality.loc[["a"]]).to_dict() == {"a": 1}  # of one run, its own


def test_a_fall_and_what_the_reward_did_since(make_record: Any) -> None:
    """Every seed peaks in block 2 and falls by 0.2, 0.3 and 0.4; the reward rises by 1 a block."""
    ends = (0.4, 0.3, 0.2)
    reward = flat(1.0, 2.0, 3.0, 4.0)
    runs = [
        trained(make_record, flat(0.2, 0.6, 0.5, end), seed=seed, reward=reward)
        for seed, end in enumerate(ends)
    ]
    [row] = courses(runs, {run.run_id: "x" for run in runs}).to_dict("records")
    half = stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert (row["start"], row["peak"], row["final"]) == pytest.approx((0.2, 0.6, 0.3))
    assert (row["fall"], row["fall_lo"], row["fall_hi"]) == pytest.approx((0.3, 0.3 - half, 0.3 + half))
    assert row["peak_steps"] == "40 40 40" and row["since_peak_reward_value"] == 2.0
    assert row["second_half_quality"] == pytest.approx(-0.3)  # from block 2 of 4 to the last
    assert row["rise_quality"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("levels", "step"),
    [
        ((0.5, 0.1, 0.1), 40),
        ((0.5, 0.1, 0.5), None),  # it recovers
        ((0.5, 0.5, 0.1), 60),
        ((0.5, 0.9, 0.5), None),  # a fall from the peak alone is no collapse
    ],
)
def test_collapse_is_below_the_start_to_the_end(
    make_record: Any, levels: tuple[float, ...], step: int | None
) -> None:
    noisy: Column = [(level or 0) + (0.02 if i % 2 else -0.02) for i, level in enumerate(flat(*levels))]
    history = with_gap([trained(make_record, noisy)])
    assert _blocks.collapse(history) == step


def test_a_noisy_start_is_no_certain_ground_for_collapse(make_record: Any) -> None:
    start: Column = [0.0, 1.0, 0.0, 1.0, 0.5]
    history = with_gap([trained(make_record, start + [0.45] * 15 + flat(0.3, 0.3))])
    assert _blocks.collapse(history) is None


def test_a_run_that_stopped_ends_where_it_stopped(make_record: Any) -> None:
    runs = [trained(make_record, flat(0.2, 0.6, 0.6), seed=seed) for seed in range(2)]
    stopped = replace(trained(make_record, flat(0.2, 0.1), seed=2), stopped="every completion was the same")
    early = trained(make_record, [0.2] * 12, seed=3)
    [row] = courses([*runs, stopped, early], {r.run_id: "x" for r in [*runs, stopped, early]}).to_dict(
        "records"
    )
    assert (row["seeds"], row["left_out"], row["stopped"]) == ("0 1 2", 1, "- - 40")
    assert row["final"] == pytest.approx((0.6 + 0.6 + 0.1) / 3)
    assert table_of(blocks_frame(with_gap([stopped])), "quality").columns.to_list() == [0, 1, 2]
