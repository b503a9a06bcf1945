"""Cells, the unit of every table: one method on one family and regime at one scale, with its seeds pooled."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import nan
from operator import attrgetter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.builds import seed_names
from analysis.records.frames import verdicts_frame
from analysis.records.names import generator_name, sort_names
from analysis.stats.agreement import Agreement, agreement
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.intervals import Floats, holm_adjusted
from analysis.stats.metrics import (
    Quality,
    SeedSpread,
    Tally,
    WinRate,
    quality_change,
    seed_spread,
    tally,
    win_rate,
)
from analysis.stats.position_bias import (
    first_position_share,
    half_scored,
    has_both_orders,
    position_consistency,
)
from analysis.stats.power import prompts_needed
from analysis.tables.builds import on_common_builds
from analysis.tables.controls import Controls
from analysis.tables.sanity import Checked, Standing, judge_standing
from cme.records import MAJORITY, RunRecord

PLACE = ("scale", "family", "regime", "reward", "verifier", "method")
CELL = ("judge", *PLACE)
place_of = attrgetter(*PLACE)
VERIFIER_OVERLAP = re.compile(r"judge\.\S+ is (of the family of )?the verifier\b")
"""A recorded warning, as `experiments.config.family_overlap` words it."""


@dataclass(frozen=True)
class Cell:
    """One cell and the statistics of its verdicts, computed on the verdicts that count in `win`.

    `standing`: whether its judge passes a sanity check (`sanity.judge_standing`). `overlaps`: the warnings that the
    judge is the verifier or of its family. `both_orders`: whether pairs were judged in both orders; `combined`: whether
    a pair has one verdict from both. `first_shown` and `consistent` are by the verdicts of each order alone. `p_holm`:
    the win rate's p-value, corrected over the cells of its scale and judge. `outcomes`: the numbers of verdicts that
    the policy won, tied and lost. `agreement`: that of a panel's members, only in the majority's cell. `stopped`: one
    line per run that ended early. `untrained`: one line per run whose policy is the untrained model.
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
    adjusted = pd.Series([cell.win.p for cell in cells], dtype=float)
    tables = pd.Series([f"{cell.scale}\n{cell.judge}" for cell in cells], dtype=object)
    adjusted = adjusted.groupby(tables).transform(lambda p: holm_adjusted(p.to_numpy(float)))
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
    runs = tuple(dict.fromkeys(verdicts["run_id"]))
    points, _, _, half = order_columns(verdicts)
    prompts = verdicts["prompt_id"].to_numpy(object)
    seeds = verdicts["seed"].to_numpy(int)
    won_alone, policy_first, pairs, half_alone = order_columns(alone)
    counted_alone = np.where(half_alone, nan, won_alone)
    counted, before, after = (
        np.where(half, nan, verdicts[name].to_numpy(float))
        for name in ("points", "score_start", "score_policy")
    )
    return Cell(
        **identity,
        runs=runs,
        standing=judge_standing(identity["judge"], [by_id[run] for run in runs], checked),
        overlaps=tuple(dict.fromkeys(text for run in runs for text in verifier_overlaps(by_id[run]))),
        win=win_rate(points, prompts, half),
        p_holm=nan,
        outcomes=(int((counted == 1).sum()), int((counted == 0.5).sum()), int((counted == 0).sum())),
        seeds=seed_spread(counted, prompts, seeds),
        first_shown=first_position_share(counted_alone, policy_first),
        consistent=position_consistency(counted_alone, policy_first, pairs),
        both_orders=has_both_orders(policy_first, pairs),
        combined=len(alone) > len(verdicts),
        quality=quality_change(before, after, prompts),
        agreement=None,
        tally=tally(counted, prompts, seeds),
        controls=Controls([by_id[run] for run in runs], identity["judge"]),
        stopped=tuple(stop_reason(by_id[run]) for run in runs if by_id[run].stopped is not None),
        untrained=tuple(
            f"seed {by_id[run].seed}: {by_id[run].untrained}, so both sides are the untrained model"
            for run in runs
            if by_id[run].untrained is not None
        ),
    )


def order_columns(
    verdicts: pd.DataFrame,
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.object_], NDArray[np.bool_]]:
    """Points, order and pair of each verdict (N,), and whether its pair is unscored in the other order."""
    points = verdicts["points"].to_numpy(float)
    policy_first = verdicts["policy_first"].to_numpy(bool)
    pairs = (verdicts["run_id"] + "\n" + verdicts["prompt_id"]).to_numpy(object)
    return points, policy_first, pairs, half_scored(points, policy_first, pairs)


def verifier_overlaps(record: RunRecord) -> list[str]:
    """The warnings of a run that its judge is the verifier or of the verifier's family."""
    return [text for text in record.warnings if VERIFIER_OVERLAP.match(text)]


