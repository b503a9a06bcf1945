"""Tallies by build of the checkpoints: the seeds of each build are numbered as in `records.builds`."""

from collections.abc import Collection

import numpy as np

from analysis.records.builds import OFFSET
from analysis.stats.contrasts import tally_rows
from analysis.stats.metrics import Tally


def builds(tally: Tally) -> set[int]:
    """The builds of a tally's seeds, numbered from 0."""
    return {int(seed) // OFFSET for seed in tally.seeds}


def of_builds(tally: Tally, chosen: Collection[int]) -> Tally:
    """The tally of the seeds of some builds."""
    columns = np.isin(tally.seeds // OFFSET, list(chosen))
    kept = Tally(tally.prompts, tally.seeds[columns], tally.sums[:, columns], tally.counts[:, columns])
    return tally_rows(kept, np.flatnonzero(kept.counts.sum(axis=1) > 0))


def by_build(tally: Tally) -> dict[int, Tally]:
    """The tally of each build."""
    return {build: of_builds(tally, {build}) for build in sorted(builds(tally))}


def on_common_builds(one: Tally, other: Tally) -> tuple[Tally, Tally]:
    """Both tallies on the builds that both have; empty if they have none in common."""
    common = builds(one) & builds(other)
    return of_builds(one, common), of_builds(other, common)


def number_of_seeds(tally: Tally) -> int:
    """The number of seeds of each build."""
    return len({int(seed) % OFFSET for seed in tally.seeds})
