"""One value a response, one a token, and reverse KL: what each reaches, how fast, and at what length."""

from collections.abc import Sequence
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.experiments._settings import (
    LENGTH_NOTE,
    Compared,
    Extra,
    interval_plots,
    length_of,
    setting_tables,
    training_plots,
    written,
)
from analysis.figures.curves import WINDOW, seed_curve
from analysis.sections.base import Part
from cme.records import RunRecord

TITLE = "Granularity: one value a response, one a token, and reverse KL"
INTRO = (
    "CME as one value a response (sequence), as one value a token of the generator (token), and, on the same "
    "verifier, the reverse KL divergence, which is the mean of CME less the policy's own log-likelihood. If credit by "
    "token is worth its alignment, token reaches more, or reaches the same sooner. The paper's repository has all "
    "three; its released results are those of the one value a response, and no figures of the comparison are known."
)


def part(runs: Sequence[RunRecord], scale: str, out: Path) -> Part:
    """The tables and figures of one scale."""
    compared = Compared.by(label, runs)
    halfway = halfway_steps(compared)
    extra: dict[str, Extra] = {
        "halfway at step": lambda own: " ".join(halfway[run.run_id] for run in own),
        "length (tokens)": length_of,
    }
    notes = [
        "Halfway at step: the first step, by seed, at which the true quality of the sampled responses, as a running "
        f"mean over {WINDOW} steps, is halfway from the start's to the highest that any setting of the same family "
        "and regime ends with (mean over its seeds); - is never, n/a without an oracle.",
        LENGTH_NOTE,
    ]
    tables = setting_tables(compared, "Granularity", "granularity", "sequence", extra, notes)
    plots = interval_plots(compared, "Granularity")
    plots += training_plots(compared, compared.ramp(), "granularity")
    return written("granularity", compared, tables, plots, out)


def label(run: RunRecord) -> str:
    """`sequence`, `token`, or `reverse KL`."""
    if run.reward == "reverse_kl":
        return "reverse KL"
    return str(run.config["reward"]["granularity"])


def halfway_steps(compared: Compared) -> dict[str, str]:
    """By run, the first step at which quality is halfway from the start to the best end at its place."""
    found = {}
    for _, place in compared.history.groupby(["family", "regime"], sort=False):
        level = halfway_level(place)
        for run_id, run in place.groupby("run_id", sort=False):
            found[str(run_id)] = step_reached(run, level)
    return found


def halfway_level(place: pd.DataFrame) -> float:
    """Midway between the mean quality at the first step and the best setting's mean over its last WINDOW steps."""
    known = place.dropna(subset=["quality"])
    if known.empty:
        return nan
    start = float(known.loc[known["step"] == known["step"].min(), "quality"].mean())
    last = known.groupby("run_id")["step"].transform("max")
    ends = known[known["step"] > last - WINDOW].groupby(["method", "run_id"])["quality"].mean()
    return (start + float(ends.groupby("method").mean().max())) / 2


def step_reached(run: pd.DataFrame, level: float) -> str:
    """The first step at which a run's smoothed quality is at the level, - for never, n/a where it is not measured."""
    curve = seed_curve(run, "quality")["mean"] if run["quality"].notna().any() else pd.Series(dtype=float)
    if curve.empty or np.isnan(level):
        return "n/a"
    reached = curve.index[curve >= level]
    return str(int(reached[0])) if len(reached) else "-"
