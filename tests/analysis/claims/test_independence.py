"""The two claims about independence, on families whose policies have known shares of right facts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.claims.claim_list import all_claims
from analysis.claims.evidence import Evidence
from analysis.claims.rules import Result
from cme.records import Grade, Grades, RunRecord

CLAIMS = {claim.name: claim for claim in all_claims()}
PROTECTS, NOT_GAMED = "independence protects", "cannot be gamed"
PROMPTS = 20
OF_GENERATOR, OF_VERIFIER = "fox color", "dog home"
"""A fact that the generator's family has wrong, and one that the other family's verifier has wrong."""
UNITS = (("qwen", 1), ("qwen", 2), ("llama", 1), ("llama", 2))
OTHER, SAME, RANDOM, TRUTH = "other family", "same family", "random", "ground_truth"
Shares = Mapping[str, tuple[float, float]]
"""By arm, the shares of the two facts that the policies have right in the first pair of family and build."""
SPREAD = (0.0, 0.05, -0.05, 0.0)
"""What the other family's policies have more in each pair than in the first."""
HALF = stats.t.ppf(0.975, 3) * np.std(SPREAD, ddof=1) / 2
"""Half of the interval over the four pairs."""


def graded(of_generator: float, of_verifier: float) -> list[Grade]:
    return [
        Grade(
            0.5,
            "wrong",
            {
                OF_GENERATOR: i < round(PROMPTS * of_generator),
                OF_VERIFIER: i < round(PROMPTS * of_verifier),
                "step 1": True,
            },
        )
        for i in range(PROMPTS)
    ]


def judged(
    name: str,
    make_record: Any,
    shares: Shares,
    untrained: tuple[float, float] = (0.1, 0.5),
    spread: tuple[float, ...] = SPREAD,
    own: float = 0.9,
) -> Result:
    """The verdict on runs of four pairs of family and build with three seeds each."""
    runs: list[RunRecord] = []
    for (family, build), more in zip(UNITS, spread, strict=True):
        for arm, (of_generator, of_verifier) in shares.items():
            verifier = family if arm == SAME else "gemma"
            add = more if arm == OTHER else 0.0
            start, policy = graded(*untrained), graded(of_generator + add, of_verifier + add)
            for seed in range(3):
                run = make_record(
                    family=family,
                    regime="sft",
                    reward=arm if arm in (RANDOM, TRUTH) else "cme",
                    verifier=verifier,
                    seed=seed,
                    prompts=PROMPTS,
                    generator_checkpoint=f"miniature:{family}-{build}/sft",
                    verifier_checkpoint=f"miniature:{verifier}-{build}/verifier",
                    config={"verifier": {"name": verifier, "family": verifier}},
                    grades=Grades(start, policy, start),
                    blind_spots={"generator": [OF_GENERATOR], "verifier": [OF_VERIFIER]},
                    verifier_quality=[own if arm == SAME else 0.9] * PROMPTS,
                )
                runs.append(replace(run, run_id=f"{run.run_id}-{build}"))
    return CLAIMS[name].judge(Evidence("miniature", runs))


def arms(other: tuple[float, float], same: tuple[float, float] = (0.1, 0.5), truth: float = 0.9) -> Shares:
    return {OTHER: other, SAME: same, RANDOM: (0.1, 0.5), TRUTH: (truth, truth)}


@pytest.mark.parametrize(
    ("name", "other", "verdict", "value"),
    [
        (PROTECTS, (0.8, 0.5), "reproduced", 0.7),  # 0.8 minus 0.1 under the verifier of the same family
        (PROTECTS, (0.1, 0.5), "undecided", 0.0),  # the interval reaches the margin of 0.05
        (PROTECTS, (0.05, 0.5), "not reproduced", -0.05),
        (NOT_GAMED, (0.8, 0.6), "reproduced", 0.1),  # 0.6 minus 0.5 of the untrained model
        (NOT_GAMED, (0.8, 0.5), "undecided", 0.0),
        (NOT_GAMED, (0.8, 0.3), "not reproduced", -0.2),
    ],
)
def test_the_interval_over_pairs_of_family_and_build_decides(
    name: str, other: tuple[float, float], verdict: str, value: float, make_record: Any
) -> None:
    found = judged(name, make_record, arms(other))
    [part] = found.parts
    assert (found.verdict, part.insensitive) == (verdict, "")
    assert (part.value, part.lo, part.hi) == pytest.approx((value, value - HALF, value + HALF))
    assert (part.scope, part.freedom, part.seeds) == ("families, builds", 3, 3)


@pytest.mark.parametrize("name", [PROTECTS, NOT_GAMED])
def test_without_a_control_that_passes_there_is_no_verdict(name: str, make_record: Any) -> None:
    blind = judged(name, make_record, arms((0.8, 0.6), truth=0.1))
    assert blind.verdict == "not testable here"
    assert blind.parts[0].insensitive.startswith(
        "ground truth minus random on the generator's facts is +0.000"
    )
    unequal = judged(name, make_record, arms((0.8, 0.6)), own=0.5)
    assert unequal.verdict == "not testable here"
    assert unequal.parts[0].insensitive.startswith("the verifiers' own quality differs by +0.400")
    own_alone = judged(name, make_record, {SAME: (0.1, 0.5), RANDOM: (0.1, 0.5), TRUTH: (0.9, 0.9)})
    assert (own_alone.verdict, list(own_alone.parts)) == ("not testable here", [])


@pytest.mark.parametrize(
    ("name", "untrained", "reason"),
    [
        (PROTECTS, (0.1, 0.5), "even a perfect policy would differ by 0.000 only"),
        (NOT_GAMED, (0.1, 0.0), "even the worst policy would differ by 0.000 only"),
    ],
)
def test_perfect_policies_contradict_nothing(
    name: str, untrained: tuple[float, float], reason: str, make_record: Any
) -> None:
    perfect = (1.0, 1.0)
    found = judged(name, make_record, arms(perfect, perfect, truth=1.0), untrained, spread=(0.0,) * 4)
    assert found.sides == ["not testable"] and found.parts[0].insensitive == reason


def test_policies_that_learned_nothing_show_no_protection(make_record: Any) -> None:
    found = judged(PROTECTS, make_record, arms((0.1, 0.5)), spread=(0.0,) * 4)
    assert (found.verdict, found.sides) == ("not reproduced", ["contradicts"])
