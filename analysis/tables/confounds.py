"""Win rates controlled for what a judge may like beside quality: length, and text that a language model finds likely.

Per cell, the judge's points are regressed on the pair's difference (policy minus start) in length, in surprisal under
an independent language model, or in both; the controlled rate is what the regression gives a pair without any
difference. Length is in characters and enters in AlpacaEval 2.0's form, tanh(difference / standard deviation)
(Dubois et al. 2024, arXiv 2404.04475). Its full model also has a difficulty for each instruction and gamed baselines
as regularisation: both come from many models' outputs on its 805 instructions against its one baseline, and exist for
no others. Ours is its formula without them (`length_controlled_minimal` in alpaca_eval), unpenalised.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.frames import judge_name, prompt_names
from analysis.records.names import REGIMES, REWARDS, natural_key, order_key, sort_names
from analysis.stats.logistic import Codes, Controlled, controlled_rate
from analysis.stats.metrics import Floats, half_scored, interval_excludes
from analysis.tables.cells import CELL, Cell
from analysis.tables.render import Entry, Table
from analysis.tables.win_rates import (
    NEVER_BOLD,
    OPEN,
    format_interval,
    format_percent,
    method_key,
    table_name,
)
from cme.records import Generation, RunRecord, majority_verdicts, points, scores

CONTROLS: dict[str, dict[str, str]] = {
    "length": {"tanh length": "length"},
    "length, linear": {"length": "length"},
    "surprisal": {"surprisal": "surprisal"},
    "both": {"tanh length": "length", "surprisal": "surprisal"},
}
"""Controls: covariates of the regression, by the difference that each is made of."""
RAW = "raw"
UNITS = {"length": "characters", "surprisal": "nats/token"}
DECIMALS = {"length": 1, "surprisal": 2}
BINS = 5


@dataclass(frozen=True)
class JudgedCell:
    """A cell's verdicts that count in its win rate (N,): the policy's points, the prompt, and the pair's differences.

    `differences`, policy minus start, are `length` in characters, `surprisal` in nats a token (NaN where unmeasured)
    and, where the judge is the oracle, `quality`. `identical` says that the two responses are the same text.
    `unmeasured` is why there is no control for surprisal where there is none.
    """

    cell: Cell
    points: Floats
    prompts: Codes
    differences: Mapping[str, Floats]
    identical: NDArray[np.bool_]
    unmeasured: str = "surprisal was not measured"


@dataclass(frozen=True)
class ControlledCell:
    """A cell's win rates, `raw` as in the cell and then by control.

    `unmeasured` counts the verdicts without surprisal, which are left out of the controls for it.
    """

    judged: JudgedCell
    rates: Mapping[str, Controlled]
    unmeasured: int


def controlled_cells(records: Sequence[RunRecord], cells: Sequence[Cell]) -> list[ControlledCell]:
    """The win rates of each cell, raw and under every control; cells without a scored verdict are left out."""
    return [controlled_cell(judged) for judged in judged_cells(records, cells)]


def judged_cells(records: Sequence[RunRecord], cells: Sequence[Cell]) -> list[JudgedCell]:
    """The verdicts of each cell with their pairs' differences, cells without any that counts left out.

    Surprisals under different language models are not one quantity: a cell whose runs have several gets none.
    """
    by_id = {record.run_id: record for record in records}
    codes: dict[str, int] = {}
    found = []
    for cell in cells:
        runs = [by_id[run] for run in cell.runs]
        rows = [row for run in runs for row in rows_of(run, cell.judge, codes)]
        names, first, *columns = map(np.array, zip(*rows, strict=True))
        counted = ~np.isnan(columns[1]) & ~half_scored(columns[1], first, names)
        if not counted.any():
            continue
        prompts, won, length, surprisal, quality, identical = (column[counted] for column in columns)
        differences = {"length": length, "surprisal": surprisal, "quality": quality}
        judged = JudgedCell(cell, won, prompts, differences, identical)
        models = language_models(runs)
        found.append(judged if len(models) < 2 else without_surprisal(judged, models))
    return found


def without_surprisal(judged: JudgedCell, models: Sequence[str]) -> JudgedCell:
    """The cell without the surprisals that several models measured."""
    why = f"the runs' surprisal was measured under different language models ({', '.join(models)})"
    nowhere = np.full(len(judged.points), nan)
    return replace(judged, differences={**judged.differences, "surprisal": nowhere}, unmeasured=why)


def rows_of(record: RunRecord, judge: str, codes: dict[str, int]) -> Iterable[tuple[str | float | bool, ...]]:
    """A judge's verdicts: pair, whether the policy was first, prompt, points, three differences, and if identical.

    The differences are those in length, surprisal and quality.
    """
    pairs, prompts = {pair.prompt_id: pair for pair in record.pairs}, prompt_names(record)
    for verdict in [*record.verdicts, *majority_verdicts(record.verdicts)]:
        if judge_name(record, verdict) != judge:
            continue
        start, policy = pairs[verdict.prompt_id].start, pairs[verdict.prompt_id].policy
        before, after = scores(verdict) if judge == "oracle" else (nan, nan)
        yield (
            f"{record.run_id}\n{verdict.prompt_id}",
            verdict.policy_first,
            codes.setdefault(prompts[verdict.prompt_id], len(codes)),
            points(verdict),
            float(len(policy.response) - len(start.response)),
            surprisal_of(policy) - surprisal_of(start),
            after - before,
            policy.response == start.response,
        )


def surprisal_of(generation: Generation) -> float:
    """A response's surprisal, NaN where it has none."""
    return nan if generation.surprisal is None else generation.surprisal


