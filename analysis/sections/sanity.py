"""Sanity checks of judges: their win rates for opponents that are no better, and the judges that fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.frames import judge_name
from analysis.records.names import ABSENT, flatten_config, is_neutral
from analysis.sections.base import Section, group_by_scale, write_part
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.metrics import WinRate, win_rate
from analysis.stats.position_bias import first_position_share, half_scored
from analysis.tables.render import Entry, Row, Table, format_interval, format_percent, group_rows, slug
from cme.records import MAJORITY, RunRecord, SanityRecord, Verdict, majority_verdicts, points

ITSELF = "itself"
OPPONENTS = (
    "Opponents of a model's own greedy responses: null (one phrase for every prompt), longer (the response twice), "
    "shorter (its first half, if the response was complete), copied (the prompt); itself: two samples of the "
    "model against each other."
)
RULE = (
    "A judge fails against itself if the interval excludes 50 %, and against any other opponent if the "
    "interval lies above 50 %: no opponent is better than the response that it is compared with."
)


@dataclass(frozen=True)
class Check:
    """One judge's verdicts on one opponent: the opponent's win rate, and the share of the response shown first."""

    judge: str
    opponent: str
    win: WinRate
    first_shown: float

    @property
    def failed(self) -> bool:
        """Whether the judge fails; with too few prompts it does not.

        A failure that the unscored verdicts could reverse still counts as a failure.
        """
        win = self.win
        return not win.few and (win.lo > 50 or (self.opponent == ITSELF and win.hi < 50))


def checks_of(record: SanityRecord) -> list[Check]:
    """The checks by judge and opponent, with the members and the majority of a panel as separate judges."""
    by_judge: dict[str, dict[str, list[Verdict]]] = {}
    for opponent, verdicts in record.verdicts.items():
        for verdict in [*verdicts, *majority_verdicts(verdicts)]:
            own = by_judge.setdefault(judge_name(record, verdict), {})
            own.setdefault(opponent, []).append(verdict)
    checks = []
    for judge, opponents in by_judge.items():
        for opponent, verdicts in opponents.items():
            won = np.array([points(v) for v in verdicts], dtype=float)
            prompts = np.array([v.prompt_id for v in verdicts], dtype=object)
            first = np.array(
                [v.policy_first for v in verdicts], dtype=bool
            )  # the opponent is in the policy's place
            half = half_scored(won, first, prompts)
            share = first_position_share(np.where(half, nan, won), first)
            checks.append(Check(judge, opponent, win_rate(won, prompts, half), share))
    return checks


def sanity_failures(record: SanityRecord, runs: Sequence[RunRecord] = ()) -> list[str]:
    """A sentence per opponent against which a judge fails; it states whether the judge is that of `runs`."""
    sentences = []
    for check in (check for check in checks_of(record) if check.failed):
        win = check.win
        bounds = f"{format_percent(win.worst_lo)} to {format_percent(win.worst_hi)} %"
        unsure = f"; with the unscored verdicts it could be {bounds}" if win.open else ""
        rate = f"{format_percent(win.rate)} % {format_interval(win.lo, win.hi)}"
        sentences.append(
            f"{judge_subject(record, check.judge, runs)} fails its sanity check against {check.opponent} "
            f"({record.generator_checkpoint}): win rate {rate}{unsure}."
        )
    return sentences


def judge_subject(record: SanityRecord, judge: str, runs: Sequence[RunRecord]) -> str:
    """The judge as the subject of a sentence, with differences from judges of the same name in `runs`."""
    own = settings_by_judge(record).get(judge, {})
    theirs = [found for run in runs for name, found in settings_by_judge(run).items() if name == judge]
    other = [settings for settings in theirs if settings != own]
    if not other:
        return f"Judge {judge}"
    unlike = "; ".join(sorted({differences(own, settings) for settings in other}))
    which = "the results'" if len(other) == len(theirs) else f"that of {len(other)} of {len(theirs)} runs"
    return f"A judge called {judge}, with other settings than {which} ({unlike}),"


def settings_by_judge(record: RunRecord | SanityRecord) -> dict[str, dict[str, str]]:
    """The settings that affect verdicts for each judge of a record, including members and majority of a panel."""
    node = record.config.get("judge", {})
    members = node.get("members", {})
    if not members:
        return {record.judge: settings_of_judge(node, "judge", record)}
    own = {
        f"{record.judge}: {name}": settings_of_judge(member, f"judge.members.{name}", record)
        for name, member in members.items()
    }
    return own | {f"{record.judge}: {MAJORITY}": settings_of_judge(node, "judge", record)}


def settings_of_judge(node: Mapping[str, Any], path: str, record: RunRecord | SanityRecord) -> dict[str, str]:
    """The configuration of the judge at `path` by dotted field, without what does not change its verdicts."""
    return {
        f"judge.{field}": value
        for field, value in flatten_config(node)
        if not is_neutral(f"{path}.{field}", record.neutral)
    }


def differences(own: Mapping[str, str], other: Mapping[str, str]) -> str:
    """The differences between two judges' settings, such as `judge.model: a, there b`."""
    if not other:
        return "theirs are not recorded"
    return ", ".join(
        f"{field}: {own.get(field, ABSENT)}, there {other.get(field, ABSENT)}"
        for field in sorted(own.keys() | other.keys())
        if own.get(field) != other.get(field)
    )


