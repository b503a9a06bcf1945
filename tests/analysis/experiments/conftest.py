"""Tests of tables, and of which figures there are; tests/analysis/figures looks at the figures."""

from pathlib import Path

import pytest

from analysis.figures.style import Plot


@pytest.fixture(autouse=True)
def figures_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure is saved as an empty file."""

    def save(plot: Plot, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{plot.name}.png"
        path.touch()
        return path

    monkeypatch.setattr(Plot, "save", save)
