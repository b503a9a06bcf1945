"""Cells with their verdicts and their win rates at no difference in length or surprisal, as `confounds` explains."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan

import numpy as np
import pandas as pd

from analysis.records.frames import Frames
from analysis.records.names import method_names, sort_names
from analysis.stats.regression import Controlled, controlled_rate
from analysis.tables.cells import Cell
from analysis.tables.judging.judges import order_columns
from cme.records import RunRecord

RAW = "raw"
CONTROLS: dict[str, dict[str, str]] = {
    RAW: {},
    "length": {"tanh length": "length"},
    "surprisal": {"surprisal": "surprisal"},
    "both": {"tanh length": "length", "surprisal": "surprisal"},
}
"""For each control, the covariates of the regression by the difference that each is computed from.

Length, in characters, enters in AlpacaEval 2.0's form, tanh(difference / standard deviation) (Dubois et al. 2024, arXiv
2404.04475), without the difficulty per instruction and the gamed baselines of its full model.
"""
ORACLE = "oracle"


@dataclass(frozen=True, eq=False)
class ControlledCell:
    """A cell with its verdicts that count in its win rate, and its win rates under every control.

    The columns of `verdicts`: `points` of the policy; `prompt`, a number; the differences, policy minus start, in
    `length` (characters), `surprisal` (nats per token, NaN where unmeasured) and, under the oracle, `quality`; whether
    the responses are `identical`; and the `language_model` that measured the surprisal. `method` is the raw name of the
    cell's method. `simulated`: the points are those of a simulated judge, and `cell` stays the oracle's.
    """

    cell: Cell
    method: str
    verdicts: pd.DataFrame
    simulated: bool = False

    @property
    def scale(self) -> str:
        """The scale of the cell."""
        return self.cell.scale

    @cached_property
    def models(self) -> list[str]:
        """The language models that measured the surprisal."""
        return sort_names(self.verdicts["language_model"].dropna())

    @property
    def unmeasured(self) -> int:
        """Number of verdicts without surprisal, which the controls for it leave out."""
        return int(self.verdicts["surprisal"].isna().sum())

    @cached_property
    def rates(self) -> dict[str, Controlled]:
        """The win rate under each control, raw as in the cell."""
        return {control: self.rate_under(control) for control in CONTROLS}

    def rate_under(self, control: str) -> Controlled:
        """The win rate at no difference in the covariates, over the verdicts whose differences are known.

        Surprisal is in standard deviations within each language model: the nats of two models are not comparable,
        while no difference is the same under both.
        """
        if control == RAW and not self.simulated:
            win = self.cell.win
            return Controlled(win.rate, win.lo, win.hi, prompts=win.scored)
        columns = {name: self.verdicts[difference] for name, difference in CONTROLS[control].items()}
        if "surprisal" in columns and len(self.models) > 1:
            spread = columns["surprisal"].groupby(self.verdicts["language_model"]).transform("std")
            columns["surprisal"] = columns["surprisal"] / spread.where(spread > 0, 1)
        known = self.verdicts.assign(**columns)[["points", "prompt", *columns]].dropna()
        if known.empty:
            return Controlled(nan, nan, nan, reason="surprisal was not measured")
        differences = {name: known[name].to_numpy(float) for name in columns}
        return controlled_rate(known["points"].to_numpy(float), differences, known["prompt"].to_numpy(int))


def controlled_cells(records: Sequence[RunRecord], cells: Sequence[Cell]) -> list[ControlledCell]:
    """The verdicts of each cell with their pairs' differences; cells without a verdict that counts are left out."""
    frames, methods = Frames(records), method_names(records, raw=True)
    pairs = frames.pairs.assign(
        length=frames.pairs["policy_response"].str.len() - frames.pairs["start_response"].str.len(),
        surprisal=frames.pairs["policy_surprisal"] - frames.pairs["start_surprisal"],
        identical=frames.pairs["policy_response"] == frames.pairs["start_response"],
    )
    pairs = pairs[["run_id", "prompt_id", "length", "surprisal", "identical"]]
    verdicts = frames.verdicts.merge(pairs, "left", on=["run_id", "prompt_id"])
    verdicts = verdicts.merge(frames.runs[["run_id", "language_model"]], "left", on="run_id")
    verdicts["prompt"] = pd.factorize(verdicts["prompt_id"])[0]
    verdicts["quality"] = (verdicts["score_policy"] - verdicts["score_start"]).where(
        verdicts["judge"] == ORACLE
    )
    of_judge = dict(iter(verdicts.groupby(["judge", "run_id"])))
    controlled = []
    for cell in cells:
        own = pd.concat([of_judge[cell.judge, run] for run in cell.runs])
        points, _, _, half = order_columns(own)
        counted = own[~np.isnan(points) & ~half]
        if len(counted):
            controlled.append(ControlledCell(cell, methods[cell.runs[0]], counted))
    return controlled
