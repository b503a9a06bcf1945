"""Fewer resamples where the bootstrap decides nothing."""

import pytest

from analysis.stats import intervals


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 50)
