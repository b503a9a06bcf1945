"""The measures of claims about independence: facts that families have wrong, in greedy responses."""

from collections.abc import Sequence

import numpy as np

from analysis.claims.evidence import Evidence
from analysis.claims.measures import Measure, Parts
from analysis.claims.parts import Part
from analysis.claims.rules import Rule
from analysis.experiments.independence import Facts, FactTest


def fact_test(question: str, what: str) -> Measure:
    """One of the tests of `experiments.independence`: a difference of shares of right facts."""
    return Measure(
        f"Share of the facts that greedy responses have right: {what}",
        "no run with a verifier of another family whose false beliefs are recorded",
        fact_parts(question),
    )


def fact_parts(question: str) -> Parts:
    """The comparison of a test, with its interval over pairs of family and build."""

    def parts(evidence: Evidence, rule: Rule) -> Sequence[Part]:
        facts = Facts(evidence.recorded)
        tests = [test for test in facts.tests if test.question == question and test.values]
        seeds = len({run.seed for run in evidence.recorded})
        return [
            Part(
                f"{test.one} minus {test.other}, {test.group} facts",
                *test.estimate,
                0,
                seeds,
                "families, builds",
                freedom=max(1, len(test.values) - 1),
                insensitive=test.untestable or without_room(facts, test, rule),
            )
            for test in tests
        ]

    return parts


def without_room(facts: Facts, test: FactTest, rule: Rule) -> str:
    """Why even a perfect policy (or, if the claim is that none becomes worse, the worst) would not pass the margin."""
    shares = facts.shares[test.other, test.group]
    reference = float(np.mean([shares[unit] for unit in test.values]))
    room, policy = (reference, "the worst") if rule.control == "gain" else (1 - reference, "a perfect")
    if room > rule.margin:
        return ""
    return f"even {policy} policy would differ by {room:.{rule.decimals}f} only"
