"""The simulation behind the coverage figures: its truths are those of its verdicts."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.stats import intervals
from tests.benchmarks.coverage import INTERVALS, Setting, coverage, simulate, truth


@pytest.mark.parametrize(("judges", "advantage"), [(1, 0.0), (3, 0.8)])
def test_truths_are_the_means_of_many_verdicts(judges, advantage):
    rng = np.random.default_rng(0)
    many_prompts = simulate(Setting(40_000, 2, judges, advantage, 0.5), rng)
    assert np.nanmean(many_prompts.points) == pytest.approx(many_prompts.at_hand, abs=0.01)
    effects = rng.normal(0, 0.5, 50_000)
    setting = Setting(10, 2, judges, advantage, 0.5)
    assert truth(setting, effects) == pytest.approx(simulate(setting, rng).across_seeds, abs=0.005)


@pytest.mark.slow
def test_intervals_have_about_their_nominal_coverage(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    setting = Setting(64, 3, 3, 0.4, 0.6)
    found = coverage(setting, 150, 1)
    own = {name: found[name] for name in INTERVALS[:-2]}
    assert all(90 <= value <= 100 for value in own.values()), own
    assert found["win rate's interval used across seeds"] < 75
    ties = coverage(Setting(180, 3, 1, 1.0, 0.05, 3.6), 150, 1)
    assert min(ties["win rate"], ties["mean, across seeds"]) >= 93, ties
    assert "mean, across seeds" not in coverage(replace(setting, seeds=1), 5, 1)
