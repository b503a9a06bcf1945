"""The report's section on judge bias: win rates controlled for length and surprisal, and how well that works."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.figures.confounds import confound_plot
from analysis.records.names import REGIMES, order_key, sort_names
from analysis.sections.base import Section, group_by_scale, write_part
from analysis.stats.intervals import Floats, interval_excludes
from analysis.stats.logistic import Codes, Controlled, controlled_rate
from analysis.tables.cells import Cell
from analysis.tables.confounds import (
    CONTROLS,
    JUDGES,
    ORACLE,
    RAW,
    TESTED,
    ControlledCell,
    Errors,
    JudgedCell,
    confound_frame,
    controlled_cells,
    describe_judge,
    judge_errors,
    known_truth,
    language_models,
)
from analysis.tables.render import Entry, Table, format_interval, format_percent, group_rows, slug
from analysis.tables.win_rates import NEVER_BOLD, OPEN, method_key, table_name, table_subject
from cme.records import RunRecord

UNITS = {"length": "characters", "surprisal": "nats/token"}
DECIMALS = {"length": 1, "surprisal": 2}
BINS = 5


def confound_section(records: Sequence[RunRecord], cells: Sequence[Cell], out: Path) -> Section:
    """The controlled win rates, scale by scale; scales without a scored verdict have none."""
    parts = []
    for scale, own in group_by_scale(records):
        controlled = controlled_cells(own, [cell for cell in cells if cell.scale == scale])
        if not controlled:
            continue
        truth, plot = truth_table(controlled), confound_plot(controlled)
        tables = [*confound_tables(controlled, language_models(own)), *([] if truth is None else [truth])]
        plots = [] if plot is None else [plot]
        parts.append(write_part(f"{slug(scale)}-confounds", tables, confound_frame(controlled), plots, out))
    return Section(
        "confounds",
        "Judge bias: length and likelihood",
        "A judge that prefers longer or likelier text rewards these effects of training along with quality. Win rates "
        "at equal length and at equal surprisal under an independent language model try to remove the bias; where the "
        "truth is known, the last table gives the distance of each attempt from it.",
        parts,
    )


def confound_tables(cells: Sequence[ControlledCell], models: Sequence[str]) -> list[Table]:
    """All tables of one scale: for each judge the controlled rates and the win rates by difference.

    `models` are the language models that measured the surprisal; empty where it was not measured.
    """
    tables = []
    for judge in sort_names(each.judged.cell.judge for each in cells):
        own = [each for each in cells if each.judged.cell.judge == judge]
        tables.append(controlled_table(own, models))
        judged = [each.judged for each in own]
        tables += [bins_table(judged, column, models) for column in UNITS if column != "surprisal" or models]
    return tables


def controlled_table(cells: Sequence[ControlledCell], models: Sequence[str]) -> Table:
    """Win rates of one scale and judge by control: family, regime and method in rows."""
    families = list(dict.fromkeys(each.judged.cell.family for each in cells))
    rows: list[tuple[Any, Sequence[Entry | str]]] = []
    for each in cells:
        cell = each.judged.cell
        key = families.index(cell.family), order_key(cell.regime, REGIMES), method_key(cell)
        entries = [rate_entry(rate, cell.win.open) for rate in each.rates.values()]
        identical = f"{100 * each.judged.identical.mean():.0f}"
        rows.append((key, [cell.family, cell.regime, cell.method, *entries, identical]))
    first = cells[0].judged.cell
    return Table(
        name=table_name("controlled", first),
        title=f"Win rate at no difference in length or surprisal (%), {table_subject(first)}",
        header=["family", "regime", "reward", RAW, *CONTROLS, "identical (%)"],
        groups=group_rows(row for _, row in sorted(rows, key=lambda pair: pair[0])),
        notes=controlled_notes(cells, models),
    )


def controlled_notes(cells: Sequence[ControlledCell], models: Sequence[str]) -> list[str]:
    """The notes of the table of controlled rates."""
    measured_by = f"under {' or '.join(models)}" if models else "under an independent language model"
    notes = [
        "Raw: as in the table of win rates. The others: 100 / (1 + exp(-intercept)) of a logistic regression of the "
        "points (1, 0.5, 0) on the difference, policy minus start: the rate of a pair without a difference. In "
        "brackets: 95 % CI of the intercept, robust to clusters of prompts. Bold: excludes 50 %, "
        f"{NEVER_BOLD} prompts.",
        "Length: in characters, tanh(difference / its standard deviation), AlpacaEval 2.0's form without the "
        "instruction difficulties and gamed baselines of its full model, which need many models' outputs on its own "
        f"prompts. Length, linear: without tanh. Surprisal: minus mean log-likelihood {measured_by}, nats per "
        "token, difference / standard deviation. Both: length and surprisal together.",
        "A control also removes what is correlated with its covariate, including quality: where better answers are "
        "shorter or likelier, it removes part of the real gain.",
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
    if any(each.judged.cell.win.open for each in cells):
        notes.append(
            f"{OPEN}: the unscored verdicts could bring the raw rate to 50 % or past it; never bold."
        )
    unmeasured = sum(each.unmeasured for each in cells)
    if models and unmeasured:
        total = sum(len(each.judged.points) for each in cells)
        notes.append(
            f"{unmeasured} of {total} verdicts are on a response without surprisal, such as an empty one: they are "
            "left out of the controls for it."
        )
    return notes


def rate_entry(rate: Controlled, is_open: bool) -> Entry:
    """A rate such as 58.3 [52.1, 64.5], ‡ for an extrapolated one, or n/a; `?` marks one of an open cell."""
    if rate.extrapolated or rate.reason:
        return Entry("‡" if rate.extrapolated else "n/a")
    text = f"{format_percent(rate.rate)} {format_interval(rate.lo, rate.hi)}"
    if is_open:
        return Entry(f"{text} {OPEN}")
    return Entry(text, interval_excludes(rate.lo, rate.hi, 50, rate.prompts))


def bins_table(cells: Sequence[JudgedCell], column: str, models: Sequence[str] = ()) -> Table:
    """Win rate by fifths of a difference, of one scale and judge: families pooled, regime and method in rows."""
    rows = []
    for regime in sort_names((each.cell.regime for each in cells), REGIMES):
        own = sorted((each for each in cells if each.cell.regime == regime), key=lambda e: method_key(e.cell))
        for method in dict.fromkeys(each.cell.method for each in own):
            pooled = [each for each in own if each.cell.method == method]
            identical = np.concatenate([each.identical for each in pooled])
            rows.append([regime, method, *binned(pooled, column), f"{100 * identical.mean():.0f}"])
    first = cells[0].cell
    pooled_models = (
        f"Measured under {' or '.join(models)} and pooled, although the units of two models differ."
    )
    return Table(
        name=table_name(f"bins-{column}", first),
        title=f"Win rate (%) by difference in {column}, {table_subject(first)}",
        header=["regime", "reward", *(f"fifth {i}" for i in range(1, BINS + 1)), "identical (%)"],
        groups=group_rows(rows),
        notes=[
            f"Verdicts on differing responses in fifths of the difference in {column}, policy minus start, "
            f"{UNITS[column]}: its mean in the fifth, then the win rate with its 95 % CI (logit scale, robust to "
            "clusters of prompts; [n/a] where all verdicts or all prompts agree, or below 10 prompts). All families "
            "and seeds of a reward together. Equal differences share a fifth, so there can be fewer fifths.",
            "Identical: verdicts on identical responses, in no fifth.",
            *([pooled_models] if column == "surprisal" and len(models) > 1 else []),
        ],
    )


def binned(cells: Sequence[JudgedCell], column: str) -> list[str]:
    """Each fifth's mean difference and win rate, such as `-12.4: 58.3 [52.1, 64.5]`; a dash for a missing fifth."""
    differing = [~each.identical & ~np.isnan(each.differences[column]) for each in cells]

    def pooled(arrays: Iterable[NDArray[np.float64] | Codes]) -> Floats:
        return np.concatenate([array[rows] for array, rows in zip(arrays, differing, strict=True)])

    values = pooled(each.differences[column] for each in cells)
    won, prompts = pooled(each.points for each in cells), pooled(each.prompts for each in cells)
    texts = []
    if len(values):
        edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
        fifths = np.searchsorted(edges, values, side="left")
        for fifth in np.unique(fifths):
            own = fifths == fifth
            rate = controlled_rate(won[own], {}, prompts[own].astype(np.intp))
            mean = f"{values[own].mean():+.{DECIMALS[column]}f}"
            texts.append(f"{mean}: {100 * won[own].mean():.1f} {format_interval(rate.lo, rate.hi)}")
    return texts + ["-"] * (BINS - len(texts))