def controlled_cell(judged: JudgedCell) -> ControlledCell:
    """One cell's win rate, raw and under every control."""
    win = judged.cell.win
    rates = {RAW: Controlled(win.rate, win.lo, win.hi, prompts=win.scored)} | {
        name: controlled(judged, name) for name in CONTROLS
    }
    return ControlledCell(judged, rates, int(np.isnan(judged.differences["surprisal"]).sum()))


def controlled(judged: JudgedCell, control: str) -> Controlled:
    """One cell's win rate under one control, over the verdicts whose differences are known."""
    columns = {name: judged.differences[column] for name, column in CONTROLS[control].items()}
    known = ~np.isnan(np.sum(list(columns.values()), axis=0))
    if not known.any():
        return Controlled(nan, nan, nan, reason=judged.unmeasured)
    columns = {name: values[known] for name, values in columns.items()}
    return controlled_rate(judged.points[known], columns, judged.prompts[known])


def confound_frame(cells: Iterable[ControlledCell]) -> pd.DataFrame:
    """One row a cell and control, numbers unrounded, rates in percent; extrapolated rates are in it, marked."""
    return pd.DataFrame(
        [
            {
                **{field: getattr(each.judged.cell, field) for field in CELL},
                "control": control,
                "win_rate": rate.rate,
                "lo": rate.lo,
                "hi": rate.hi,
                "extrapolated": rate.extrapolated,
                "reason": rate.reason,
                "verdicts": len(each.judged.points),
                "without_surprisal": each.unmeasured,
                "identical": each.judged.identical.mean(),
            }
            for each in cells
            for control, rate in each.rates.items()
        ]
    )


