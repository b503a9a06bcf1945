"""Table of the measures of Arena-Hard, WildBench and AlpacaEval 2, beside our control of length for the last one."""

from collections.abc import Sequence
from dataclasses import replace
from math import isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.frames import Frames
from analysis.records.names import judge_label, place_names
from analysis.stats.benchmarks import MEASURES
from analysis.stats.length_controlled import NotAtHand, length_controlled
from analysis.tables.cells import CELL, Cell
from analysis.tables.judging.controlled import ControlledCell, controlled_cells
from analysis.tables.render import Column, Table, build_table, format_estimate, pick, rows_by
from cme.records import RunRecord

ALPACA = "alpaca_eval"
FAR_FROM_EQUAL = "fewer than 2.5 % of the pairs are at equal length or beyond it on one side"
OWN, THEIRS = "win rate at equal length, ours (%)", "length-controlled win rate, alpaca-eval's (%)"


def benchmark_of(cell: Cell) -> str:
    """The name of a cell's judge; of a panel, that of the member."""
    return cell.judge.rpartition(": ")[2]


def benchmark_cells(records: Sequence[RunRecord], cells: Sequence[Cell]) -> list[ControlledCell]:
    """The cells whose judge is that of a benchmark, with both responses in each row of their verdicts.

    Cells without a verdict that counts are left out.
    """
    own = [cell for cell in cells if benchmark_of(cell) in MEASURES]
    if not own:
        return []
    ids = {run for cell in own for run in cell.runs}
    runs = [record for record in records if record.run_id in ids]
    responses = Frames(runs).pairs[["run_id", "prompt_id", "start_response", "policy_response"]]
    return [
        replace(each, verdicts=each.verdicts.merge(responses, "left", on=["run_id", "prompt_id"]))
        for each in controlled_cells(runs, own)
    ]


def benchmark_frame(cells: Sequence[ControlledCell]) -> pd.DataFrame:
    """One row per cell and measure, unrounded, with its 95 % interval where there is one.

    `reason`: why there is no value (NaN).
    """
    rows: list[dict[str, Any]] = []
    for each in cells:
        cell, measure = each.cell, MEASURES[benchmark_of(each.cell)]
        identity = pick(cell, " ".join(CELL))
        counts = {"seeds": len(cell.runs), "prompts": each.verdicts["prompt_id"].nunique()}
        measured = {measure.name: (*measure.estimate(each.verdicts), "")}
        if benchmark_of(cell) == ALPACA:
            ours = each.rates["length"]
            reason = FAR_FROM_EQUAL if ours.extrapolated else ours.reason
            rate = (nan, nan, nan) if reason else (ours.rate, ours.lo, ours.hi)
            theirs, missing = nan, ""
            try:
                theirs = float(
                    np.mean(length_controlled([own for _, own in each.verdicts.groupby("run_id")]))
                )
            except NotAtHand as error:
                missing = str(error)
            measured |= {OWN: (*rate, reason or ""), THEIRS: (theirs, nan, nan, missing)}
        for name, estimate in measured.items():
            values = dict(zip(("value", "lo", "hi", "reason"), estimate, strict=True))
            rows.append(identity | counts | {"measure": name} | values)
    return pd.DataFrame(rows)


def benchmark_table(cells: Sequence[ControlledCell]) -> Table:
    """The benchmarks' measures of one scale: family, regime, method and judge in rows."""
    frame = benchmark_frame(cells)

    def place(row: dict[str, Any]) -> tuple[str, str]:
        return place_names(row["scale"], row["family"], row["regime"])

    def value(row: dict[str, Any]) -> str:
        text = format_estimate(row["value"], row["lo"], row["hi"])
        return text.partition(" ")[0] if isnan(row["lo"]) else text

    notes = [
        "By the benchmarks' own rules, in the units of their leaderboards: Arena-Hard score, the policy's share of all "
        "points; WB-Reward, its mean reward from -100 to 100; WB-Score, its mean grade, rescaled to -80 to 100; "
        "AlpacaEval 2 win rate, the annotator's mean probability that its response is the better one. The mean over "
        "seeds, with a 95 % CI bootstrapped over prompts.",
        "The other model is the untrained one and not that of a leaderboard, so the numbers are not a leaderboard's.",
    ]
    if ALPACA in {benchmark_of(each.cell) for each in cells}:
        notes.append(
            "Length-controlled, alpaca-eval's: `get_length_controlled_winrate` of the package, with the difficulty of "
            "each instruction and verdicts on manipulated baselines; the mean of one fit per seed, without a CI. "
            "Ours: the control of length in the section on judge bias, the same form without these terms."
        )
    notes += [f"n/a: {reason}." for reason in dict.fromkeys(frame["reason"]) if reason]
    return build_table(
        name="benchmarks",
        title=f"Measures of the benchmarks (scale: {cells[0].scale})",
        columns=[
            Column("family", lambda row: place(row)[0], once=True),
            Column("regime", lambda row: place(row)[1]),
            Column("reward", lambda row: row["method"]),
            Column("judge", lambda row: judge_label(row["judge"])),
            Column("measure", lambda row: row["measure"]),
            Column("seeds", lambda row: str(row["seeds"])),
            Column("prompts", lambda row: str(row["prompts"])),
            Column("value", value),
        ],
        groups=rows_by(frame, "family"),
        notes=notes,
    )
