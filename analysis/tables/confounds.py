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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from analysis.records.frames import judge_name, prompt_names
from analysis.records.names import method_names, sort_names
from analysis.stats.intervals import SEED, Floats
from analysis.stats.logistic import Codes, Controlled, controlled_rate
from analysis.stats.position_bias import half_scored
from analysis.tables.cells import Cell
from cme.records import Generation, RunRecord, majority_verdicts, points, scores

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


@dataclass(frozen=True)
class JudgedCell:
    """A cell's verdicts that count in its win rate (N,): the policy's points, the prompt and the pair's differences.

    `differences`, policy minus start, are `length` in characters, `surprisal` in nats per token (NaN where unmeasured)
    and, under the oracle, `quality`. `identical`: the two responses are the same text. `unmeasured`: the reason why
    there is no control for surprisal, where there is none. `method` is the raw name of the cell's method.
    """

    cell: Cell
    method: str
    points: Floats
    prompts: Codes
    differences: Mapping[str, Floats]
    identical: NDArray[np.bool_]
    unmeasured: str = "surprisal was not measured"


@dataclass(frozen=True)
class ControlledCell:
    """A cell's win rates: `raw` as in the cell, and one per control.

    `unmeasured` counts the verdicts without surprisal, which are left out of the controls for it.
    """

    judged: JudgedCell
    rates: Mapping[str, Controlled]
    unmeasured: int


@dataclass(frozen=True)
class Errors:
    """A judge's rate minus the oracle's raw win rate in one cell, in points, raw and under each control.

    NaN where a control has no rate. `extrapolated`: the rate of at least one control would be extrapolated.
    """

    regime: str
    judge: str
    by_control: Mapping[str, float]
    extrapolated: bool


def controlled_cells(records: Sequence[RunRecord], cells: Sequence[Cell]) -> list[ControlledCell]:
    """The win rates of each cell, raw and under every control; cells without a scored verdict are left out."""
    return [controlled_cell(judged) for judged in judged_cells(records, cells)]


def judged_cells(records: Sequence[RunRecord], cells: Sequence[Cell]) -> list[JudgedCell]:
    """The verdicts of each cell with their pairs' differences; cells without a verdict that counts are left out.

    Surprisals under different language models are not comparable: a cell whose runs have several gets none.
    """
    by_id = {record.run_id: record for record in records}
    methods = method_names(records, raw=True)
    codes: dict[str, int] = {}
    found = []
    for cell in cells:
        runs = [by_id[run] for run in cell.runs]
        rows = [row for run in runs for row in verdict_rows(run, cell.judge, codes)]
        pairs, first, *columns = map(np.array, zip(*rows, strict=True))
        counted = ~np.isnan(columns[1]) & ~half_scored(columns[1], first, pairs)
        if not counted.any():
            continue
        prompts, won, length, surprisal, quality, identical = (column[counted] for column in columns)
        differences = {"length": length, "surprisal": surprisal, "quality": quality}
        judged = JudgedCell(cell, methods[cell.runs[0]], won, prompts, differences, identical)
        models = language_models(runs)
        if len(models) > 1:
            reason = f"the runs' surprisal was measured under different language models ({', '.join(models)})"
            unknown = {**judged.differences, "surprisal": np.full(len(won), nan)}
            judged = replace(judged, differences=unknown, unmeasured=reason)
        found.append(judged)
    return found


def verdict_rows(
    record: RunRecord, judge: str, codes: dict[str, int]
) -> Iterable[tuple[str | float | bool, ...]]:
    """Rows of a judge's verdicts.

    The columns are pair, whether the policy was shown first, prompt, points, the differences in length, surprisal and
    quality, and whether the responses are identical. `codes` numbers the prompts.
    """
    pairs, prompts = {pair.prompt_id: pair for pair in record.pairs}, prompt_names(record)

    def surprisal(generation: Generation) -> float:
        return nan if generation.surprisal is None else generation.surprisal

    for verdict in [*record.verdicts, *majority_verdicts(record.verdicts)]:
        if judge_name(record, verdict) != judge:
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
        )


def language_models(records: Sequence[RunRecord]) -> list[str]:
    """The models that measured the surprisal of some runs."""
    return sort_names(record.language_model for record in records if record.language_model is not None)


