"""Judges' sanity: their win rates for opponents that are no better, and which judges fail."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.load import points
from analysis.metrics import FEW_PROMPTS, WinRate, first_shown_share, win_rate
from analysis.render import Entry, Table, slug
from analysis.sections import Section, by_scale, write_part
from analysis.tables import interval, number
from cme.records import SanityRecord, Verdict

ITSELF = "itself"
OPPONENTS = (
    "Opponents of a model's own greedy responses: null (one phrase for every prompt), longer (the response twice), "
    "shorter (its first half, where it had ended by itself), copied (the prompt); itself: two samples of the "
    "model against each other."
)
RULE = (
    "A judge fails against itself where the interval excludes 50 %, and against any other opponent where the "
    "interval lies above 50 %: none of them is better than the response it stands against."
)


def wins_of(verdicts: Sequence[Verdict]) -> WinRate:
    """The opponent's win rate."""
    return win_rate(
        np.array([points(v) for v in verdicts], dtype=float),
        np.array([v.prompt_id for v in verdicts], dtype=object),
    )


def failed(opponent: str, win: WinRate) -> bool:
    """Whether a judge fails against an opponent; so few prompts that nothing can be told are no failure."""
    return not win.few and (win.lo > 50 or (opponent == ITSELF and win.hi < 50))


def failures(record: SanityRecord) -> list[str]:
    """The opponents against which a judge fails, in sentences."""
    found = []
    for opponent, verdicts in record.verdicts.items():
        win = wins_of(verdicts)
        if failed(opponent, win):
            found.append(
                f"Judge {record.judge} fails its sanity check against {opponent} ({record.generator_checkpoint}): "
                f"win rate {number(win.rate)} % {interval(win.lo, win.hi)}."
            )
    return found


def sanity_frame(records: Sequence[SanityRecord]) -> pd.DataFrame:
    """One row a judge, generator and opponent: the opponent's win rate in percent with its interval."""
    rows = []
    for record in records:
        for opponent, verdicts in record.verdicts.items():
            win = wins_of(verdicts)
            rows.append(
                {
                    "sanity_id": record.sanity_id,
                    "scale": record.scale,
                    "judge": record.judge,
                    "family": record.family,
                    "regime": record.regime,
                    "seed": record.seed,
                    "opponent": opponent,
                    "win_rate": win.rate,
                    "lo": win.lo,
                    "hi": win.hi,
                    "prompts": win.prompts,
                    "unscored": win.unscored,
                    "first_shown": first_shown(verdicts),
                    "few": win.few,
                    "failed": failed(opponent, win),
                }
            )
    return pd.DataFrame(rows)


def first_shown(verdicts: Sequence[Verdict]) -> float:
    """Percent of decided verdicts that went to the response shown first."""
    return first_shown_share(
        np.array([points(v) for v in verdicts], dtype=float),
        np.array([v.policy_first for v in verdicts], dtype=bool),
    )


def sanity_table(records: Sequence[SanityRecord]) -> Table:
    """Judges of one scale in rows, a row an opponent."""
    frame = sanity_frame(records)
    groups: list[list[list[Entry]]] = []
    for _, own in frame.groupby("sanity_id", sort=False):
        rows: list[list[Entry]] = []
        for row in own.to_dict("records"):
            check = "fails" if row["failed"] else "n/a" if row["few"] else "passes"
            texts = [
                "" if rows else str(row["judge"]),
                "" if rows else f"{row['family']} {row['regime']}",
                str(row["opponent"]),
                f"{number(row['win_rate'])} {interval(row['lo'], row['hi'])}",
                number(row["first_shown"]),
                str(row["prompts"]),
                str(row["unscored"]),
            ]
            rows.append([*map(Entry, texts), Entry(check, bold=bool(row["failed"]))])
        groups.append(rows)
    scale = records[0].scale
    return Table(
        name=f"sanity-{slug(scale)}",
        title=f"Sanity of judges: win rate of opponents that are no better (%), scale: {scale}",
        header=["judge", "generator", "opponent", "win rate", "first won", "prompts", "unscored", "check"],
        groups=groups,
        notes=[
            OPPONENTS,
            f"{RULE} n/a: fewer than {FEW_PROMPTS} scored prompts.",
            "First won: decided verdicts for the response shown first; 50 is blind to order.",
        ],
    )


def sanity_section(records: Sequence[SanityRecord], out: Path) -> Section:
    """The judges' sanity, scale by scale."""
    parts = []
    for scale, own in by_scale(records):
        tables = [sanity_table(own)]
        parts.append(write_part(f"{slug(scale)}-sanity", tables, sanity_frame(own), [], out))
    return Section(
        "judges",
        "Can the judges be trusted?",
        "Each judge met opponents of which none is better than the model's own responses. What it says of a trained "
        "policy is worth no more than what it says of these.",
        parts,
    )
