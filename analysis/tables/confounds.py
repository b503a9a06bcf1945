"""Win rates controlled for two possible judge biases: length, and text that a language model finds likely.

Per cell, the judge's points are regressed on the pair's difference (policy minus start) in length, in surprisal under
an independent language model, or in both. The controlled rate is the prediction for a pair without a difference. Length
is in characters and enters in AlpacaEval 2.0's form, tanh(difference / standard deviation) (Dubois et al. 2024, arXiv
2404.04475). Its full model also has a difficulty per instruction and gamed baselines as regularisation, which exist
only for its own 805 instructions and baseline. Ours is its formula without them (`length_controlled_minimal` in
alpaca_eval), unpenalised.

Simulated judges with a known bias show how far a control is from the truth. Such a judge prefers the policy's response
with probability expit(q dq + l dl + s ds), where dq is the true difference in quality (-1 to 1), dl that in length
(characters), ds that in surprisal (nats per token), policy minus start, and q, l, s are its weights. Each verdict is
drawn independently, in either order; identical responses tie. The draws add noise towards 50 % and no position bias:
the judge `truth` has the noise alone, and the additional distance of another judge is its bias. A control should
remove the bias and nothing else; its effect on the oracle's verdicts, which have no bias, is an error of the control.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan
from operator import attrgetter

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from analysis.records.names import method_names, sort_names
from analysis.stats.intervals import SEED, Floats
from analysis.stats.logistic import Codes, Controlled, controlled_rate
from analysis.stats.position_bias import half_scored
from analysis.tables.cells import CELL, Cell
from cme.records import Generation, RunRecord, judge_name, points, scores

CONTROLS: dict[str, dict[str, str]] = {
    "length": {"tanh length": "length"},
    "length, linear": {"length": "length"},
    "surprisal": {"surprisal": "surprisal"},
    "both": {"tanh length": "length", "surprisal": "surprisal"},
}
"""For each control, the covariates of the regression by the difference that each is computed from."""
RAW = "raw"
ORACLE = "oracle"
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


@dataclass(frozen=True, eq=False)
class ControlledCell:
    """A cell's verdicts that count in its win rate (N,) and its win rates under every control.

    `points` are the policy's. `differences`, policy minus start, are `length` in characters, `surprisal` in nats per
    token (NaN where unmeasured) and, under the oracle, `quality`. `identical`: the two responses are the same text.
    `measured_by` is the language model that measured the surprisal, empty if none did. `method` is the raw name of the
    cell's method. `simulated`: the points are those of a simulated judge, and `cell` stays the oracle's.
    """

    cell: Cell
    method: str
    measured_by: NDArray[np.str_]
    points: Floats
    prompts: Codes
    differences: Mapping[str, Floats]
    identical: NDArray[np.bool_]
    simulated: bool = False

    @property
    def scale(self) -> str:
        """The scale of the cell."""
        return self.cell.scale

    @cached_property
    def models(self) -> list[str]:
        """The language models that measured the surprisal."""
        return sort_names(str(model) for model in np.unique(self.measured_by) if model)

    @property
    def unmeasured(self) -> int:
        """Number of verdicts without surprisal, which the controls for it leave out."""
        return int(np.isnan(self.differences["surprisal"]).sum())

    @cached_property
    def rates(self) -> dict[str, Controlled]:
        """The win rate, raw as in the cell and under each control."""
        win = self.cell.win
        raw = Controlled(win.rate, win.lo, win.hi, prompts=win.scored)
        if self.simulated:
            raw = controlled_rate(self.points, {}, self.prompts)
        return {RAW: raw} | {control: self.rate_under(control) for control in CONTROLS}

    def rate_under(self, control: str) -> Controlled:
        """The win rate under one control, over the verdicts whose differences are known."""
        columns = {name: self.covariate(column) for name, column in CONTROLS[control].items()}
        known = ~np.isnan(np.sum(list(columns.values()), axis=0))
        if not known.any():
            return Controlled(nan, nan, nan, reason="surprisal was not measured")
        columns = {name: values[known] for name, values in columns.items()}
        return controlled_rate(self.points[known], columns, self.prompts[known])

    def covariate(self, difference: str) -> Floats:
        """A difference as the controls use it: surprisal in standard deviations within each language model.

        The nats of two models are not comparable, while no difference is the same under both.
        """
        values = self.differences[difference]
        if difference != "surprisal" or len(self.models) < 2:
            return values
        of_model = pd.Series(values).groupby(self.measured_by)
        spread = of_model.transform("std").to_numpy()
        return np.where(spread > 0, values / np.where(spread > 0, spread, 1), values)


def controlled_cells(records: Sequence[RunRecord], cells: Sequence[Cell]) -> list[ControlledCell]:
    """The verdicts of each cell with their pairs' differences; cells without a verdict that counts are left out."""
    by_id = {record.run_id: record for record in records}
    methods = method_names(records, raw=True)
    codes: dict[str, int] = {}
    controlled = []
    for cell in cells:
        runs = [by_id[run] for run in cell.runs]
        rows = [row for run in runs for row in verdict_rows(run, cell.judge, codes)]
        pairs, first, *columns = map(np.array, zip(*rows, strict=True))
        counted = ~np.isnan(columns[1]) & ~half_scored(columns[1], first, pairs)
        if not counted.any():
            continue
        prompts, won, length, surprisal, quality, identical, models = (column[counted] for column in columns)
        differences = {"length": length, "surprisal": surprisal, "quality": quality}
        method = methods[cell.runs[0]]
        controlled.append(ControlledCell(cell, method, models, won, prompts, differences, identical))
    return controlled