def controlled_cell(judged: JudgedCell) -> ControlledCell:
    """One cell's win rate, raw and under every control."""
    win = judged.cell.win
    rates = {RAW: Controlled(win.rate, win.lo, win.hi, prompts=win.scored)} | {
        name: control_rate(judged, name) for name in CONTROLS
    }
    return ControlledCell(judged, rates, int(np.isnan(judged.differences["surprisal"]).sum()))


def control_rate(judged: JudgedCell, control: str) -> Controlled:
    """One cell's win rate under one control, over the verdicts whose differences are known."""
    columns = {name: judged.differences[column] for name, column in CONTROLS[control].items()}
    known = ~np.isnan(np.sum(list(columns.values()), axis=0))
    if not known.any():
        return Controlled(nan, nan, nan, reason=judged.unmeasured)
    columns = {name: values[known] for name, values in columns.items()}
    return controlled_rate(judged.points[known], columns, judged.prompts[known])


def known_truth(cells: Sequence[JudgedCell]) -> list[JudgedCell]:
    """The oracle's cells, with the verdicts whose differences in quality, length and surprisal are all known."""
    found = []
    for each in cells:
        known = ~np.isnan(sum(each.differences[name] for name in ("quality", "length", "surprisal")))
        if each.cell.judge == ORACLE and known.any():
            differences = {name: values[known] for name, values in each.differences.items()}
            kept = (each.points[known], each.prompts[known], differences, each.identical[known])
            found.append(JudgedCell(each.cell, each.method, *kept))
    return found


def simulate_judge(judged: JudgedCell, weights: Mapping[str, float], seed: int = SEED) -> JudgedCell:
    """The same pairs with a simulated judge's verdicts. Each cell has its own draws, the same for every judge."""
    logits = sum(weight * judged.differences[name] for name, weight in weights.items())
    cell = judged.cell
    name = " ".join((cell.scale, cell.family, cell.regime, cell.reward, cell.verifier, judged.method))
    drawn = np.random.default_rng([seed, *name.encode()]).random(len(judged.points))
    won: Floats = (drawn < expit(np.asarray(logits))).astype(float)
    return replace(judged, points=np.where(judged.identical, 0.5, won))


def simulated_cells(cells: Sequence[JudgedCell], judge: str) -> list[ControlledCell]:
    """The cells under a simulated judge, raw and with every control; their `Cell` stays the oracle's."""
    found = []
    for each in cells:
        simulated = controlled_cell(simulate_judge(each, JUDGES[judge]))
        raw = controlled_rate(simulated.judged.points, {}, simulated.judged.prompts)
        found.append(replace(simulated, rates={**simulated.rates, RAW: raw}))
    return found


def judge_errors(cells: Sequence[JudgedCell]) -> list[Errors]:
    """Errors of the oracle and of every simulated judge in every cell. `cells` are the oracle's."""
    found = []
    for each in cells:
        truth = 100 * float(each.points.mean())
        judged = {ORACLE: each} | {judge: simulate_judge(each, weights) for judge, weights in JUDGES.items()}
        for judge, own in judged.items():
            rates = {control: control_rate(own, control) for control in TESTED}
            by_control = {RAW: 100 * float(own.points.mean()) - truth}
            by_control |= {control: rate.rate - truth for control, rate in rates.items()}
            extrapolated = any(rate.extrapolated for rate in rates.values())
            found.append(Errors(each.cell.regime, judge, by_control, extrapolated))
    return found


def describe_judge(judge: str) -> str:
    """A simulated judge's weights in words."""
    units = {"quality": "unit of quality", "length": "character", "surprisal": "nat/token of surprisal"}
    weights = (f"{weight:+g} per {units[name]}" for name, weight in JUDGES[judge].items())
    return f"{judge}: {', '.join(weights)}"


def confound_frame(cells: Iterable[ControlledCell]) -> pd.DataFrame:
    """One row per cell and control, numbers unrounded, rates in percent; extrapolated rates are marked."""
    return pd.DataFrame(
        [
            {
                "judge": each.judged.cell.judge,
                "scale": each.judged.cell.scale,
                "family": each.judged.cell.family,
                "regime": each.judged.cell.regime,
                "reward": each.judged.cell.reward,
                "verifier": each.judged.cell.verifier,
                "method": each.judged.cell.method,
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
