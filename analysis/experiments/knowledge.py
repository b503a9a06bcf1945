"""Whether a verifier that knows more trains a better policy: the partial correlation over verifiers and builds."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from math import isnan

import numpy as np

from analysis.experiments.verifiers import CONTROLS, Outcome, oracle_tally, own_quality
from analysis.stats.partial_correlation import partial_correlation
from analysis.tables.render import format_interval


@dataclass(frozen=True)
class SweepPoint:
    """One verifier checkpoint: the policies' gain, its own true quality, whether it is of the generator's family, and
    the share of its own responses that end by themselves."""

    gain: float
    own: float
    same_family: bool
    ends: float


def sweep_points(outcomes: Sequence[Outcome]) -> list[SweepPoint]:
    """A point for each verifier and build whose own responses have known quality, without random weights."""
    points = []
    for one in outcomes:
        if one.relation in ("random weights", "ensemble", *CONTROLS.values()):
            continue
        for build in sorted({run.build for run in one.runs}):
            runs = [run for run in one.runs if run.build == build]
            after, before = (oracle_tally(runs, side) for side in ("score_policy", "score_start"))
            own = own_quality(runs).value
            if after is None or before is None or isnan(own):
                continue
            responses = [response for run in runs for response in run.verifier_responses or []]
            ends = float(np.mean([bool(response.finished) for response in responses])) if responses else 1.0
            same = one.relation in ("same family", "itself")
            points.append(SweepPoint(after.rate - before.rate, own, same, ends))
    return points


def knowledge_effect(outcomes: Sequence[Outcome]) -> str:
    """The partial correlation of gain and own quality, with the verdict by the rule stated before the runs."""
    points = sweep_points(outcomes)
    columns = [np.array([astuple(point)[i] for point in points], dtype=float) for i in range(4)]
    if len(points) < 3:
        return f"{len(points)} verifiers have known quality, too few for a partial correlation."
    gain, own, same, ends = columns
    r, lo, hi = partial_correlation(own, gain, np.column_stack([same, ends]))
    verdict = "supported here" if lo > 0 else "refuted here" if hi < 0 else "undecided"
    verdict = (
        "not testable here: too few verifiers, or their own quality does not vary" if isnan(lo) else verdict
    )
    varied = "" if np.ptp(ends) else ", which does not vary"
    return (
        f'"A verifier that knows more trains a better policy" is {verdict}: over {len(points)} verifiers and builds, '
        f"the partial correlation of gain and own quality is {r:+.2f} {format_interval(lo, hi, 2)}, given whether the "
        f"verifier is of the generator's family and the share of its responses that end by themselves "
        f"({min(ends):.2f} to {max(ends):.2f}{varied})."
    )
