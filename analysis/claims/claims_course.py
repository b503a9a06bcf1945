"""What the records of one scale say of the course of long trainings: does true quality fall as they go on?"""

from collections.abc import Sequence
from math import isnan

import numpy as np

from analysis.claims.claims import Claim
from analysis.claims.evidence import Evidence, Part, clustered
from analysis.claims.rules import Result, decide
from analysis.sections.greedy import greedy_change, greedy_quality
from cme.records import RunRecord


def no_fall(evidence: Evidence, claim: Claim) -> Result:
    """True quality late in long trainings of CME less that at a quarter of them: sampled, and greedy where saved."""
    groups: dict[str, list[RunRecord]] = {}
    for run in evidence.runs(*claim.experiments):
        if run.reward == "cme":
            groups.setdefault(f"{run.family} {run.regime}, verifier {run.verifier}", []).append(run)
    parts = [part for name, runs in groups.items() for part in (*sampled(name, runs), *greedy(name, runs))]
    return decide(parts, claim.rule, "no long run of CME has its true quality measured")


def sampled(name: str, runs: Sequence[RunRecord]) -> list[Part]:
    """The change of the completions sampled in training, seed by seed; no part where it was not measured."""
    changes = [change for change in map(late_change, runs) if change is not None]
    if not changes:
        return []
    of = clustered([[change] for change in changes])
    return [Part(f"{name}: sampled", *of, 0, len(changes), "seeds")]


def late_change(run: RunRecord) -> float | None:
    """Mean true quality over the last tenth of the steps less that over the tenth around a quarter of them."""
    quality = np.array([np.nan if v is None else v for v in run.history.get("quality", [])], dtype=float)
    tenth = len(quality) // 10
    if not tenth or np.isnan(quality).all():
        return None
    quarter = len(quality) // 4
    early = quality[quarter - tenth // 2 : quarter - tenth // 2 + tenth]
    change = float(np.nanmean(quality[-tenth:]) - np.nanmean(early))
    return None if isnan(change) else change


def greedy(name: str, runs: Sequence[RunRecord]) -> list[Part]:
    """The change of greedy responses, from the first saved checkpoint after a quarter of the steps to the last one."""
    saved = [run for run in runs if len(greedy_quality(run)) > 2]
    if not saved:
        return []
    steps = {run.run_id: [step for step in greedy_quality(run) if step] for run in saved}
    early = {run: min(step for step in own if step >= max(own) / 4) for run, own in steps.items()}
    prompts = {prompt for run in saved if run.trajectory for prompt in run.trajectory.prompts}
    of = greedy_change(saved, early)
    return [Part(f"{name}: greedy", *of, len(prompts), len(saved), "prompts, seeds")]
