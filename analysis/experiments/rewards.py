"""Every reward and trainer on the same cells, controls included: each against CME, and whether it works or fails.

A reward works or fails by comparison with the random reward and with the untrained model's cut responses. Rewards that
read an answer are compared on mathematics, apart from those on instructions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan

import numpy as np

from analysis.experiments.base import Experiment, across_seeds
from analysis.experiments.methods import (
    FAMILY,
    P_VALUE,
    REGIME,
    SCORE,
    WIN_RATE,
    JudgedMethods,
    MethodColumn,
    MethodRow,
    Methods,
    baseline_table,
    evidence_tables,
    methods_frame,
    seed_tables,
    summary_table,
    win_rate_plots,
)
from analysis.records.grouping import group_by
from analysis.records.names import SHOWN, reward_name
from analysis.stats.contrasts import Contrast
from analysis.stats.intervals import holm_adjusted, interval_excludes
from analysis.stats.seeds import MIN_SEEDS, SeedSpread
from analysis.tables.cell_tables import CONTROL_COLUMNS
from analysis.tables.cells import Cell, build_contrasts
from analysis.tables.render import Column, Entry, Estimate, Table, build_table, format_p_value
from analysis.tables.training.trajectory import collapse_of, steps_text, trajectory_frame

MARGIN = 5.0
"""Percentage points: a smaller difference counts as none."""
LEVEL = 0.05

TRUTHS = ("ground_truth", "ground_truth_answer")
SIGNALS = {reward: row["learns_from"] for reward, row in SHOWN.items()} | {"cme+length": "verifier"}
"""The source of each method's learning signal."""


def ending(row: MethodRow) -> str:
    """How a cell's training ended: below the untrained model, collapsed at which steps, stopped early."""
    win, change, texts = row.cell.win, row.cell.quality, []
    if change is not None:
        below = change.difference < 0 and interval_excludes(change.lo, change.hi, 0, change.prompts)
    else:
        below = win.rate < 50 and interval_excludes(win.lo, win.hi, 50, win.scored)
    if below:
        texts.append("below the untrained model")
    if all(run.trajectory is not None for run in row.runs):
        measure = "win_rate" if change is None else "quality"
        frame = trajectory_frame(row.runs)
        steps = [collapse_of(frame[frame["run_id"] == run.run_id], measure) for run in row.runs]
        if any(isinstance(step, int) for step in steps):
            texts.append(f"collapsed at {steps_text(steps)}")
    if row.cell.stopped:
        texts.append(f"{len(row.cell.stopped)} of {len(row.runs)} stopped")
    return "; ".join(texts) or "-"


def contrast_entry(row: MethodRow) -> Entry:
    """The difference of a cell's win rate from CME's, such as +5.2 [1.1, 9.3]."""
    if row.contrast is None:
        return Entry("-")
    change, _ = row.contrast
    lo, hi, _ = change.widest
    bold = interval_excludes(lo, hi, 0, change.prompts, decimals=1)
    return Entry(Estimate(change.difference, lo, hi).text(1), bold)


@dataclass(frozen=True, eq=False)
class RewardVerdict:
    """A cell with its difference from the random reward, and the verdict by the rule stated before the runs.

    `p`, over prompts and seeds, is corrected by Holm over the rewards of the same generator. `sensitive`: whether the
    ground truth passes the test here, so that others can.
    """

    cell: Cell
    difference: Contrast
    p: float
    sensitive: bool

    @property
    def cut_start(self) -> SeedSpread | None:
        """The win rate against the cut start; None if it was not compared."""
        return self.cell.controls.seeds_against_cut_start

    @property
    def verdict(self) -> str:
        """Works, fails, or why neither is shown."""
        difference, cut = self.difference, self.cut_start
        if not self.sensitive or self.cell.controls.ceiling <= 50 + MARGIN:
            return "not testable: the ground truth does not pass here"
        if isnan(difference.across_seeds_lo):
            return f"not testable: fewer than {MIN_SEEDS} seeds"
        if difference.across_seeds_hi < -MARGIN and self.p < LEVEL:
            return "fails"
        if difference.across_seeds_lo > MARGIN and self.p < LEVEL:
            ends_earlier = cut is not None and not cut.across_seeds_lo > 50 + MARGIN
            return "above random, not above the cut start" if ends_earlier else "works"
        return "no difference from random shown"


