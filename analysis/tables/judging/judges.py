"""Judges: which of their verdicts count, and how far they can be trusted.

A sanity check has a judge compare a model's own responses with opponents that are no better.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.ceiling import EXACT_JUDGES
from analysis.records.names import ABSENT, flatten_config, generator_name, judge_label, result_settings
from analysis.stats.intervals import FEW_PROMPTS, Bools, Floats
from analysis.stats.judges import first_position_share, half_scored, position_consistency
from analysis.stats.win_rates import WinRate, win_rate
from analysis.tables.render import (
    Column,
    Entry,
    Table,
    build_table,
    format_estimate,
    format_interval,
    format_percent,
    pick,
    rows_by,
    slug,
)
from cme.records import (
    CUT_START,
    MAJORITY,
    RunRecord,
    SanityRecord,
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


def order_columns(verdicts: pd.DataFrame) -> tuple[Floats, Bools, NDArray[np.object_], Bools]:
    """Points, order and pair of each verdict (N,), and whether its pair is unscored in the other order."""
    points = verdicts["points"].to_numpy(float)
    policy_first = verdicts["policy_first"].to_numpy(bool)
    pairs = (verdicts["run_id"] + "\n" + verdicts["prompt_id"]).to_numpy(object)
    return points, policy_first, pairs, half_scored(points, policy_first, pairs)


def rate_of(verdicts: pd.DataFrame) -> WinRate:
    """The win rate over some verdicts of one judge."""
    points, _, _, half = order_columns(verdicts)
    return win_rate(points, verdicts["prompt_id"].to_numpy(object), half)


def position_bias(alone: pd.DataFrame) -> tuple[float, float]:
    """Of verdicts of each order alone: the percentage of decided ones for the response shown first, and that of the
    pairs with the same verdict in both orders."""
    points, policy_first, pairs, half = order_columns(alone)
    counted = np.where(half, nan, points)
    return first_position_share(counted, policy_first), position_consistency(counted, policy_first, pairs)


@dataclass(frozen=True)
class Check:
    """One judge's verdicts on one opponent: the opponent's win rate, and the judge's `position_bias`."""

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
    verdicts, alone = (opponent_verdicts(record, by_order) for by_order in (False, True))
    by_order = dict(iter(alone.groupby(["judge", "opponent"])))
    return [
        Check(str(judge), str(opponent), rate_of(own), *position_bias(by_order[judge, opponent]))
        for judge, of_judge in verdicts.groupby("judge", sort=False)
        for opponent, own in of_judge.groupby("opponent", sort=False)
    ]


def opponent_verdicts(record: SanityRecord, by_order: bool) -> pd.DataFrame:
    """One row per verdict. The opponent is in the policy's place, so it has the points."""
    rows = [
        (record.sanity_id, judge_name(record.judge, v), opponent, v.prompt_id, v.policy_first, points(v))
        for opponent, given in record.verdicts.items()
        for v in [*(verdicts_by_order(given) if by_order else given), *majority_verdicts(given)]
    ]
    columns = ["run_id", "judge", "opponent", "prompt_id", "policy_first", "points"]
    return pd.DataFrame(rows, columns=columns)


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

    def rejects_worse(checks: Sequence[Check]) -> bool:
        return {c.opponent for c in checks if c.win.hi < 50 and not c.win.few}.issuperset(WORSE)

    return "passes" if all(any(map(rejects_worse, of_run)) for of_run in by_run) else "unchecked"


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
    whose = "the results'"
    if len(different) < len(of_runs):
        whose = f"that of {len(different)} of {len(of_runs)} runs"
    return f"A judge called {judge_label(judge)}, with other settings than {whose} ({'; '.join(sorted(differences))}),"


def settings_by_judge(record: RunRecord | SanityRecord) -> dict[str, dict[str, str]]:
    """The settings that affect the verdicts of each judge of a record, further judges included.

    A panel has one entry for each member and one for the majority.
    """
    members = record.config.get("judge", {}).get("members") or ()
    found = _by_member(record.judge, result_settings(record), members)
    for further in (record.further_judges or []) if isinstance(record, RunRecord) else []:
        settings = dict(flatten_config(further.settings))
        named = {field.split(".")[2] for field in settings if field.startswith("judge.members.")}
        found |= _by_member(further.name, settings, named)
    return found


def _by_member(judge: str, settings: Mapping[str, str], members: Iterable[str]) -> dict[str, dict[str, str]]:
    """The settings of a judge; of a panel, those of each member, and all settings for the majority."""
    paths = {f"{judge}: {name}": f"judge.members.{name}." for name in members}
    paths |= {f"{judge}: {MAJORITY}" if paths else judge: "judge."}
    return {
        name: {
            f"judge.{field.removeprefix(path)}": value
            for field, value in settings.items()
            if field.startswith(path)
        }
        for name, path in paths.items()
    }


def sanity_frame(records: Sequence[SanityRecord]) -> pd.DataFrame:
    """One row per judge, generator and opponent: the opponent's win rate in percent with its interval."""
    return pd.DataFrame(
        [
            pick(record, "sanity_id scale")
            | {"judge": check.judge}
            | pick(record, "family regime seed")
            | {"opponent": check.opponent, "win_rate": check.win.rate}
            | pick(check.win, "lo hi prompts unscored half_scored")
            | pick(check, "first_shown consistent")
            | {"few": check.win.few, "failed": check.failed}
            for record in records
            for check in build_checks(record)
        ]
    )


def sanity_table(records: Sequence[SanityRecord]) -> Table:
    """The judges of one scale, one row per opponent."""

    def check(row: dict[str, Any]) -> Entry:
        result = "fails" if row["failed"] else "n/a" if row["few"] else "passes"
        return Entry("-" if row["opponent"] == CUT_START else result, bold=bool(row["failed"]))

    return build_table(
        name=f"sanity-{slug(records[0].scale)}",
        title=f"Sanity check of judges: win rate of opponents that are no better (%), scale: {records[0].scale}",
        columns=[
            Column("judge", lambda row: judge_label(row["judge"]), once=True),
            Column("generator", lambda row: generator_name(row["family"], row["regime"]), once=True),
            Column("opponent", lambda row: row["opponent"]),
            Column("win rate", lambda row: format_estimate(row["win_rate"], row["lo"], row["hi"])),
            Column("first won", lambda row: format_percent(row["first_shown"])),
            Column("prompts", lambda row: str(row["prompts"])),
            Column("unscored", lambda row: format_left_out(row["unscored"], row["half_scored"])),
            Column("consistent", lambda row: format_percent(row["consistent"])),
            Column("check", check),
        ],
        groups=rows_by(sanity_frame(records), "sanity_id", "judge"),
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


def format_left_out(unscored: int, half_scored: int) -> str:
    """The number of unscored verdicts and, after a +, of those whose pair is unscored in the other order."""
    return f"{unscored} + {half_scored}" if half_scored else str(unscored)