def confound_tables(cells: Sequence[ControlledCell], models: Sequence[str]) -> list[Table]:
    """Every table of one scale: for each judge the controlled rates and the win rates by difference.

    `models` are the language models that measured the surprisal, none where it was not measured.
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
    groups = []
    for family in dict.fromkeys(each.judged.cell.family for each in cells):
        rows: list[list[Entry]] = []
        for each in sorted((c for c in cells if c.judged.cell.family == family), key=row_key):
            cell = each.judged.cell
            entries = [rate_entry(rate, cell.win.open) for rate in each.rates.values()]
            same = Entry(f"{100 * each.judged.identical.mean():.0f}")
            first = Entry("" if rows else family)
            rows.append([first, Entry(cell.regime), Entry(cell.method), *entries, same])
        groups.append(rows)
    first_cell = cells[0].judged.cell
    return Table(
        name=table_name("controlled", first_cell),
        title=f"Win rate at no difference in length or surprisal (%), {subject(first_cell)}",
        header=["family", "regime", "reward", RAW, *CONTROLS, "identical (%)"],
        groups=groups,
        notes=controlled_notes(cells, models),
    )


def controlled_notes(cells: Sequence[ControlledCell], models: Sequence[str]) -> list[str]:
    """How to read the table of controlled rates."""
    measured_by = f"under {' or '.join(models)}" if models else "under an independent language model"
    notes = [
        "Raw: as in the table of win rates. The others: 100 / (1 + exp(-intercept)) of a logistic regression of the "
        "points (1, 0.5, 0) on the difference, policy minus start, so the rate of a pair without a difference. In "
        f"brackets: 95 % intervals, of the intercept, robust to clusters of prompts. Bold: excludes 50 %, "
        f"{NEVER_BOLD} prompts.",
        "Length: in characters, tanh(difference / its standard deviation), AlpacaEval 2.0's form without the "
        "instruction difficulties and gamed baselines that its full model takes from many models' outputs on its "
        f"own prompts. Length, linear: without tanh. Surprisal: minus mean log-likelihood {measured_by}, nats a "
        "token, difference / standard deviation. Both: length and surprisal together.",
        "A control takes out whatever goes with its covariate, quality too: where better answers are shorter or "
        "likelier, it takes out part of what was really gained.",
        "Identical: verdicts on two equal responses. They have no difference and tie, and hold a controlled rate "
        "towards 50 %.",
    ]
    rates = [rate for each in cells for rate in each.rates.values()]
    if any(rate.extrapolated for rate in rates):
        notes.append(
            "‡: not to be had; fewer than 2.5 % of the pairs lie at no difference or beyond it, so a rate there "
            "would rest on the form of the regression and not on pairs."
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
    """A rate such as 58.3 [52.1, 64.5], ‡ for one that would be extrapolated, or n/a; `?` for one of an open cell."""
    if rate.extrapolated or rate.reason:
        return Entry("‡" if rate.extrapolated else "n/a")
    text = f"{format_percent(rate.rate)} {format_interval(rate.lo, rate.hi)}"
    return (
        Entry(f"{text} {OPEN}")
        if is_open
        else Entry(text, interval_excludes(rate.lo, rate.hi, 50, rate.prompts))
    )


def bins_table(cells: Sequence[JudgedCell], column: str, models: Sequence[str] = ()) -> Table:
    """Win rate by fifths of a difference, of one scale and judge: families pooled, regime and method in rows."""
    groups = []
    for regime in sort_names((each.cell.regime for each in cells), REGIMES):
        rows: list[list[Entry]] = []
        own = sorted((each for each in cells if each.cell.regime == regime), key=lambda e: method_key(e.cell))
        for method in dict.fromkeys(each.cell.method for each in own):
            alike = [each for each in own if each.cell.method == method]
            same = np.concatenate([each.identical for each in alike])
            texts = [*binned(alike, column), f"{100 * same.mean():.0f}"]
            rows.append([Entry("" if rows else regime), Entry(method), *map(Entry, texts)])
        groups.append(rows)
    first = cells[0].cell
    pooled_models = (
        f"Measured under {' or '.join(models)}, and here pooled as it is: the units of two models differ."
    )
    return Table(
        name=table_name(f"bins-{column}", first),
        title=f"Win rate (%) by difference in {column}, {subject(first)}",
        header=["regime", "reward", *(f"fifth {i}" for i in range(1, BINS + 1)), "identical (%)"],
        groups=groups,
        notes=[
            f"Verdicts on differing responses in fifths of the difference in {column}, policy minus start, "
            f"{UNITS[column]}: its mean in the fifth, then the win rate with its 95 % interval (logit scale, robust "
            "to clusters of prompts; [n/a] where all verdicts or prompts are alike, or prompts fewer than 10). All "
            "families and seeds of a reward together. Equal differences share a fifth, so there can be fewer.",
            "Identical: verdicts on equal responses, in no fifth.",
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


def language_models(records: Sequence[RunRecord]) -> list[str]:
    """The models that measured the surprisal of some runs."""
    return sort_names(record.language_model for record in records if record.language_model is not None)


def row_key(each: ControlledCell) -> tuple[Any, ...]:
    """Sort key within a family: regime, reward, method."""
    cell = each.judged.cell
    return order_key(cell.regime, REGIMES), order_key(cell.reward, REWARDS), natural_key(cell.method)


def subject(cell: Cell) -> str:
    """The scale and judge of a table."""
    return f"scale: {cell.scale}, judge: {cell.judge}"
