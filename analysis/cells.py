"""The unit of every table: one method on one family and regime at one scale, its seeds pooled."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.load import last_step, verdicts_frame
from analysis.metrics import (
    Quality,
    SeedSpread,
    WinRate,
    first_shown_share,
    quality_change,
    seed_spread,
    win_rate,
)
from cme.records import RunRecord

CELL = ("scale", "judge", "family", "regime", "reward", "verifier", "method")


@dataclass(frozen=True)
class Cell:
    """One cell and all that its verdicts say. `stopped` has a line for each run that ended early."""

    scale: str
    judge: str
    family: str
    regime: str
    reward: str
    verifier: str
    method: str
    runs: tuple[str, ...]
    win: WinRate
    seeds: SeedSpread
    first_shown: float
    quality: Quality | None
    stopped: tuple[str, ...]


def cells_of(records: Sequence[RunRecord]) -> list[Cell]:
    """The cells in the order of their records. A run without verdicts has no cell."""
    by_id = {record.run_id: record for record in records}
    cells = []
    for _, verdicts in verdicts_frame(records).groupby(list(CELL), sort=False):
        identity: dict[str, str] = {field: verdicts[field].iloc[0] for field in CELL}
        runs = tuple(dict.fromkeys(verdicts["run_id"]))
        points = verdicts["points"].to_numpy(float)
        prompts = verdicts["prompt_id"].to_numpy(object)
        cells.append(
            Cell(
                **identity,
                runs=runs,
                win=win_rate(points, prompts),
                seeds=seed_spread(points, verdicts["seed"].to_numpy(int)),
                first_shown=first_shown_share(points, verdicts["policy_first"].to_numpy(bool)),
                quality=quality_change(
                    verdicts["score_start"].to_numpy(float), verdicts["score_policy"].to_numpy(float), prompts
                ),
                stopped=tuple(stop_line(by_id[run]) for run in runs if by_id[run].stopped is not None),
            )
        )
    return cells


def stop_line(record: RunRecord) -> str:
    """Which run stopped, where and why."""
    return f"seed {record.seed} stopped after step {last_step(record)}: {record.stopped}"


def cells_frame(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row a cell, numbers unrounded: win rates in percent, quality in the judge's unit."""
    return pd.DataFrame([row_of(cell) for cell in cells])


def row_of(cell: Cell) -> dict[str, str | float | None]:
    """A cell as one flat row."""
    win, seeds, quality = cell.win, cell.seeds, cell.quality
    return {
        **{field: getattr(cell, field) for field in CELL},
        "win_rate": win.rate,
        "lo": win.lo,
        "hi": win.hi,
        "n_prompts": win.prompts,
        "n_verdicts": win.verdicts,
        "unscored": win.unscored,
        "worst_lo": win.worst_lo,
        "worst_hi": win.worst_hi,
        "seeds": " ".join(map(str, seeds.rates)),
        "seed_rates": " ".join(map(str, seeds.rates.values())),
        "seed_mean": seeds.mean,
        "seed_std": seeds.std,
        "seed_low": seeds.low,
        "seed_high": seeds.high,
        "first_shown": cell.first_shown,
        "quality_start": quality.start if quality else None,
        "quality_policy": quality.policy if quality else None,
        "difference": quality.difference if quality else None,
        "difference_lo": quality.lo if quality else None,
        "difference_hi": quality.hi if quality else None,
        "stopped": "; ".join(cell.stopped),
    }
