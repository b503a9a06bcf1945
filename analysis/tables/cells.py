"""Cells, the unit of every table: one method on one family and regime at one scale, with its seeds pooled."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import nan
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.builds import seed_names
from analysis.records.frames import verdicts_frame
from analysis.records.grouping import group_by
from analysis.records.names import generator_name, sort_names
from analysis.stats.contrasts import Contrast, contrast, on_common_builds
from analysis.stats.intervals import holm_adjusted, prompts_needed
from analysis.stats.judges import Agreement, has_both_orders
from analysis.stats.seeds import SeedSpread, seed_spread
from analysis.stats.text import most_common_count
from analysis.stats.win_rates import Quality, Tally, WinRate, quality_change, tally, win_rate
from analysis.tables.controls import Controls
from analysis.tables.judging.agreement import panel_agreement
from analysis.tables.judging.judges import Checked, Standing, judge_standing, order_columns, position_bias
from analysis.tables.render import pick
from cme.records import MAJORITY, RunRecord

PLACE = ("scale", "family", "regime", "reward", "verifier", "method")
CELL = ("judge", *PLACE)
place_of = attrgetter(*PLACE)
VERIFIER_OVERLAP = re.compile(r"judge\.\S+ is (of the family of )?the verifier\b")
"""A recorded warning, as `experiments.config.family_overlap` words it."""


@dataclass(frozen=True)
class Cell:
    """One cell and the statistics of its verdicts, computed on the verdicts that count in `win`.

    `standing`: whether its judge passes a sanity check (`judges.judge_standing`). `overlaps`: the warnings that the
    judge is the verifier or of its family. `both_orders`: whether pairs were judged in both orders; `combined`: whether
    a pair has one verdict from both. `first_shown` and `consistent` are by the verdicts of each order alone. `p_holm`:
    the win rate's p-value, corrected over the cells of its scale and judge. `outcomes`: the numbers of verdicts that
    the policy won, tied and lost. `agreement`: that of a panel's members, only in the majority's cell. `stopped`: one
    line per run that ended early. `untrained`: one line per run whose policy is, or responds
    like, the untrained model. `collapsed`: one line per run whose policy gives most prompts the same response.
    """

    scale: str
    judge: str
    family: str
    regime: str
    reward: str
    verifier: str
    method: str
    runs: tuple[str, ...]
    standing: Standing
    overlaps: tuple[str, ...]
    win: WinRate
    p_holm: float
    outcomes: tuple[int, int, int]
    seeds: SeedSpread
    first_shown: float
    consistent: float
    both_orders: bool
    combined: bool
    agreement: Agreement | None
    tally: Tally = field(repr=False, compare=False)
    controls: Controls = field(repr=False, compare=False)
    quality: Quality | None
    stopped: tuple[str, ...]
    untrained: tuple[str, ...] = ()
    collapsed: tuple[str, ...] = ()

    @property
    def data(self) -> str:
        """The data set of the runs."""
        return self.controls.runs[0].data


def build_cells(records: Sequence[RunRecord], checked: Sequence[Checked] = ()) -> list[Cell]:
    """The cells in the order of their records. A run without verdicts has no cell.

    `checked` are the sanity checks of judges, among them the records' own.
    """
    by_id = {record.run_id: record for record in records}
    frame, by_order = verdicts_frame(records), verdicts_frame(records, by_order=True)
    alone = dict(iter(by_order.groupby(list(CELL), sort=False)))
    cells = [
        cell_of(verdicts, alone[cell], by_id, checked)
        for cell, verdicts in frame.groupby(list(CELL), sort=False)
    ]
    panels = {
        key: panel_agreement(verdicts)
        for key, verdicts in by_order[by_order["panel"].notna()].groupby(["panel", *PLACE], sort=False)
        if verdicts["judge"].nunique() > 2  # two members and the majority
    }
    tables = pd.Series([f"{cell.scale}\n{cell.judge}" for cell in cells], dtype=object)
    p_values = pd.Series([cell.win.p for cell in cells], dtype=float)
    adjusted = p_values.groupby(tables).transform(lambda p: holm_adjusted(p.to_numpy(float)))
    return [
        replace(
            cell,
            p_holm=float(p),
            agreement=panels.get((cell.judge.removesuffix(f": {MAJORITY}"), *place_of(cell))),
        )
        for cell, p in zip(cells, adjusted, strict=True)
    ]


def cell_of(
    verdicts: pd.DataFrame,
    alone: pd.DataFrame,
    by_id: Mapping[str, RunRecord],
    checked: Sequence[Checked],
) -> Cell:
    """One cell from its verdicts, without the correction over cells and without agreement.

    `alone` has the verdicts of each order alone.
    """
    identity: dict[str, str] = {name: verdicts[name].iloc[0] for name in CELL}
    run_ids = tuple(dict.fromkeys(verdicts["run_id"]))
    runs = [by_id[run_id] for run_id in run_ids]
    points, _, _, half = order_columns(verdicts)
    prompts, seeds = verdicts["prompt_id"].to_numpy(object), verdicts["seed"].to_numpy(int)
    counted, before, after = (
        np.where(half, nan, verdicts[name].to_numpy(float))
        for name in ("points", "score_start", "score_policy")
    )
    _, policy_first, pairs, _ = order_columns(alone)
    first_shown, consistent = position_bias(alone)
    named = [(run, f"seed {seed_names([run.seed])}") for run in runs]
    return Cell(
        **identity,
        runs=run_ids,
        standing=judge_standing(identity["judge"], runs, checked),
        overlaps=tuple(dict.fromkeys(w for run in runs for w in run.warnings if VERIFIER_OVERLAP.match(w))),
        win=win_rate(points, prompts, half),
        p_holm=nan,
        outcomes=(int((counted == 1).sum()), int((counted == 0.5).sum()), int((counted == 0).sum())),
        seeds=seed_spread(counted, prompts, seeds),
        first_shown=first_shown,
        consistent=consistent,
        both_orders=has_both_orders(policy_first, pairs),
        combined=len(alone) > len(verdicts),
        quality=quality_change(before, after, prompts),
        agreement=None,
        tally=tally(counted, prompts, seeds),
        controls=Controls(runs, identity["judge"]),
        stopped=tuple(
            f"{seed} stopped after step {run.last_step}: {run.stopped}"
            for run, seed in named
            if run.stopped is not None
        ),
        untrained=tuple(f"{seed}: {reason}" for run, seed in named if (reason := untrained_reason(run))),
        collapsed=tuple(
            f"warning: {seed} gives {count} of {len(run.pairs)} prompts the same response"
            for run, seed in named
            if (count := collapsed_prompts(run))
        ),
    )


def untrained_reason(run: RunRecord) -> str | None:
    """Why a run compares the untrained model with itself; None if it does not."""
    if run.untrained is not None:
        return f"{run.untrained}, so both sides are the untrained model"
    alike = [pair.start.response == pair.policy.response for pair in run.pairs]
    return "both sides have the same responses" if alike and all(alike) else None


def collapsed_prompts(run: RunRecord) -> int | None:
    """The prompts with the policy's most common response, if these are most prompts, as they are not for the start."""
    start = most_common_count([pair.start.response for pair in run.pairs])
    policy = most_common_count([pair.policy.response for pair in run.pairs])
    return policy if 2 * policy > len(run.pairs) >= 2 * start else None