def reward_verdicts(view: JudgedMethods) -> list[list[RewardVerdict]]:
    """By generator, a verdict for each cell that has the random reward beside it."""
    compared = [(cell, change) for cell, _, change, _ in build_contrasts(view.cells, "random")]
    groups = []
    for own in group_by(compared, lambda pair: (pair[0].family, pair[0].regime)).values():
        adjusted = holm_adjusted(np.array([change.across_seeds_p for _, change in own]))
        sensitive = any(cell.reward in TRUTHS and change.across_seeds_lo > MARGIN for cell, change in own)
        groups.append(
            [
                RewardVerdict(cell, change, float(p), sensitive)
                for (cell, change), p in zip(own, adjusted, strict=True)
            ]
        )
    return groups


def verdict_table(view: JudgedMethods) -> Iterator[Table]:
    """The verdicts, one row per reward; none without a random reward."""
    groups = reward_verdicts(view)
    if not groups:
        return
    yield build_table(
        name=f"verdicts {view.scale} {view.judge}",
        title=f"Which rewards work and which fail, {view.where}",
        columns=[
            FAMILY,
            REGIME,
            Column(view.methods.setting, lambda one: one.cell.method),
            Column(
                "minus random (points)",
                lambda one: across_seeds(one.difference).text(1),
                "Minus random: win rate against the untrained model minus that of the random reward, paired by prompt, "
                "with across-seed 95 % intervals.",
            ),
            Column(
                "p (Holm)",
                lambda one: format_p_value(one.p),
                "p (Holm): over prompts and seeds, corrected over the rewards of the same generator.",
            ),
            Column(
                "against the cut start (%)",
                lambda one: across_seeds(one.cut_start).text(1, "") if one.cut_start else "not compared",
                "Against the cut start: win rate against the untrained model's own responses, cut short, which needs "
                "no training; across-seed 95 % intervals.",
            ),
            Column(
                "verdict",
                lambda one: one.verdict,
                f"Works: more than {MARGIN:.0f} points above the random reward and above the cut start. Fails: more "
                f"than {MARGIN:.0f} points below the random reward. Testable only where the ground truth passes the "
                "first test and the ceiling lies beyond the margin. The rule was written before the runs: docs/log.md, "
                "2026-11-29.",
            ),
        ],
        groups=groups,
    )


REWARDS = Experiment(
    name="rewards",
    title="All rewards and trainers on the same cells",
    question=(
        "Does CME do better than other label-free rewards, than other ways to learn from the verifier, and than "
        "controls that know nothing of the answer? A reward works if it is better than the random reward and than the "
        "untrained model's own responses, cut short; it fails if it is worse than the random reward. The claim fails "
        "if a control, such as length alone, does as well as CME. Ground truth and preference pairs, which need "
        "labels, show how much there was to gain. Rewards that read an answer behind a response's working are compared "
        "with each other, with CME and with controls on mathematics, in tables of their own. The paper's repository "
        "has several of these baselines; of their results only those of the verifier sweep are published."
    ),
    views=Methods("All rewards and trainers", "method", reward_name),
    tables=(
        summary_table(
            MethodColumn("learns from", lambda row: SIGNALS.get(row.cell.reward, "-")),
            WIN_RATE,
            P_VALUE,
            MethodColumn(
                "against CME",
                contrast_entry,
                "Against CME: difference of the win rates in percentage points, paired by prompt, with the 95 % "
                f"interval over prompts and seeds, below {MIN_SEEDS} seeds over prompts alone. Bold: it excludes no "
                "difference, without correction. Where a method has another verifier than CME, the difference "
                "contains that of the verifiers.",
            ),
            MethodColumn(
                "p (Holm) against CME",
                lambda row: format_p_value(row.contrast[1]) if row.contrast else "-",
                "p (Holm) against CME: the test behind that interval, of no difference, corrected over this table.",
            ),
            SCORE,
            *CONTROL_COLUMNS,
            MethodColumn(
                "ended",
                ending,
                "Ended: a policy is below the untrained model if the interval of its score (without a score: of its "
                "win rate) lies below. The collapse step, by seed, is the first saved checkpoint from which on all "
                "intervals lie below.",
            ),
        ),
        verdict_table,
        baseline_table,
        seed_tables,
        evidence_tables,
    ),
    figures=(win_rate_plots,),
    frame=methods_frame,
)
