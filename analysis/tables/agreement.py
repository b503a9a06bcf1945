"""Agreement of judges: of the members of a panel, and of judges that judged the same responses."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from math import isnan

import numpy as np

from analysis.records.names import judge_label, sort_names
from analysis.stats.agreement import Agreement, agreement
from analysis.tables.cells import Cell, place_of
from analysis.tables.render import Table, format_interval, format_percent, group_rows, slug
from analysis.tables.win_rates import list_table, names_of, place_heads
from cme.records import MAJORITY, RunRecord, judge_name, points

KAPPA_NOTE = (
    "Alike: pairs of judges with the same outcome. Kappa: Cohen's for two judges, Fleiss' for more, with its 95 % CI, "
    "bootstrapped by prompt; 1 is full agreement, 0 agreement by chance."
)


def panel_table(cells: Sequence[Cell]) -> Table:
    """Agreement of the judges of a panel."""
    panels = [cell for cell in cells if cell.agreement is not None]

    def columns(cell: Cell) -> dict[str, str]:
        assert cell.agreement is not None
        return agreement_columns(cell.agreement)

    notes = [
        "Items: one pair in one order, with a win, a tie or a loss of the policy from every judge. "
        "Left out: items that a judge could not score.",
        KAPPA_NOTE,
        "The majority: a win or a loss that more than half of the votes give, otherwise a tie; unscored without "
        "votes from more than half of the judges.",
    ]
    return list_table("agreement", "Agreement of the judges", panels, columns, notes)


def judges_tables(cells: Sequence[Cell], records: Sequence[RunRecord]) -> list[Table]:
    """Agreement of every two judges of the same responses at one scale; empty without two such judges."""
    by_id = {record.run_id: record for record in records}
    places: dict[object, list[Cell]] = defaultdict(list)
    for cell in cells:
        places[place_of(cell)].append(cell)
    rows = []
    for of_place in places.values():
        runs = [by_id[run] for run in dict.fromkeys(run for cell in of_place for run in cell.runs)]
        head = dict(zip(place_heads(of_place[0]), (*names_of(of_place[0]), of_place[0].method), strict=True))
        rows += [head | agreement_columns(each) for each in judge_agreements(runs)]
    if not rows:
        return []
    scale = cells[0].scale
    return [
        Table(
            name=f"agreement-{slug(scale)}",
            title=f"Agreement between judges of the same responses, scale: {scale}",
            header=list(rows[0]),
            groups=group_rows([list(row.values()) for row in rows]),
            notes=[
                "Items: one pair in one order, with a win, a tie or a loss of the policy from both judges. Left out: "
                "items that one of them could not score.",
                KAPPA_NOTE,
            ],
        )
    ]


def agreement_columns(found: Agreement) -> dict[str, str]:
    """The judges, the items and the agreement, by header."""
    kappa = "n/a" if isnan(found.kappa) else f"{found.kappa:.2f}"
    return {
        "judges": ", ".join(map(judge_label, found.judges)),
        "items": str(found.items),
        "left out": str(found.left_out),
        "alike (%)": format_percent(found.alike),
        "kappa": f"{kappa} {format_interval(found.lo, found.hi, 2)}",
    }


def judge_agreements(runs: Sequence[RunRecord]) -> list[Agreement]:
    """The agreement of every two judges on the responses that both judged, in whichever of the runs.

    The members of a panel are judges too, but not compared with each other, nor is a panel's majority with anyone.
    """
    panels: dict[str, str] = {}
    items: dict[tuple[object, ...], dict[str, float]] = defaultdict(dict)
    for run in runs:
        pairs, prompts = {pair.prompt_id: pair for pair in run.pairs}, run.prompt_names
        for judge, verdict in run.judgements():
            if verdict.judge != MAJORITY:
                name, pair = judge_name(judge, verdict), pairs[verdict.prompt_id]
                panels[name] = judge
                shown = (prompts[verdict.prompt_id], pair.start.response, pair.policy.response)
                items[(*shown, verdict.policy_first, run.seed)][name] = points(verdict)
    found = []
    for both in combinations(sort_names(panels), 2):
        judged = [
            (item[0], [votes[name] for name in both]) for item, votes in items.items() if {*both} <= {*votes}
        ]
        if judged and panels[both[0]] != panels[both[1]]:
            names, won = zip(*judged, strict=True)
            found.append(agreement(np.array(won), np.array(names, dtype=object), both))
    return found