def build_contrasts(
    cells: Sequence[Cell], reward: str = "cme", baseline: Callable[[Cell], str] | None = None
) -> list[tuple[Cell, Cell, Contrast, float]]:
    """Compare each cell with its `baseline`, or else with the first method of `reward`, of the same setting.

    They are compared on the builds that both have. Returns the cell, the cell that it is compared with, their contrast,
    and its p-value, that of `Contrast.widest`, corrected by Holm over all.
    """
    comparisons = []
    for cell in cells:
        others = [other for other in cells if same_setting(cell, other)]
        methods = sort_names(
            o.method for o in others if (o.method == baseline(cell) if baseline else o.reward == reward)
        )
        if methods and cell.method != methods[0]:
            against = next(other for other in others if other.method == methods[0])
            comparisons.append((cell, against, contrast(*on_common_builds(cell.tally, against.tally))))
    adjusted = holm_adjusted(np.array([difference.widest[2] for _, _, difference in comparisons]))
    return [(*comparison, float(p)) for comparison, p in zip(comparisons, adjusted, strict=True)]


def same_setting(one: Cell, other: Cell) -> bool:
    """Whether two cells have the same scale, data, judge, family and regime, so that they can be compared."""
    setting = attrgetter("scale", "data", "judge", "family", "regime")
    return bool(setting(one) == setting(other))


