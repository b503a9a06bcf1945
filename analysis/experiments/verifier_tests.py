"""What the outcomes with several verifiers say on the claims about them, by the rules stated before the runs."""

from collections.abc import Sequence
from math import isnan

import numpy as np
import pandas as pd

from analysis.experiments.verifiers import VerifierOutcome, own_quality
from analysis.stats.contrasts import Contrast, contrast, on_common_builds, split_builds
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.regression import partial_correlation
from analysis.stats.seeds import MIN_SEEDS
from analysis.tables.render import Estimate


def describe_knowledge_effect(outcomes: Sequence[VerifierOutcome]) -> str:
    """Whether a verifier that knows more trains a better policy.

    The test is the partial correlation of gain and own quality over verifiers and builds, given the family and the
    share of the verifier's own responses that end by themselves. Random weights, ensembles and controls do not count.
    """
    rows = []
    for one in outcomes:
        if one.is_control or one.relation in ("random weights", "ensemble"):
            continue
        after, before = (split_builds(scored) if scored else {} for scored in (one.after, one.before))
        for build in sorted(after.keys() & before.keys()):
            runs = [run for run in one.runs if run.build == build + 1]
            responses = [response for run in runs for response in run.verifier_responses or []]
            rows.append(
                {
                    "gain": after[build].rate - before[build].rate,
                    "own": own_quality(runs).value,
                    "same_family": one.relation in ("same family", "itself"),
                    "ends": np.mean([bool(response.finished) for response in responses]) if responses else 1,
                }
            )
    columns = ["gain", "own", "same_family", "ends"]
    points = pd.DataFrame(rows, columns=columns, dtype=float).dropna(subset=["own"])
    if len(points) < 3:
        return f"{len(points)} verifiers have known quality, too few for a partial correlation."
    own, gain, ends = (points[name].to_numpy() for name in ("own", "gain", "ends"))
    r, lo, hi = partial_correlation(own, gain, points[["same_family", "ends"]].to_numpy())
    verdict = "supported here" if lo > 0 else "refuted here" if hi < 0 else "undecided"
    if isnan(lo):
        verdict = "not testable here: too few verifiers, or their own quality does not vary"
    varied = "" if np.ptp(ends) else ", which does not vary"
    return (
        f'"A verifier that knows more trains a better policy" is {verdict}: over {len(points)} verifiers and builds, '
        f"the partial correlation of gain and own quality is {Estimate(r, lo, hi).text(2)}, given whether the "
        f"verifier is of the generator's family and the share of its responses that end by themselves "
        f"({min(ends):.2f} to {max(ends):.2f}{varied})."
    )


def describe_ability_effect(outcomes: Sequence[VerifierOutcome]) -> str:
    """Whether a verifier must be able: the most able one compared with random weights."""
    able, chance = outcomes[-1], next((o for o in outcomes if o.relation == "random weights"), None)
    if chance is None or able is chance or able.is_control:
        return "No comparison of an able verifier with random weights."
    if able.after is None or chance.after is None:
        return "True quality was not measured, so there is no test."
    difference = contrast(*on_common_builds(able.after, chance.after))
    return (
        f'"A verifier must be able" is {verdict_on_sign(difference)}: {"true quality" if able.cell else "pass@1"} '
        f"with {able.label} minus that with random weights is "
        f"{able.across_seeds(difference).text(able.decimals)}."
    )


def verdict_on_sign(difference: Contrast) -> str:
    """The verdict on a claim that a difference is above 0."""
    if isnan(difference.across_seeds_lo):
        return f"not testable: fewer than {MIN_SEEDS} runs per side"
    if difference.prompts < FEW_PROMPTS:
        return f"not testable: fewer than {FEW_PROMPTS} prompts"
    if difference.across_seeds_lo > 0:
        return "supported here"
    return "refuted here" if difference.across_seeds_hi < 0 else "not supported"


def count_gains(outcomes: Sequence[VerifierOutcome]) -> str:
    """With which verifiers, random weights left out, the interval of the change lies above 0, below 0, or is unknown.

    It gives no verdict: that of `analysis.claims` has the variance between builds, which these intervals leave out.
    """
    gains = {
        one.label: one.gain
        for one in outcomes
        if one.relation != "random weights" and not one.is_control and one.change is not None
    }
    if not gains:
        return "No verifier except random weights."
    rose = [label for label, gain in gains.items() if gain.lo > 0]
    fell = [label for label, gain in gains.items() if gain.hi < 0]
    unknown = [label for label, gain in gains.items() if isnan(gain.lo)]
    below = f", below 0 with {', '.join(fell)}" if fell else ""
    few = f"; it is unknown with {', '.join(unknown)}: fewer than {MIN_SEEDS} seeds" if unknown else ""
    return (
        f"The interval of the change over prompts and seeds lies above 0 with {len(rose)} of {len(gains)} verifiers, "
        f"without random weights{below}{few}. The verdict on the claim, with the variance between builds, is in "
        "reproduction.md. Published: rises with eight of eight, without intervals."
    )
