"""The cells that several experiments share: how many compare with each, and over how many seeds."""

from analysis.records.builds import OFFSET, pool_builds
from analysis.records.names import (
    SCALES,
    generator_name,
    order_key,
    result_settings,
    reward_name,
    verifier_name,
)
from analysis.records.read import Records
from analysis.tables.render import Entry, Table
from cme.records import RunRecord

WANTED_SEEDS = 5
"""The seeds of a baseline of several experiments: its error is in all of their findings at once."""


def shared_baselines(records: Records) -> list[tuple[list[RunRecord], list[str]]]:
    """The runs of each cell that two experiments or more have, with the names of these.

    Within each scale, the cells of most experiments come first.
    """
    experiments: dict[str, set[str]] = {}
    for plan in records.experiments:
        for run_id in plan.runs:
            experiments.setdefault(run_id, set()).add(plan.name)
    cells: dict[tuple[object, ...], list[RunRecord]] = {}
    for run in map(pool_builds, records.runs):
        settings = frozenset(result_settings(run).items())
        key = run.scale, run.family, run.regime, run.reward, run.verifier, run.judge, settings
        cells.setdefault(key, []).append(run)
    found = [
        (runs, sorted(set().union(*(experiments.get(run.run_id, set()) for run in runs))))
        for runs in cells.values()
    ]
    shared = [(runs, names) for runs, names in found if len(names) > 1]
    return sorted(shared, key=lambda one: (order_key(one[0][0].scale, SCALES), -len(one[1])))


def baselines_table(records: Records) -> Table:
    """One row per shared cell; in bold, those with fewer seeds than wanted."""
    rows = []
    for runs, names in shared_baselines(records):
        run, seeds = runs[0], len({run.seed % OFFSET for run in runs})  # the seeds of each build
        detail = " (dense)" if result_settings(run).get("reward.granularity") == "token" else ""
        trained_with = f"{reward_name(run)}{detail}, verifier {verifier_name(run.verifier)}"
        texts = (
            run.scale,
            generator_name(run.family, run.regime),
            trained_with,
            str(len(names)),
            ", ".join(names),
        )
        rows.append([*map(Entry, texts), Entry(str(seeds), bold=seeds < WANTED_SEEDS)])
    return Table(
        name="baselines",
        title="Cells that several experiments share",
        header=["scale", "cell", "trained with", "experiments", "which", "seeds"],
        groups=[rows],
        notes=[
            f"The error of a shared cell is in all findings about it. Bold: fewer than {WANTED_SEEDS} seeds."
        ],
    )
