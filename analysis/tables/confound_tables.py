"""Tables of judge bias: controlled win rates, win rates by difference, and how far each control is from the truth."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from analysis.records.names import REGIMES, order_key, regime_name, sort_names
from analysis.stats.intervals import Floats, interval_excludes
from analysis.stats.logistic import Controlled, controlled_rate
from analysis.tables.confounds import (
    CONTROLS,
    JUDGES,
    ORACLE,
    RAW,
    TESTED,
    ControlledCell,
    describe_judge,
    judge_errors,
    known_truth,
)
from analysis.tables.render import Entry, Table, format_interval, format_percent, group_rows
from analysis.tables.win_rates import (
    NEVER_BOLD,
    OPEN,
    method_key,
    names_of,
    place_heads,
    table_name,
    table_subject,
)

UNITS = {"length": "characters", "surprisal": "nats/token"}
DECIMALS = {"length": 1, "surprisal": 2}
BINS = 5


def confound_tables(cells: Sequence[ControlledCell]) -> list[Table]:
    """All tables of one scale: for each judge the controlled rates and the win rates by difference, then the errors."""
    models = sort_names(model for each in cells for model in each.models)
    tables = []
    for judge in sort_names(each.cell.judge for each in cells):
        of_judge = [each for each in cells if each.cell.judge == judge]
        tables.append(controlled_table(of_judge, models))
        tables += [bins_table(of_judge, name, models) for name in UNITS if name != "surprisal" or models]
    truth = truth_table(cells)
    return tables if truth is None else [*tables, truth]


def controlled_table(cells: Sequence[ControlledCell], models: Sequence[str]) -> Table:
    """Win rates of one scale and judge by control: family, regime and method in rows.

    `models` are the language models that measured the surprisal; empty where it was not measured.
    """
    families = list(dict.fromkeys(each.cell.family for each in cells))

    def order(each: ControlledCell) -> tuple[Any, ...]:
        cell = each.cell
        return families.index(cell.family), order_key(cell.regime, REGIMES), method_key(cell)

    rows: list[Sequence[Entry | str]] = []
    for each in sorted(cells, key=order):
        rates = [rate_entry(rate, each.cell.win.open) for rate in each.rates.values()]
        rows.append([*names_of(each.cell), each.cell.method, *rates, f"{100 * each.identical.mean():.0f}"])
    return Table(
        name=table_name("controlled", cells[0].cell),
        title=f"Win rate at no difference in length or surprisal (%), {table_subject(cells[0].cell)}",
        header=[*place_heads(cells[0].cell), RAW, *CONTROLS, "identical (%)"],
        groups=group_rows(rows),
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
        "token, difference / its standard deviation, in a cell of several such models that under each. Both: length "
        "and surprisal together.",
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
    if any(each.cell.win.open for each in cells):
        notes.append(
            f"{OPEN}: the unscored verdicts could bring the raw rate to 50 % or past it; never bold."
        )
    unmeasured = sum(each.unmeasured for each in cells)
    if models and unmeasured:
        total = sum(len(each.points) for each in cells)
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
    return Entry(text, interval_excludes(rate.lo, rate.hi, 50, rate.prompts, decimals=1))


def bins_table(cells: Sequence[ControlledCell], column: str, models: Sequence[str] = ()) -> Table:
    """Win rate by fifths of a difference, of one scale and judge: families pooled, regime and method in rows."""
    groups: dict[tuple[str, str], list[ControlledCell]] = {}
    for each in sorted(cells, key=lambda each: (order_key(each.cell.regime, REGIMES), method_key(each.cell))):
        groups.setdefault((names_of(each.cell)[1], each.cell.method), []).append(each)
    rows = []
    for place, of_method in groups.items():
        identical = np.concatenate([each.identical for each in of_method])
        rows.append([*place, *fifths_texts(of_method, column), f"{100 * identical.mean():.0f}"])
    pooled_models = (
        f"Measured under {' or '.join(models)} and pooled, although the units of two models differ."
    )
    return Table(
        name=table_name(f"bins-{column}", cells[0].cell),
        title=f"Win rate (%) by difference in {column}, {table_subject(cells[0].cell)}",
        header=[
            *place_heads(cells[0].cell)[1:],
            *(f"fifth {i}" for i in range(1, BINS + 1)),
            "identical (%)",
        ],
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


def fifths_texts(cells: Sequence[ControlledCell], column: str) -> list[str]:
    """Each fifth's mean difference and win rate, such as `-12.4: 58.3 [52.1, 64.5]`; a dash for a missing fifth."""
    differing = [~each.identical & ~np.isnan(each.differences[column]) for each in cells]

    def pool(values: Callable[[ControlledCell], Any]) -> Any:
        return np.concatenate([values(each)[rows] for each, rows in zip(cells, differing, strict=True)])

    values = pool(lambda each: each.differences[column])
    won, prompts = pool(lambda each: each.points), pool(lambda each: each.prompts)
    texts = []
    if len(values):
        edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
        fifths = np.searchsorted(edges, values, side="left")
        for fifth in np.unique(fifths):
            rows = fifths == fifth
            rate = controlled_rate(won[rows], {}, prompts[rows])
            mean = f"{values[rows].mean():+.{DECIMALS[column]}f}"
            texts.append(f"{mean}: {100 * won[rows].mean():.1f} {format_interval(rate.lo, rate.hi)}")
    return texts + ["-"] * (BINS - len(texts))


def truth_table(cells: Sequence[ControlledCell]) -> Table | None:
    """Judges x controls: distance from the oracle's win rate by regime; None where the truth is unknown."""
    known = known_truth(cells)
    if not known:
        return None
    total = sum(len(each.points) for each in cells if each.cell.judge == ORACLE)
    left_out = total - sum(len(each.points) for each in known)
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