def truth_table(cells: Sequence[ControlledCell]) -> Table | None:
    """Judges x controls: distance from the oracle's win rate by regime; None where the truth is unknown."""
    known = known_truth([each.judged for each in cells])
    if not known:
        return None
    total = sum(len(each.judged.points) for each in cells if each.judged.cell.judge == ORACLE)
    left_out = total - sum(len(each.points) for each in known)
    found = judge_errors(known)
    rows = []
    for regime in sort_names((each.cell.regime for each in known), REGIMES):
        for extrapolated in (False, True):
            own = [e for e in found if e.regime == regime and e.extrapolated == extrapolated]
            for judge in dict.fromkeys(e.judge for e in own):
                entries = error_texts([e for e in own if e.judge == judge])
                rows.append([f"{regime} ‡" if extrapolated else regime, judge, *entries])
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


def error_texts(found: Sequence[Errors]) -> list[str]:
    """The number of cells with all rates, then each column's mean and mean absolute error: `+3.1 (3.4)`."""
    errors = np.array([list(e.by_control.values()) for e in found])  # (cells, controls)
    complete = errors[~np.isnan(errors).any(axis=1)]
    count = f"{len(complete)} of {len(found)}" if len(complete) < len(found) else str(len(found))
    return [count, *(f"{c.mean():+.1f} ({np.abs(c).mean():.1f})" if len(c) else "-" for c in complete.T)]
