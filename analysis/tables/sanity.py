"""Sanity checks of judges: their win rates for opponents that are no better, and the judges that fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.frames import judge_name
from analysis.records.names import ABSENT, flatten_config, generator_name, is_neutral, judge_label
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.metrics import WinRate, win_rate
from analysis.stats.position_bias import first_position_share, half_scored
from analysis.tables.render import Entry, Row, Table, format_interval, format_percent, group_rows, slug
from cme.records import CUT_START, MAJORITY, RunRecord, SanityRecord, Verdict, majority_verdicts, points

ITSELF = "itself"
OPPONENTS = (
    "Opponents of a model's own greedy responses: null (one phrase for every prompt), longer (the response twice), "
    "shorter (its first half, if the response was complete), copied (the prompt), cut start (its first sentence, where "
    "that is not all of it); itself: two samples of the model against each other."
)
RULE = (
    "A judge fails against itself if the interval excludes 50 %, and against any other opponent if the "
    "interval lies above 50 %: no opponent is better than the response that it is compared with. The cut start may be "
    "better, so it is shown without a check."
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
        """Whether the judge fails; with too few prompts, and against the cut start, it does not.

        A failure that the unscored verdicts could reverse still counts as a failure.
        """
        win = self.win
        if self.opponent == CUT_START:
            return False
        return not win.few and (win.lo > 50 or (self.opponent == ITSELF and win.hi < 50))


def build_checks(record: SanityRecord) -> list[Check]:
    """The checks by judge and opponent, with the members and the majority of a panel as separate judges."""
    groups: dict[str, dict[str, list[Verdict]]] = {}
    for opponent, verdicts in record.verdicts.items():
        for verdict in [*verdicts, *majority_verdicts(verdicts)]:
            by_opponent = groups.setdefault(judge_name(record.judge, verdict), {})
            by_opponent.setdefault(opponent, []).append(verdict)
    checks = []
    for judge, by_opponent in groups.items():
        for opponent, verdicts in by_opponent.items():
            # The opponent is in the policy's place, so the points are the opponent's.
            won = np.array([points(verdict) for verdict in verdicts], dtype=float)
            prompts = np.array([verdict.prompt_id for verdict in verdicts], dtype=object)
            shown_first = np.array([verdict.policy_first for verdict in verdicts], dtype=bool)
            half = half_scored(won, shown_first, prompts)
            share = first_position_share(np.where(half, nan, won), shown_first)
            checks.append(Check(judge, opponent, win_rate(won, prompts, half), share))
    return checks


def sanity_failures(record: SanityRecord, runs: Sequence[RunRecord] = ()) -> list[str]:
    """A sentence per opponent against which a judge fails; it states whether the judge is that of `runs`."""
    sentences = []
    for check in (check for check in build_checks(record) if check.failed):
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
    settings = settings_by_judge(record).get(judge, {})
    of_runs = [by_judge[judge] for run in runs if judge in (by_judge := settings_by_judge(run))]
    different = [other for other in of_runs if other != settings]
    if not different:
        return f"Judge {judge_label(judge)}"
    differences = set()
    for other in different:
        fields = sorted(field for field in settings | other if settings.get(field) != other.get(field))
        texts = [f"{f}: {settings.get(f, ABSENT)}, there {other.get(f, ABSENT)}" for f in fields]
        differences.add(", ".join(texts) if other else "theirs are not recorded")
    all_differ = len(different) == len(of_runs)
    whose = "the results'" if all_differ else f"that of {len(different)} of {len(of_runs)} runs"
    return f"A judge called {judge_label(judge)}, with other settings than {whose} ({'; '.join(sorted(differences))}),"


def settings_by_judge(record: RunRecord | SanityRecord) -> dict[str, dict[str, str]]:
    """The settings that affect verdicts for each judge of a record, including members and majority of a panel."""

    def settings(node: Mapping[str, Any], path: str) -> dict[str, str]:
        return {
            f"judge.{field}": value
            for field, value in flatten_config(node)
            if not is_neutral(f"{path}.{field}", record.neutral)
        }

    node = record.config.get("judge", {})
    members = node.get("members", {})
    if not members:
        return {record.judge: settings(node, "judge")}
    by_member = {
        f"{record.judge}: {name}": settings(member, f"judge.members.{name}")
        for name, member in members.items()
    }
    return by_member | {f"{record.judge}: {MAJORITY}": settings(node, "judge")}


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
            for check in build_checks(record)
        ]
    )


def sanity_table(records: Sequence[SanityRecord]) -> Table:
    """The judges of one scale, one row per opponent."""
    groups: list[Sequence[Row]] = []
    for _, checks in sanity_frame(records).groupby(["sanity_id", "judge"], sort=False):
        rows: list[Sequence[Entry | str]] = []
        for row in checks.to_dict("records"):
            result = "fails" if row["failed"] else "n/a" if row["few"] else "passes"
            result = "-" if row["opponent"] == CUT_START else result
            half = f" + {row['half_scored']}" if row["half_scored"] else ""
            rows.append(
                [
                    judge_label(row["judge"]),
                    generator_name(row["family"], row["regime"]),
                    str(row["opponent"]),
                    f"{format_percent(row['win_rate'])} {format_interval(row['lo'], row['hi'])}",
                    *(format_percent(row["first_shown"]), str(row["prompts"]), f"{row['unscored']}{half}"),
                    Entry(result, bold=bool(row["failed"])),
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
            *(
                f"{judge_label(record.judge)}, {generator_name(record.family, record.regime)}: {warning}"
                for record in records
                for warning in record.warnings
            ),
        ],
    )