def verdict_rows(
    record: RunRecord, judge: str, codes: dict[str, int]
) -> Iterator[tuple[str | float | bool, ...]]:
    """Rows of a judge's verdicts.

    The columns are pair, whether the policy was shown first, prompt, points, the differences in length, surprisal and
    quality, whether the responses are identical, and the language model. `codes` numbers the prompts.
    """
    pairs, prompts = {pair.prompt_id: pair for pair in record.pairs}, record.prompt_names

    def surprisal(generation: Generation) -> float:
        return nan if generation.surprisal is None else generation.surprisal

    for of_judge, verdict in record.judgements():
        if judge_name(of_judge, verdict) != judge:
            continue
        start, policy = pairs[verdict.prompt_id].start, pairs[verdict.prompt_id].policy
        before, after = scores(verdict) if judge == ORACLE else (nan, nan)
        yield (
            f"{record.run_id}\n{verdict.prompt_id}",
            verdict.policy_first,
            codes.setdefault(prompts[verdict.prompt_id], len(codes)),
            points(verdict),
            float(len(policy.response) - len(start.response)),
            surprisal(policy) - surprisal(start),
            after - before,
            policy.response == start.response,
            record.language_model or "",
        )


def known_truth(cells: Sequence[ControlledCell]) -> list[ControlledCell]:
    """The oracle's cells, with the verdicts whose differences in quality, length and surprisal are all known."""
    complete = []
    for each in cells:
        known = ~np.isnan(sum(each.differences.values()))
        if each.cell.judge == ORACLE and known.any():
            complete.append(
                replace(
                    each,
                    measured_by=each.measured_by[known],
                    points=each.points[known],
                    prompts=each.prompts[known],
                    differences={name: values[known] for name, values in each.differences.items()},
                    identical=each.identical[known],
                )
            )
    return complete


def simulate_judge(oracle: ControlledCell, weights: Mapping[str, float], seed: int = SEED) -> ControlledCell:
    """The same pairs with a simulated judge's verdicts. Each cell has its own draws, the same for every judge."""
    logits = sum(weight * oracle.differences[name] for name, weight in weights.items())
    cell = oracle.cell
    name = " ".join((cell.scale, cell.family, cell.regime, cell.reward, cell.verifier, oracle.method))
    drawn = np.random.default_rng([seed, *name.encode()]).random(len(oracle.points))
    won: Floats = (drawn < expit(np.asarray(logits))).astype(float)
    return replace(oracle, points=np.where(oracle.identical, 0.5, won), simulated=True)


def judge_errors(oracle_cells: Sequence[ControlledCell]) -> pd.DataFrame:
    """One row per cell and judge (the oracle and every simulated one): rate minus the oracle's raw win rate, in points.

    A column for the raw rate and one per control, NaN where it has no rate. `extrapolated`: the rate of at least one
    control would be extrapolated.
    """
    rows = []
    for each in oracle_cells:
        truth = 100 * float(each.points.mean())
        judged = {ORACLE: each} | {judge: simulate_judge(each, weights) for judge, weights in JUDGES.items()}
        for judge, cell in judged.items():
            rates = {control: cell.rate_under(control) for control in TESTED}
            rows.append(
                {
                    "regime": each.cell.regime,
                    "judge": judge,
                    "extrapolated": any(rate.extrapolated for rate in rates.values()),
                    RAW: 100 * float(cell.points.mean()) - truth,
                    **{control: rate.rate - truth for control, rate in rates.items()},
                }
            )
    return pd.DataFrame(rows)


def describe_judge(judge: str) -> str:
    """A simulated judge's weights in words."""
    units = {"quality": "unit of quality", "length": "character", "surprisal": "nat/token of surprisal"}
    weights = (f"{weight:+g} per {units[name]}" for name, weight in JUDGES[judge].items())
    return f"{judge}: {', '.join(weights)}"


def confound_frame(cells: Sequence[ControlledCell]) -> pd.DataFrame:
    """One row per cell and control, numbers unrounded, rates in percent; extrapolated rates are marked."""
    identity = attrgetter(*CELL)
    return pd.DataFrame(
        [
            dict(zip(CELL, identity(each.cell), strict=True))
            | {
                "control": control,
                "win_rate": rate.rate,
                "lo": rate.lo,
                "hi": rate.hi,
                "extrapolated": rate.extrapolated,
                "reason": rate.reason,
                "verdicts": len(each.points),
                "without_surprisal": each.unmeasured,
                "identical": each.identical.mean(),
            }
            for each in cells
            for control, rate in each.rates.items()
        ]
    )
