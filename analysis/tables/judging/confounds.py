"""Win rates controlled for two possible judge biases: length, and text that a language model finds likely.

Simulated judges of a known bias show how far a control is from the truth. A control should remove the bias and nothing
else: its effect on the oracle's verdicts, which have no bias, is its error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import expit

from analysis.records.names import REGIMES, regime_name, sort_names
from analysis.stats.intervals import SEED, Floats, interval_excludes
from analysis.stats.regression import Controlled
from analysis.tables.cell_tables import (
    NEVER_BOLD,
    OPEN,
    ceiling_entry,
    cut_start_entry,
    list_table,
    table_name,
)
from analysis.tables.cells import CELL, Cell
from analysis.tables.judging.controlled import ORACLE, RAW, ControlledCell
from analysis.tables.render import Entry, Table, format_estimate, group_rows, pick

JUDGES: dict[str, dict[str, float]] = {
    "truth": {"quality": 8.0},
    "truth + length": {"quality": 8.0, "length": 0.1},
    "truth + likelihood": {"quality": 8.0, "surprisal": -1.0},
    "length alone": {"length": 0.1},
    "likelihood alone": {"surprisal": -1.0},
}
"""Weights of the simulated judges, in logits per unit of quality, per character and per nat/token."""
TESTED = ("length", "surprisal", "both")
"""The controls whose errors are measured."""


def known_truth(cells: Sequence[ControlledCell]) -> list[ControlledCell]:
    """The oracle's cells, with the verdicts whose differences in quality, length and surprisal are all known."""
    complete = [
        replace(each, verdicts=each.verdicts.dropna(subset=["length", "surprisal", "quality"]))
        for each in cells
        if each.cell.judge == ORACLE
    ]
    return [each for each in complete if len(each.verdicts)]


def simulate_judge(oracle: ControlledCell, weights: Mapping[str, float], seed: int = SEED) -> ControlledCell:
    """The same pairs with the verdicts of a judge with these weights of the differences, policy minus start.

    It prefers the policy's response with probability expit(weighted sum); identical responses tie. Each verdict is
    drawn independently: there is noise towards 50 %, and no position bias. Each cell has its own draws, the same for
    every judge.
    """
    pairs, cell = oracle.verdicts, oracle.cell
    logits = sum(weight * pairs[name] for name, weight in weights.items())
    name = " ".join((cell.scale, cell.family, cell.regime, cell.reward, cell.verifier, oracle.method))
    won = np.random.default_rng([seed, *name.encode()]).random(len(pairs)) < expit(np.asarray(logits))
    points = np.where(pairs["identical"], 0.5, won)
    return replace(oracle, verdicts=pairs.assign(points=points), simulated=True)


def judge_errors(oracle_cells: Sequence[ControlledCell]) -> pd.DataFrame:
    """One row per cell and judge (the oracle and every simulated one): rate minus the oracle's raw win rate, in points.

    A column for the raw rate and one per control, NaN where it has no rate. `extrapolated`: the rate of at least one
    control would be extrapolated.
    """
    rows = []
    for each in oracle_cells:
        truth = 100 * float(each.verdicts["points"].mean())
        judged = {ORACLE: each} | {judge: simulate_judge(each, weights) for judge, weights in JUDGES.items()}
        for judge, cell in judged.items():
            rates = {control: cell.rate_under(control) for control in TESTED}
            rows.append(
                {"regime": each.cell.regime, "judge": judge}
                | {"extrapolated": any(rate.extrapolated for rate in rates.values())}
                | {RAW: 100 * float(cell.verdicts["points"].mean()) - truth}
                | {control: rate.rate - truth for control, rate in rates.items()}
            )
    return pd.DataFrame(rows)


def describe_judge(judge: str) -> str:
    """A simulated judge's weights in words."""
    units = {"quality": "unit of quality", "length": "character", "surprisal": "nat/token of surprisal"}
    weights = (f"{weight:+g} per {units[name]}" for name, weight in JUDGES[judge].items())
    return f"{judge}: {', '.join(weights)}"


def confound_frame(cells: Sequence[ControlledCell]) -> pd.DataFrame:
    """One row per cell and control, numbers unrounded, rates in percent; extrapolated rates are marked."""
    return pd.DataFrame(
        [
            pick(each.cell, " ".join(CELL))
            | {"control": control, "win_rate": rate.rate}
            | pick(rate, "lo hi extrapolated reason")
            | {"verdicts": len(each.verdicts), "without_surprisal": each.unmeasured}
            | {"identical": each.verdicts["identical"].mean()}
            for each in cells
            for control, rate in each.rates.items()
        ]
    )


def confound_tables(cells: Sequence[ControlledCell]) -> list[Table]:
    """All tables of one scale: the controlled rates of each judge, then, of a known truth, the controls' errors."""
    judges = sort_names(each.cell.judge for each in cells)
    tables = [controlled_table([each for each in cells if each.cell.judge == judge]) for judge in judges]
    return [*tables, truth_table(cells)] if known_truth(cells) else tables


def controlled_table(cells: Sequence[ControlledCell]) -> Table:
    """Win rates of one scale and judge by control: family, regime and method in rows."""
    by_cell = {id(each.cell): each for each in cells}

    def columns(cell: Cell) -> dict[str, Entry | str]:
        each = by_cell[id(cell)]
        identical = f"{100 * each.verdicts['identical'].mean():.0f}"
        rates = {control: controlled_entry(rate, cell.win.open) for control, rate in each.rates.items()}
        controls = {"cut start": cut_start_entry(cell.controls), "ceiling": ceiling_entry(cell.controls)}
        return {**rates, **controls, "identical (%)": identical}

    title = "Win rate at no difference in length or surprisal (%)"
    return list_table("controlled", title, [each.cell for each in cells], columns, controlled_notes(cells))


