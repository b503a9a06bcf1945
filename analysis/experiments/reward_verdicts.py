"""Whether a reward works or fails: compared with the random reward and with the untrained model's cut responses."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan

import numpy as np

from analysis.experiments.base import Column, build_table, file_name
from analysis.experiments.methods import JudgedMethods, MethodRow
from analysis.records.ceiling import ceiling
from analysis.records.names import family_name, judge_label, regime_name
from analysis.stats.contrasts import Contrast
from analysis.stats.intervals import holm_adjusted
from analysis.stats.metrics import MIN_SEEDS, SeedSpread, seed_spread
from analysis.tables.cells import Cell, build_contrasts, same_setting
from analysis.tables.render import Table, format_interval, format_p_value, format_percent
from cme.records import CUT_START, judge_name, points

MARGIN = 5.0
"""Percentage points: a smaller difference counts as none."""
LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class RewardVerdict:
    """A cell with its difference from the random reward, its win rate against the cut start, and the verdict.

    `p`, over prompts and seeds, is corrected by Holm over the rewards of the same generator. `ceiling` is in percent,
    None where the truth is unknown.
    """

    cell: Cell
    difference: Contrast | None
    p: float
    cut_start: SeedSpread | None
    ceiling: float | None
    verdict: str


def against_cut_start(row: MethodRow) -> SeedSpread | None:
    """The policies' win rate against the untrained model's cut responses; None if they were not compared."""
    rows = [
        (np.nan if (value := points(verdict)) is None else value, verdict.prompt_id, run.seed)
        for run in row.runs
        for comparison in run.comparisons or []
        if comparison.name == CUT_START
        for verdict in comparison.policy
        if judge_name(run.judge, verdict) == row.cell.judge
    ]
    if not rows:
        return None
    won, prompts, seeds = zip(*rows, strict=True)
    return seed_spread(
        np.array(won, dtype=float), np.array(prompts, dtype=object), np.array(seeds, dtype=np.int64)
    )


def reward_verdicts(view: JudgedMethods) -> list[RewardVerdict]:
    """A verdict for each cell that has the random reward beside it."""
    found = {id(cell): contrast for cell, _, contrast, _ in build_contrasts(view.cells, reward="random")}
    verdicts = []
    for row in view.rows:
        contrast = found.get(id(row.cell))
        if contrast is None:
            continue
        same = [c for c in view.cells if same_setting(c, row.cell) and id(c) in found]
        adjusted = holm_adjusted(np.array([found[id(cell)].across_seeds_p for cell in same]))
        p = float(adjusted[[cell is row.cell for cell in same].index(True)])
        cut, highest = against_cut_start(row), ceiling(row.runs)
        truths = [found[id(cell)] for cell in same if cell.reward == "ground_truth"]
        sensitive = any(truth.across_seeds_lo > MARGIN for truth in truths)
        if not sensitive or (highest is not None and highest <= 50 + MARGIN):
            verdict = "not testable: the ground truth does not pass here"
        else:
            verdict = verdict_of(contrast, p, cut)
        verdicts.append(RewardVerdict(row.cell, contrast, p, cut, highest, verdict))
    return verdicts


def verdict_of(contrast: Contrast, p: float, cut: SeedSpread | None) -> str:
    """The verdict by the rule stated before the runs, where the test is sensitive."""
    if isnan(contrast.across_seeds_lo):
        return f"not testable: fewer than {MIN_SEEDS} seeds"
    if contrast.across_seeds_hi < -MARGIN and p < LEVEL:
        return "fails"
    if contrast.across_seeds_lo > MARGIN and p < LEVEL:
        ends_earlier = cut is not None and not cut.across_seeds_lo > 50 + MARGIN
        return "above random, not above the cut start" if ends_earlier else "works"
    return "no difference from random shown"


def verdict_table(view: JudgedMethods) -> Iterator[Table]:
    """The verdicts, one row per reward; none without a random reward."""
    verdicts = reward_verdicts(view)
    if not verdicts:
        return

    def difference(one: RewardVerdict) -> str:
        assert one.difference is not None
        interval = format_interval(one.difference.across_seeds_lo, one.difference.across_seeds_hi)
        return f"{one.difference.difference:+.1f} {interval}"

    def cut(one: RewardVerdict) -> str:
        if one.cut_start is None:
            return "not compared"
        interval = format_interval(one.cut_start.across_seeds_lo, one.cut_start.across_seeds_hi)
        return f"{format_percent(one.cut_start.mean)} {interval}"

    groups: dict[tuple[str, str], list[RewardVerdict]] = {}
    for one in verdicts:
        groups.setdefault((one.cell.family, one.cell.regime), []).append(one)
    yield build_table(
        name=file_name("verdicts", view.scale, view.judge),
        title=f"Which rewards work and which fail, scale: {view.scale}, judge: {judge_label(view.judge)}",
        columns=[
            Column("family", lambda one: family_name(one.cell.family), once=True),
            Column("regime", lambda one: regime_name(one.cell.regime), once=True),
            Column(view.methods.setting, lambda one: one.cell.method),
            Column(
                "minus random (points)",
                difference,
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
                cut,
                "Against the cut start: win rate against the untrained model's own responses, cut short, which needs "
                "no training; across-seed 95 % intervals.",
            ),
            Column(
                "ceiling (%)",
                lambda one: "unknown" if one.ceiling is None else format_percent(one.ceiling),
                "Ceiling: the win rate of a perfect policy against the untrained model.",
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
        groups=list(groups.values()),
    )
