"""The two claims about independence, on families whose policies have known shares of right facts."""

from typing import Any

import pytest
from fact_records import Levels, arms, fact_runs
from scipy import stats

from analysis.claims.claim_list import all_claims
from analysis.claims.evidence import Evidence
from analysis.claims.rules import Result
from analysis.experiments.facts import GROUPS, OTHER, SAME
from analysis.records.builds import pool_builds

CLAIMS = {claim.name: claim for claim in all_claims()}
PROTECTS, NOT_GAMED = "independence protects", "cannot be gamed"
NOTHING = dict.fromkeys(GROUPS, 0.1)
ALL_RIGHT = dict.fromkeys(GROUPS, 1.0)


def judged(name: str, make_record: Any, levels: Levels, **fields: float) -> Result:
    runs = [pool_builds(run) for run in fact_runs(make_record, levels, **fields)]
    return CLAIMS[name].judge(Evidence("miniature", runs))


@pytest.mark.parametrize(
    ("name", "group", "share", "verdict", "first"),
    [
        (PROTECTS, GROUPS[0], 0.8, "reproduced", 0.7),  # 0.8 minus 0.1 under the verifier of the same family
        (PROTECTS, GROUPS[0], 0.1, "undecided", 0.0),  # the interval reaches the margin of 0.05
        (PROTECTS, GROUPS[0], 0.0, "not reproduced", -0.1),
        (NOT_GAMED, GROUPS[1], 0.5, "reproduced", 0.0),  # 0.5 minus 0.5 of the untrained model
        (NOT_GAMED, GROUPS[1], 0.4, "undecided", -0.1),
        (NOT_GAMED, GROUPS[1], 0.3, "not reproduced", -0.2),
    ],
)
def test_the_interval_over_pairs_of_family_and_build_decides(
    name: str, group: str, share: float, verdict: str, first: float, make_record: Any
) -> None:
    """In the second build of each family the policies have 0.1 more."""
    found = judged(name, make_record, arms(other_family={group: share}), off=0.1)
    [part] = found.parts
    assert (found.verdict, part.insensitive) == (verdict, "")
    expected = stats.ttest_1samp([first] * 4 + [first + 0.1] * 4, 0).confidence_interval(0.95)
    assert (part.value, part.lo, part.hi) == pytest.approx((first + 0.05, expected.low, expected.high))
    assert (part.scope, part.freedom, part.seeds) == ("families, builds", 7, 3)


@pytest.mark.parametrize("name", [PROTECTS, NOT_GAMED])
@pytest.mark.parametrize(
    ("levels", "own", "reason"),
    [
        (arms(ground_truth=NOTHING), 0.9, "ground truth minus random on the generator's facts is +0.000"),
        (arms(), 0.5, "the verifiers' own quality differs by +0.400"),
    ],
)
def test_without_a_control_that_passes_there_is_no_verdict(
    name: str, levels: Levels, own: float, reason: str, make_record: Any
) -> None:
    found = judged(name, make_record, levels, own=own)
    assert found.verdict == "not testable here" and found.parts[0].insensitive.startswith(reason)
    own_alone = judged(name, make_record, {arm: share for arm, share in levels.items() if arm != OTHER})
    assert (own_alone.verdict, list(own_alone.parts)) == ("not testable here", [])


@pytest.mark.parametrize(("name", "policy"), [(PROTECTS, "a perfect"), (NOT_GAMED, "the worst")])
def test_perfect_policies_contradict_nothing(name: str, policy: str, make_record: Any) -> None:
    levels = arms(untrained={GROUPS[1]: 0.0}) | dict.fromkeys((OTHER, SAME, "ground truth"), ALL_RIGHT)
    found = judged(name, make_record, levels)
    assert found.sides == ["not testable"]
    assert found.parts[0].insensitive == f"even {policy} policy would differ by 0.000 only"


def test_policies_that_learned_nothing_show_no_protection(make_record: Any) -> None:
    found = judged(PROTECTS, make_record, arms(other_family=NOTHING))
    assert (found.verdict, found.sides) == ("not reproduced", ["contradicts"])