def controlled_notes(cells: Sequence[ControlledCell]) -> list[str]:
    """The notes of the table of controlled rates."""
    models = sort_names(model for each in cells for model in each.models)
    measured_by = f"under {' or '.join(models)}" if models else "under an independent language model"
    notes = [
        "Raw: as in the table of win rates. The others: 100 / (1 + exp(-intercept)) of a logistic regression of the "
        "points (1, 0.5, 0) on the difference, policy minus start: the rate of a pair without a difference. In "
        "brackets: 95 % CI of the intercept, robust to clusters of prompts. Bold: excludes 50 %, "
        f"{NEVER_BOLD} prompts.",
        "Length: in characters, tanh(difference / its standard deviation), AlpacaEval 2.0's form without the "
        "instruction difficulties and gamed baselines of its full model, which need many models' outputs on its own "
        f"prompts. Surprisal: minus mean log-likelihood {measured_by}, nats per token, difference / its standard "
        "deviation, in a cell of several such models that under each. Both: length and surprisal together.",
        "A control also removes what is correlated with its covariate, including quality: where better answers are "
        "shorter or likelier, it removes part of the real gain.",
        "Cut start and ceiling, both raw: what the untrained model's own responses, cut short, win against the uncut "
        "ones, and what a perfect policy would win where the truth is known.",
        "Identical: verdicts on two identical responses. They have no difference, tie, and pull a controlled rate "
        "towards 50 %.",
    ]
    rates = [rate for each in cells for rate in each.rates.values()]
    if any(rate.extrapolated for rate in rates):
        notes.append(
            "‡: no estimate; fewer than 2.5 % of the pairs have no difference or one beyond it, so a rate would depend "
            "on the form of the regression and not on pairs."
        )
    if reasons := sort_names({rate.reason for rate in rates if rate.reason and not rate.extrapolated}):
        notes.append(f"n/a: {'; '.join(reasons)}.")
    if any(each.cell.win.open for each in cells):
        notes.append(
            f"{OPEN}: the unscored verdicts could bring the raw rate to 50 % or past it; never bold."
        )
    unmeasured = sum(each.unmeasured for each in cells)
    if models and unmeasured:
        total = sum(len(each.verdicts) for each in cells)
        notes.append(
            f"{unmeasured} of {total} verdicts are on a response without surprisal, such as an empty one: they are "
            "left out of the controls for it."
        )
    return notes


def controlled_entry(rate: Controlled, is_open: bool) -> Entry:
    """A rate such as 58.3 [52.1, 64.5], ‡ for an extrapolated one, or n/a; `?` marks one of an open cell."""
    if rate.extrapolated or rate.reason:
        return Entry("‡" if rate.extrapolated else "n/a")
    text = format_estimate(rate.rate, rate.lo, rate.hi)
    if is_open:
        return Entry(f"{text} {OPEN}")
    return Entry(text, interval_excludes(rate.lo, rate.hi, 50, rate.prompts, decimals=1))


def truth_table(cells: Sequence[ControlledCell]) -> Table:
    """Judges x controls: distance from the oracle's win rate by regime, of cells with `known_truth`."""
    known = known_truth(cells)
    total = sum(len(each.verdicts) for each in cells if each.cell.judge == ORACLE)
    left_out = total - sum(len(each.verdicts) for each in known)
    errors = judge_errors(known)
    rows = []
    for regime in sort_names(errors["regime"], REGIMES):
        for extrapolated in (False, True):
            group = errors[(errors["regime"] == regime) & (errors["extrapolated"] == extrapolated)]
            for judge, of_judge in group.groupby("judge", sort=False):
                texts = error_texts(of_judge[[RAW, *TESTED]].to_numpy(float))
                rows.append([f"{regime_name(regime)}{' ‡' if extrapolated else ''}", str(judge), *texts])
    return Table(
        name=table_name("truth", known[0].cell),
        title=f"Distance from the true win rate (points), scale: {known[0].cell.scale}, simulated judges",
        header=["regime", "judge", "cells", RAW, *TESTED],
        groups=group_rows(rows),
        notes=[
            "Rate minus the oracle's win rate: mean over cells (all families and rewards) and, in parentheses, mean "
            "absolute distance. All columns of a row are over the same cells, those where each control has a rate.",
            "‡: cells where a control would be extrapolated; for this reason the other tables give no such rate.",
            "Judges other than the oracle are simulated on the same pairs: they prefer the policy's response with "
            "probability 1 / (1 + exp(-logit)); identical responses tie. Logits: "
            f"{'; '.join(map(describe_judge, JUDGES))}.",
            "The oracle has no bias: the effect of a control on its verdicts is the control's error, since quality "
            "correlated with length or surprisal counts as bias. The judge `truth` has no bias but noise, which "
            "pulls its rates towards 50 %: the additional distance of another judge is that judge's bias.",
            *(
                [f"{left_out} of {total} verdicts are on a response without surprisal and left out."]
                if left_out
                else []
            ),
        ],
    )


def error_texts(errors: Floats) -> list[str]:
    """The number of cells with all rates, then each column's mean and mean absolute error: `+3.1 (3.4)`."""
    complete = errors[~np.isnan(errors).any(axis=1)]
    count = f"{len(complete)} of {len(errors)}" if len(complete) < len(errors) else str(len(errors))
    return [count, *(f"{c.mean():+.1f} ({np.abs(c).mean():.1f})" if len(c) else "-" for c in complete.T)]
