"""Fewer resamples: the bootstrap decides nothing in claims about win rates."""

import pytest

from analysis.stats import intervals


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 50)
