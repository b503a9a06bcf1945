"""The measures of claims about independence: facts that families have wrong, in greedy responses."""

from collections.abc import Sequence

from analysis.claims.evidence import Evidence
from analysis.claims.measures import Measure, Parts
from analysis.claims.parts import Part
from analysis.claims.rules import Rule
from analysis.experiments.facts import Facts


def fact_test(question: str, what: str) -> Measure:
    """One of the tests of `experiments.facts`: a difference of shares of right facts."""
    return Measure(
        f"Share of the facts that greedy responses have right: {what}",
        "no run with a verifier of another family whose false beliefs are recorded",
        fact_parts(question),
    )


def fact_parts(question: str) -> Parts:
    """The comparison of a test, with its interval over pairs of family and build."""

    def parts(evidence: Evidence, _: Rule) -> Sequence[Part]:
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
                insensitive=test.untestable,
            )
            for test in tests
        ]

    return parts
