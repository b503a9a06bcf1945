"""The cells that several experiments share: how many compare with each, and over how many seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.records.builds import OFFSET, pool_builds
from analysis.records.names import (
    SCALES,
    display_name,
    generator_name,
    order_key,
    result_settings,
    verifier_name,
)
from analysis.records.read import Records
from analysis.tables.render import Entry, Table
from cme.records import RunRecord

WANTED_SEEDS = 5
"""The seeds of a baseline of several experiments: its error is in all of their findings at once."""


@dataclass(frozen=True)
class SharedBaseline:
    """One way of training in one place: its runs, and the experiments that have them."""

    runs: Sequence[RunRecord]
    experiments: Sequence[str]

    @property
    def seeds(self) -> int:
        """The number of seeds, for each build of the checkpoints."""
        return len({run.seed % OFFSET for run in self.runs})


def shared_baselines(records: Records) -> list[SharedBaseline]:
    """The cells that two experiments or more have, those with most experiments first within each scale."""
    experiments: dict[str, set[str]] = {}
    for plan in records.experiments:
        for run_id in plan.runs:
            experiments.setdefault(run_id, set()).add(plan.name)
    cells: dict[tuple[object, ...], list[RunRecord]] = {}
    for run in map(pool_builds, records.runs):
        settings = frozenset(result_settings(run).items())
        key = run.scale, run.family, run.regime, run.reward, run.verifier, run.judge, settings
        cells.setdefault(key, []).append(run)
    shared = []
    for runs in cells.values():
        names = sorted(set().union(*(experiments.get(run.run_id, set()) for run in runs)))
        if len(names) > 1:
            shared.append(SharedBaseline(runs, names))
    return sorted(shared, key=lambda one: (order_key(one.runs[0].scale, SCALES), -len(one.experiments)))


def baselines_table(records: Records) -> Table:
    """One row per shared cell; in bold, those with fewer seeds than wanted."""
    rows = []
    for one in shared_baselines(records):
        run = one.runs[0]
        detail = " (dense)" if result_settings(run).get("reward.granularity") == "token" else ""
        rows.append(
            [
                Entry(run.scale),
                Entry(generator_name(run.family, run.regime)),
                Entry(f"{display_name(run.reward)}{detail}, verifier {verifier_name(run.verifier)}"),
                Entry(str(len(one.experiments))),
                Entry(", ".join(one.experiments)),
                Entry(str(one.seeds), bold=one.seeds < WANTED_SEEDS),
            ]
        )
    return Table(
        name="baselines",
        title="Cells that several experiments share",
        header=["scale", "cell", "trained with", "experiments", "which", "seeds"],
        groups=[rows],
        notes=[
            f"The error of a shared cell is in all findings about it. Bold: fewer than {WANTED_SEEDS} seeds."
        ],
    )
