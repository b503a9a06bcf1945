"""Judges with a known taste, made from a known truth: how far from the oracle they are, raw and under each control.

A simulated judge prefers the policy's response with probability expit(q dq + l dl + s ds), where dq is the true
difference in quality (-1 to 1), dl that in length (characters), ds that in surprisal (nats a token), policy minus
start, and q, l, s are its weights. Each verdict is a draw of its own, whatever the order; equal responses tie. So such
a judge is off the oracle's win rate by noise too, towards 50 %, and by no taste for a place: the judge `truth` has the
noise alone, and what a judge of taste adds to its distance is the taste. A control should undo that part and nothing
else; what it does to the verdicts of the oracle, which has neither, is an error of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from analysis.records.names import REGIMES, sort_names
from analysis.stats.logistic import controlled_rate
from analysis.stats.metrics import SEED, Floats
from analysis.tables.cells import CELL
from analysis.tables.confounds import RAW, ControlledCell, JudgedCell, controlled, controlled_cell
from analysis.tables.render import Entry, Table
from analysis.tables.win_rates import table_name

JUDGES: dict[str, dict[str, float]] = {
    "truth": {"quality": 8.0},
    "truth + length": {"quality": 8.0, "length": 0.1},
    "truth + likelihood": {"quality": 8.0, "surprisal": -1.0},
    "length alone": {"length": 0.1},
    "likelihood alone": {"surprisal": -1.0},
}
"""Simulated judges by their weights, logits per unit of quality, per character and per nat/token."""
ORACLE = "oracle"
TESTED = ("length", "surprisal", "both")
"""The controls whose errors are measured."""


@dataclass(frozen=True)
class Errors:
    """A judge's rate minus the oracle's raw win rate in one cell, in points, raw and under each control.

    NaN where a control has no rate. `extrapolated` says that at least one control's rate would be extrapolated.
    """

    regime: str
    judge: str
    by_control: Mapping[str, float]
    extrapolated: bool


def known_truth(cells: Sequence[JudgedCell]) -> list[JudgedCell]:
    """The oracle's cells with the verdicts where all that judges like was measured; no cell without any."""
    found = []
    for each in cells:
        whole = ~np.isnan(sum(each.differences[name] for name in ("quality", "length", "surprisal")))
        if each.cell.judge == ORACLE and whole.any():
            differences = {name: values[whole] for name, values in each.differences.items()}
            kept = (each.points[whole], each.prompts[whole], differences, each.identical[whole])
            found.append(JudgedCell(each.cell, *kept))
    return found


def simulated(judged: JudgedCell, weights: Mapping[str, float], seed: int = SEED) -> JudgedCell:
    """The same pairs in the eyes of a simulated judge. Each cell has draws of its own, the same for every judge."""
    logits = sum(weight * judged.differences[name] for name, weight in weights.items())
    name = " ".join(getattr(judged.cell, field) for field in CELL if field != "judge")
    drawn = np.random.default_rng([seed, *name.encode()]).random(len(judged.points))
    won: Floats = (drawn < expit(np.asarray(logits))).astype(float)
    return replace(judged, points=np.where(judged.identical, 0.5, won))


def simulated_cells(cells: Sequence[JudgedCell], judge: str) -> list[ControlledCell]:
    """The cells under a simulated judge, raw and with every control; their `Cell` stays the oracle's."""
    found = []
    for each in cells:
        seen = controlled_cell(simulated(each, JUDGES[judge]))
        raw = controlled_rate(seen.judged.points, {}, seen.judged.prompts)
        found.append(replace(seen, rates={**seen.rates, RAW: raw}))
    return found


def errors(cells: Sequence[JudgedCell]) -> list[Errors]:
    """Errors of the oracle and of every simulated judge in every cell. `cells` are the oracle's."""
    found = []
    for each in cells:
        truth = 100 * float(each.points.mean())
        eyes = {ORACLE: each} | {judge: simulated(each, weights) for judge, weights in JUDGES.items()}
        for judge, seen in eyes.items():
            rates = {control: controlled(seen, control) for control in TESTED}
            by_control = {RAW: 100 * float(seen.points.mean()) - truth}
            by_control |= {control: rate.rate - truth for control, rate in rates.items()}
            extrapolated = any(rate.extrapolated for rate in rates.values())
            found.append(Errors(each.cell.regime, judge, by_control, extrapolated))
    return found


def truth_table(cells: Sequence[ControlledCell]) -> Table | None:
    """Judges x controls: distance from the oracle's win rate by regime; None where the truth is not known."""
    known = known_truth([each.judged for each in cells])
    if not known:
        return None
    total = sum(len(each.judged.points) for each in cells if each.judged.cell.judge == ORACLE)
    left_out = total - sum(len(each.points) for each in known)
    missing = (
        f"{left_out} of {total} verdicts are on a response without surprisal, such as an empty one: left out."
    )
    found = errors(known)
    groups = []
    for regime in sort_names((each.cell.regime for each in known), REGIMES):
        for extrapolated in (False, True):
            own = [e for e in found if e.regime == regime and e.extrapolated == extrapolated]
            rows: list[list[Entry]] = []
            for judge in dict.fromkeys(e.judge for e in own):
                name = Entry("" if rows else f"{regime} ‡" if extrapolated else regime)
                rows.append([name, Entry(judge), *error_entries([e for e in own if e.judge == judge])])
            groups.append(rows)
    return Table(
        name=table_name("truth", known[0].cell),
        title=f"Distance from the true win rate (points), scale: {known[0].cell.scale}, simulated judges",
        header=["regime", "judge", "cells", RAW, *TESTED],
        groups=[rows for rows in groups if rows],
        notes=[
            "Rate minus the oracle's win rate: mean over cells (all families and rewards) and, in parentheses, mean "
            "absolute distance. Every column of a row is over the same cells, those where each control has a rate.",
            "‡: cells where a control would be extrapolated; the other tables give no such rate, and this is why.",
            "Judges but the oracle are simulated on the same pairs: they prefer the policy's response with probability "
            f"1 / (1 + exp(-logit)); equal responses tie. Logits: {'; '.join(map(recipe, JUDGES))}.",
            "The oracle has no taste: what a control does to its verdicts is the control's own error, quality that "
            "goes with length or surprisal taken for taste. The judge `truth` has no taste either, but noise, which "
            "draws its rates towards 50 %: what another judge's distance has beyond its is that judge's taste.",
            *([missing] if left_out else []),
        ],
    )


def error_entries(found: Sequence[Errors]) -> list[Entry]:
    """How many cells have every rate, then each column's mean and mean absolute error over them: `+3.1 (3.4)`."""
    table = np.array([list(e.by_control.values()) for e in found])  # (cells, controls)
    whole = table[~np.isnan(table).any(axis=1)]
    count = f"{len(whole)} of {len(found)}" if len(whole) < len(found) else str(len(found))
    texts = [
        f"{column.mean():+.1f} ({np.abs(column).mean():.1f})" if len(column) else "-" for column in whole.T
    ]
    return [Entry(count), *map(Entry, texts)]


def recipe(judge: str) -> str:
    """A simulated judge's weights in words."""
    units = {"quality": "unit of quality", "length": "character", "surprisal": "nat/token of surprisal"}
    return f"{judge}: " + ", ".join(
        f"{weight:+g} per {units[name]}" for name, weight in JUDGES[judge].items()
    )
