"""The released evaluation of the paper as evidence: comparisons from its published counts.

The counts are of verdicts, so an interval from them takes every verdict as that of another prompt. `cme import` on the
files themselves gives intervals that keep the verdicts of a prompt together.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.claims.evaluation_measures import failure_part, position_part
from analysis.claims.parts import Part
from analysis.records.published import read_published
from analysis.stats.metrics import WinRate, win_rate


def released_failures() -> list[Part]:
    """How far counting failed calls as ties shifts each released win rate that has any."""
    rows = read_published("released_evaluation.csv").to_dict("records")
    return [failure_part(row_name(row), count_win(row), 1) for row in rows if row["failed_calls"]]


def released_position() -> list[Part]:
    """The share of the decided verdicts that went to the response shown first."""
    rows = {row["quantity"]: row for row in read_published("evaluation.csv").to_dict("records")}
    first, second = (rows[f"verdicts for the response shown {place}"] for place in ("first", "second"))
    shares = [1.0] * int(first["value"]) + [0.0] * int(second["value"])
    return [position_part(str(first["over"]), shares, [str(i) for i in range(len(shares))], [0])]


def released_wins() -> list[Part]:
    """The released win rates above 50 % with a working judge."""
    found = []
    for row in read_published("released_evaluation.csv").to_dict("records"):
        win = count_win(row)
        if win.rate > 50:
            found.append(Part(row_name(row), win.rate, win.lo, win.hi, win.scored, 1, freedom=win.scored - 1))
    return found


def count_win(row: Mapping[Any, Any]) -> WinRate:
    """The win rate of a row of counts, with failed calls unscored; the file counts them among the ties."""
    ties = row["ties"] - row["failed_calls"]
    counts = {1.0: row["wins"], 0.5: ties, 0.0: row["losses"], np.nan: row["failed_calls"]}
    points = np.repeat(list(counts), list(counts.values()))
    return win_rate(points, np.arange(len(points)).astype(str).astype(object))


def row_name(row: Mapping[Any, Any]) -> str:
    """A row of the released evaluation."""
    return f"{row['judge']}: {row['policy']} against {row['opponent']}"