def sanity_frame(records: Sequence[SanityRecord]) -> pd.DataFrame:
    """One row per judge, generator and opponent: the opponent's win rate in percent with its interval."""
    return pd.DataFrame(
        [
            {
                "sanity_id": record.sanity_id,
                "scale": record.scale,
                "judge": check.judge,
                "family": record.family,
                "regime": record.regime,
                "seed": record.seed,
                "opponent": check.opponent,
                "win_rate": check.win.rate,
                "lo": check.win.lo,
                "hi": check.win.hi,
                "prompts": check.win.prompts,
                "unscored": check.win.unscored,
                "half_scored": check.win.half_scored,
                "first_shown": check.first_shown,
                "few": check.win.few,
                "failed": check.failed,
            }
            for record in records
            for check in checks_of(record)
        ]
    )


def sanity_table(records: Sequence[SanityRecord]) -> Table:
    """The judges of one scale, one row per opponent."""
    frame = sanity_frame(records)
    groups: list[Sequence[Row]] = []
    for _, own in frame.groupby(["sanity_id", "judge"], sort=False):
        rows: list[Sequence[Entry | str]] = []
        for row in own.to_dict("records"):
            check = "fails" if row["failed"] else "n/a" if row["few"] else "passes"
            half = f" + {row['half_scored']}" if row["half_scored"] else ""
            rows.append(
                [
                    *(str(row["judge"]), f"{row['family']} {row['regime']}", str(row["opponent"])),
                    f"{format_percent(row['win_rate'])} {format_interval(row['lo'], row['hi'])}",
                    *(format_percent(row["first_shown"]), str(row["prompts"]), f"{row['unscored']}{half}"),
                    Entry(check, bold=bool(row["failed"])),
                ]
            )
        groups += group_rows(rows, 2)
    scale = records[0].scale
    return Table(
        name=f"sanity-{slug(scale)}",
        title=f"Sanity check of judges: win rate of opponents that are no better (%), scale: {scale}",
        header=["judge", "generator", "opponent", "win rate", "first won", "prompts", "unscored", "check"],
        groups=groups,
        notes=[
            OPPONENTS,
            f"{RULE} n/a: fewer than {FEW_PROMPTS} scored prompts.",
            "First won: decided verdicts for the response shown first; 50 without position bias. Unscored: after the "
            "+, verdicts left out because their pair is unscored in the other order.",
            *(f"{of.judge}, {of.family} {of.regime}: {said}" for of in records for said in of.warnings),
        ],
    )


def sanity_section(records: Sequence[SanityRecord], out: Path) -> Section:
    """The sanity checks, scale by scale."""
    parts = []
    for scale, own in group_by_scale(records):
        tables = [sanity_table(own)]
        parts.append(write_part(f"{slug(scale)}-sanity", tables, sanity_frame(own), [], out))
    return Section(
        "judges",
        "Can the judges be trusted?",
        "Each judge compared the model's own responses with opponents that are no better. Its verdicts on trained "
        "policies are no more reliable than these.",
        parts,
    )
