"""Agreement of judges on the same responses: of the members of a panel, and of every two judges."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from analysis.records.frames import Frames
from analysis.records.names import judge_label, place_heads, place_names, sort_names
from analysis.stats.judges import Agreement, agreement
from analysis.tables.render import Table, format_estimate, format_percent, group_rows, slug
from cme.records import MAJORITY, RunRecord

KAPPA_NOTE = (
    "Alike: pairs of judges with the same outcome. Kappa: Cohen's for two judges, Fleiss' for more, with its 95 % CI, "
    "bootstrapped by prompt; 1 is full agreement, 0 agreement by chance."
)


def panel_agreement(verdicts: pd.DataFrame) -> Agreement:
    """Agreement of the members of one panel, from the verdicts of each order alone."""
    votes = verdicts[~verdicts["judge"].str.endswith(f": {MAJORITY}")]
    table = votes.set_index(["run_id", "prompt_id", "policy_first", "judge"])["points"].unstack("judge")
    members = tuple(str(name).split(": ", 1)[1] for name in table.columns)
    prompts = table.index.get_level_values("prompt_id").to_numpy(object)
    return agreement(table.to_numpy(float), prompts, members)


def judge_agreements(frames: Frames) -> dict[Any, list[Agreement]]:
    """By place and method, the agreement of every two judges on the responses that both judged, in whichever run.

    The members of a panel are judges too, but not compared with each other, nor is a panel's majority with anyone.
    """
    place, item = (
        ["family", "regime", "reward", "verifier", "method"],
        ["prompt_id", "start_response", "policy_response", "policy_first", "seed"],
    )
    verdicts = frames.verdicts[~frames.verdicts["judge"].str.endswith(f": {MAJORITY}")]
    if verdicts["judge"].nunique() < 2:
        return {}
    responses = frames.pairs[["run_id", "prompt_id", "start_response", "policy_response"]]
    verdicts = verdicts.merge(responses, on=["run_id", "prompt_id"])
    verdicts = verdicts.drop_duplicates([*place, *item, "judge"], keep="last")
    found: dict[Any, list[Agreement]] = {}
    for key, of_place in verdicts.groupby(place, sort=False):
        panels = of_place.groupby("judge")["panel"].first().to_dict()
        votes = {str(judge): own.set_index(item)["points"] for judge, own in of_place.groupby("judge")}
        for one, other in combinations(sort_names(votes), 2):
            both = pd.concat([votes[one], votes[other]], axis=1, join="inner")
            if len(both) and (panels[one] is None or panels[one] != panels[other]):
                prompts = both.index.get_level_values("prompt_id").to_numpy(object)
                found.setdefault(key, []).append(agreement(both.to_numpy(float), prompts, (one, other)))
    return found


def agreement_tables(records: Sequence[RunRecord]) -> list[Table]:
    """Agreement of every two judges of the same responses at one scale; empty without two such judges."""
    scale = records[0].scale
    rows: list[dict[str, str]] = []
    for (family, regime, _, _, method), of_place in judge_agreements(Frames(records)).items():
        place = dict(zip(place_heads(scale), (*place_names(scale, family, regime), method), strict=True))
        rows += [place | agreement_columns(each) for each in of_place]
    if not rows:
        return []
    notes = [
        "Items: one pair in one order, with a win, a tie or a loss of the policy from both judges. Left out: "
        "items that one of them could not score.",
        KAPPA_NOTE,
    ]
    title = f"Agreement between judges of the same responses, scale: {scale}"
    groups = group_rows([list(row.values()) for row in rows])
    return [Table(f"agreement-{slug(scale)}", title, list(rows[0]), groups, notes)]


def agreement_columns(found: Agreement) -> dict[str, str]:
    """The judges, the items and the agreement, by header."""
    return {
        "judges": ", ".join(map(judge_label, found.judges)),
        "items": str(found.items),
        "left out": str(found.left_out),
        "alike (%)": format_percent(found.alike),
        "kappa": format_estimate(found.kappa, found.lo, found.hi, 2),
    }