def group_by_judge(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells of each judge."""
    judges = sort_names(cell.judge for cell in cells)
    return {judge: [cell for cell in cells if cell.judge == judge] for judge in judges}


def place(cell: Cell) -> str:
    """A cell's generator, such as `Qwen SFT`; for imported outputs, the comparison and the other outputs."""
    if cell.scale == "imported":
        return f"{cell.family}, against {cell.regime}"
    return generator_name(cell.family, cell.regime)


def cells_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row per cell, numbers unrounded: win rates in percent, quality in the judge's unit.

    The columns `contrast_*` compare the cell with `against`, the first method of CME in its setting.
    """
    contrasts = {
        id(cell): {"against": against.method}
        | {f"contrast_{name}": value for name, value in asdict(difference).items()}
        | {"contrast_p_holm": p}
        for group in group_by(cells, attrgetter("scale", "judge")).values()
        for cell, against, difference, p in build_contrasts(group)
    }
    columns = ("against", *(f"contrast_{field.name}" for field in fields(Contrast)), "contrast_p_holm")
    no_contrast = dict.fromkeys(columns)
    return pd.DataFrame([row_of(cell) | contrasts.get(id(cell), no_contrast) for cell in cells])


def row_of(cell: Cell) -> dict[str, Any]:
    """A cell as one flat row."""
    win, seeds, agreed, quality = cell.win, cell.seeds, cell.agreement, cell.quality
    cut, against_cut = cell.controls.cut_start, cell.controls.against_cut_start
    return {
        **pick(cell, "scale judge family regime reward verifier method"),
        "win_rate": win.rate,
        **pick(win, "lo hi boot_lo boot_hi p"),
        "p_holm": cell.p_holm,
        "detectable": win.detectable,
        "prompts_for_5": prompts_needed(win.sd, 5) if win.sd > 0 else None,
        "n_prompts": win.prompts,
        "n_verdicts": win.verdicts,
        **pick(win, "unscored half_scored"),
        "both_orders": cell.both_orders,
        **pick(win, "worst_lo worst_hi"),
        "seeds": seed_names(seeds.rates),
        "seed_rates": " ".join(map(str, seeds.rates.values())),
        **pick(seeds, "mean std low high iqm", "seed_"),
        **pick(seeds, "across_seeds_lo across_seeds_hi", "win_rate_"),
        **pick(seeds, "iqm_lo iqm_hi", "seed_"),
        **pick(cell, "first_shown consistent"),
        "agreement": agreed.alike if agreed else None,
        **pick(agreed, "kappa"),
        **pick(agreed, "lo hi", "kappa_"),
        **pick(quality, "start policy", "quality_"),
        **pick(quality, "difference"),
        **pick(quality, "lo hi", "difference_"),
        "ceiling": cell.controls.ceiling,
        "cut_start": cut.rate if cut else None,
        **pick(cut, "lo hi", "cut_start_"),
        "against_cut_start": against_cut.rate if against_cut else None,
        **pick(against_cut, "lo hi", "against_cut_start_"),
        "stopped": "; ".join(cell.stopped),
    }