def panel_agreement(verdicts: pd.DataFrame) -> Agreement:
    """Agreement of a panel's members on one cell."""
    votes = verdicts[~verdicts["judge"].str.endswith(f": {MAJORITY}")]
    keys = ["run_id", "prompt_id", "policy_first"]
    table = votes.set_index([*keys, "judge"])["points"].unstack("judge")
    judges = tuple(str(name).split(": ", 1)[1] for name in table.columns)
    prompts = table.index.get_level_values("prompt_id").to_numpy(object)
    return agreement(table.to_numpy(float), prompts, judges)


def build_contrasts(
    cells: Sequence[Cell], reward: str = "cme", baseline: Callable[[Cell], str] | None = None
) -> list[tuple[Cell, Cell, Contrast, float]]:
    """Compare each cell with its `baseline`, or else with the first method of `reward`, of the same setting.

    They are compared on the builds that both have. Returns the cell, the cell that it is compared with, their contrast,
    and its p-value corrected by Holm over all.
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
    adjusted = holm_adjusted(np.array([difference.p for _, _, difference in comparisons]))
    return [(*comparison, float(p)) for comparison, p in zip(comparisons, adjusted, strict=True)]


def same_setting(one: Cell, other: Cell) -> bool:
    """Whether two cells have the same scale, judge, family and regime, so that they can be compared."""
    setting = attrgetter("scale", "judge", "family", "regime")
    return bool(setting(one) == setting(other))


def place(cell: Cell) -> str:
    """A cell's generator, such as `Qwen SFT`; for imported outputs, the comparison and the other outputs."""
    if cell.scale == "imported":
        return f"{cell.family}, against {cell.regime}"
    return generator_name(cell.family, cell.regime)


def stop_reason(record: RunRecord) -> str:
    """The seed and step at which a run stopped, with the reason."""
    return f"seed {seed_names([record.seed])} stopped after step {record.last_step}: {record.stopped}"


def cells_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row per cell, numbers unrounded: win rates in percent, quality in the judge's unit.

    The columns `contrast_*` compare the cell with `against`, the first method of CME in its setting.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.scale, cell.judge), []).append(cell)
    contrasts = {
        id(cell): {"against": against.method}
        | {f"contrast_{name}": value for name, value in asdict(difference).items()}
        | {"contrast_p_holm": p}
        for group in groups.values()
        for cell, against, difference, p in build_contrasts(group)
    }
    columns = ("against", *(f"contrast_{field.name}" for field in fields(Contrast)), "contrast_p_holm")
    no_contrast = dict.fromkeys(columns)
    return pd.DataFrame([row_of(cell) | contrasts.get(id(cell), no_contrast) for cell in cells])


def row_of(cell: Cell) -> dict[str, str | float | None]:
    """A cell as one flat row."""
    win, seeds, agreed, quality = cell.win, cell.seeds, cell.agreement, cell.quality
    cut, against_cut = cell.controls.cut_start, cell.controls.against_cut_start
    identity = ("scale", "judge", *PLACE[1:])
    return dict(zip(identity, attrgetter(*identity)(cell), strict=True)) | {
        "win_rate": win.rate,
        "lo": win.lo,
        "hi": win.hi,
        "boot_lo": win.boot_lo,
        "boot_hi": win.boot_hi,
        "p": win.p,
        "p_holm": cell.p_holm,
        "detectable": win.detectable,
        "prompts_for_5": prompts_needed(win.sd, 5) if win.sd > 0 else None,
        "n_prompts": win.prompts,
        "n_verdicts": win.verdicts,
        "unscored": win.unscored,
        "half_scored": win.half_scored,
        "both_orders": cell.both_orders,
        "worst_lo": win.worst_lo,
        "worst_hi": win.worst_hi,
        "seeds": seed_names(seeds.rates),
        "seed_rates": " ".join(map(str, seeds.rates.values())),
        "seed_mean": seeds.mean,
        "seed_std": seeds.std,
        "seed_low": seeds.low,
        "seed_high": seeds.high,
        "seed_iqm": seeds.iqm,
        "win_rate_across_seeds_lo": seeds.across_seeds_lo,
        "win_rate_across_seeds_hi": seeds.across_seeds_hi,
        "seed_iqm_lo": seeds.iqm_lo,
        "seed_iqm_hi": seeds.iqm_hi,
        "first_shown": cell.first_shown,
        "consistent": cell.consistent,
        "agreement": agreed.alike if agreed else None,
        "kappa": agreed.kappa if agreed else None,
        "kappa_lo": agreed.lo if agreed else None,
        "kappa_hi": agreed.hi if agreed else None,
        "quality_start": quality.start if quality else None,
        "quality_policy": quality.policy if quality else None,
        "difference": quality.difference if quality else None,
        "difference_lo": quality.lo if quality else None,
        "difference_hi": quality.hi if quality else None,
        "ceiling": cell.controls.ceiling,
        "cut_start": cut.rate if cut else None,
        "cut_start_lo": cut.lo if cut else None,
        "cut_start_hi": cut.hi if cut else None,
        "against_cut_start": against_cut.rate if against_cut else None,
        "against_cut_start_lo": against_cut.lo if against_cut else None,
        "against_cut_start_hi": against_cut.hi if against_cut else None,
        "stopped": "; ".join(cell.stopped),
    }
