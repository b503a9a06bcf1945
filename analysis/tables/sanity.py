"""Sanity checks of judges: their win rates for opponents that are no better, and the judges that fail."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.ceiling import EXACT_JUDGES
from analysis.records.names import ABSENT, flatten_config, generator_name, is_neutral, judge_label
from analysis.stats.intervals import FEW_PROMPTS, Floats
from analysis.stats.metrics import WinRate, win_rate
from analysis.stats.position_bias import first_position_share, half_scored, position_consistency
from analysis.tables.render import Entry, Row, Table, format_interval, format_percent, group_rows, slug
from cme.records import (
    CUT_START,
    MAJORITY,
    RunRecord,
    SanityRecord,
    Verdict,
    judge_name,
    majority_verdicts,
    points,
    verdicts_by_order,
)

Standing = Literal["exact", "passes", "fails", "unchecked"]
"""Whether a judge can be trusted, as `judge_standing` says."""
ITSELF = "itself"
WORSE = ("null", "copied")
"""Opponents that are worse than an answer, so that a judge of use must reject them."""
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
    """One judge's verdicts on one opponent: the opponent's win rate and, by each order alone, the position bias.

    `first_shown` is the share of decided verdicts for the response shown first, `consistent` that of the pairs with the
    same verdict in both orders; both are in percent.
    """

    judge: str
    opponent: str
    win: WinRate
    first_shown: float
    consistent: float

    @property
    def failed(self) -> bool:
        """Whether the judge fails; with too few prompts, and against the cut start, it does not.

        A failure that the unscored verdicts could reverse still counts as a failure.
        """
        win = self.win
        if self.opponent == CUT_START:
            return False
        return not win.few and (win.lo > 50 or (self.opponent == ITSELF and win.hi < 50))


Checked = tuple[SanityRecord, Sequence[Check]]
"""A record with its checks, which take a while to compute."""


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
            won, shown_first, prompts = columns(verdicts)
            win = win_rate(won, prompts, half_scored(won, shown_first, prompts))
            alone, shown_first, prompts = columns(verdicts_by_order(verdicts))
            alone = np.where(half_scored(alone, shown_first, prompts), nan, alone)
            share = first_position_share(alone, shown_first)
            consistent = position_consistency(alone, shown_first, prompts)
            checks.append(Check(judge, opponent, win, share, consistent))
    return checks


def columns(verdicts: Sequence[Verdict]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.object_]]:
    """Points, order and prompt of each verdict (N,). The opponent is in the policy's place, so it has the points."""
    won = np.array([points(verdict) for verdict in verdicts], dtype=float)
    shown_first = np.array([verdict.policy_first for verdict in verdicts], dtype=bool)
    return won, shown_first, np.array([verdict.prompt_id for verdict in verdicts], dtype=object)


def check_judges(records: Iterable[SanityRecord]) -> list[Checked]:
    """The records with their checks, for `judge_standing`."""
    return [(record, build_checks(record)) for record in records]


def judge_standing(judge: str, runs: Sequence[RunRecord], checked: Sequence[Checked]) -> Standing:
    """Whether the judge of some runs can be trusted, by the sanity checks of judges with the same settings.

    It fails if it fails one of them. A judge that knows the truth needs none. Any other passes if for each run there is
    a check in which it fails against no opponent and rejects those that are worse than an answer.
    """
    by_run = []
    for run in runs:
        settings = settings_by_judge(run).get(judge)
        same = [checks for record, checks in checked if settings_by_judge(record).get(judge) == settings]
        by_run.append([[check for check in checks if check.judge == judge] for checks in same])
    if any(check.failed for of_run in by_run for checks in of_run for check in checks):
        return "fails"
    if judge.split(": ")[-1] in EXACT_JUDGES:
        return "exact"
    return "passes" if all(any(map(rejects_worse, of_run)) for of_run in by_run) else "unchecked"


def rejects_worse(checks: Sequence[Check]) -> bool:
    """Whether a judge rejects the opponents that are worse than an answer, by its checks in one record."""
    rejected = {check.opponent for check in checks if check.win.hi < 50 and not check.win.few}
    return rejected.issuperset(WORSE)


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
                "consistent": check.consistent,
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
                    format_percent(row["consistent"]),
                    Entry(result, bold=bool(row["failed"])),
                ]
            )
        groups += group_rows(rows, 2)
    scale = records[0].scale
    return Table(
        name=f"sanity-{slug(scale)}",
        title=f"Sanity check of judges: win rate of opponents that are no better (%), scale: {scale}",
        header=[
            *("judge", "generator", "opponent", "win rate", "first won", "prompts", "unscored", "consistent"),
            "check",
        ],
        groups=groups,
        notes=[
            OPPONENTS,
            f"{RULE} n/a: fewer than {FEW_PROMPTS} scored prompts.",
            "First won: decided verdicts for the response shown first; 50 without position bias. Unscored: after the "
            "+, verdicts left out because their pair is unscored in the other order. Consistent: pairs that each order "
            "alone judges alike.",
            *(
                f"{judge_label(record.judge)}, {generator_name(record.family, record.regime)}: {warning}"
                for record in records
                for warning in record.warnings
            ),
        ],
    )
